-- Verify settle:retries on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'retries';
select 1 / (settle.retry_wait(3) between interval '7 seconds' and interval '9 seconds')::int;

rollback;
