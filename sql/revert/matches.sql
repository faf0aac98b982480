-- Revert settle:matches from pg
begin;

delete from settle.schema_version where change = 'matches';
delete from settle.scheduler_event_logs where event_type = 'job_started';
alter table settle.scheduler_event_logs
drop constraint scheduler_event_logs_event_type_check,
add constraint scheduler_event_logs_event_type_check
check (event_type in ('check_cycle', 'interval_adjustment', 'start', 'stop', 'job_scheduled', 'job_cancelled', 'job_completed',
  'job_failed'));
drop trigger publish_logs_match_new on settle.publish_logs;
drop trigger publish_logs_match on settle.publish_logs;
drop trigger publish_logs_match_old on settle.publish_logs;
drop function settle.publish_logs_match ();

commit;
