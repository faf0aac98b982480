-- Revert settle:aggregates from pg
begin;

delete from settle.schema_version where change = 'aggregates';
drop trigger publish_logs_mark_new on settle.publish_logs;
drop trigger publish_logs_mark on settle.publish_logs;
drop trigger publish_logs_mark_old on settle.publish_logs;
drop trigger publish_logs_mark_all on settle.publish_logs;
drop view settle.daily_totals;
drop table settle.daily_aggregates, settle.cost_records, settle.forgotten_webhooks, settle.dirty_days, settle.aggregate_days;
drop function settle.publish_logs_mark ();
drop function settle.cost_records_mark ();
drop function settle.all_days_mark ();
drop index settle.publish_logs_requested;
drop index settle.webhook_receipts_late;
revoke insert (name) on settle.job_fences from settle_reconciler;
delete from settle.job_fences where name like 'aggregates%';

commit;
