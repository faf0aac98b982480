-- Deploy settle:retries to pg
begin;

-- How long a publication waits before its next try when it has been tried again so often: a second, two, four, to a minute,
-- a tenth more or less, so that workers do not all come back at once.
create function settle.retry_wait(retry_count integer) returns interval
language sql volatile
as $$
  select least(60, power(2, least(retry_count, 6))) * (0.9 + 0.2 * random()) * interval '1 second'
$$;
revoke execute on function settle.retry_wait (integer) from public;
grant execute on function settle.retry_wait (integer) to settle_api, settle_reconciler;

insert into settle.schema_version (change) values ('retries');

commit;
