-- Revert settle:scheduled from pg
begin;

delete from settle.schema_version where change = 'scheduled';
drop trigger publish_logs_scheduled_truncated on settle.publish_logs;
drop trigger publish_logs_unscheduled on settle.publish_logs;
drop trigger publish_logs_rescheduled on settle.publish_logs;
drop trigger publish_logs_scheduled on settle.publish_logs;
drop function settle.publish_scheduled_follow ();
drop table settle.publish_scheduled;

commit;
