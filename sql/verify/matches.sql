-- Verify settle:matches on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'matches';
select 1 / (count(*) = 3)::int from pg_trigger where tgname ~ '^publish_logs_match';
select 1 / count(*)
from pg_constraint
where conname = 'scheduler_event_logs_event_type_check'
  and pg_get_constraintdef(oid) ~ 'job_started';

rollback;
