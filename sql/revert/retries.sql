-- Revert settle:retries from pg
begin;

delete from settle.schema_version where change = 'retries';
drop function settle.retry_wait (integer);

commit;
