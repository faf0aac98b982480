-- Revert settle:identities from pg
-- Names stay in the one form: which were in another is no longer known.
begin;

delete from settle.schema_version where change = 'identities';
revoke update (user_id_str) on settle.task_execution_logs from settle_maintain;
alter table settle.platform_insights_tasks drop constraint platform_insights_tasks_user_form;

commit;
