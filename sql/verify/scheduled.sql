-- Verify settle:scheduled on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'scheduled';
select id, source, platform from settle.publish_scheduled where false;
select 1 / (count(*) = 4)::int
from pg_trigger
where tgrelid = 'settle.publish_logs'::regclass
  and tgfoid = 'settle.publish_scheduled_follow()'::regprocedure;

rollback;
