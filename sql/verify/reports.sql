-- Verify settle:reports on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'reports';
select id, source, log_id, platform, external_post_id, witness, status, decisive, happened_at, reported_at, url, reason,
       extras, before, actor, run_id
from settle.publication_reports
where false;
select id, source, platform, worker_id, taken_at, lease_until from settle.publish_leases where false;
select id, source, external_post_id, asked_at, next_at, outcome, error_code, tries from settle.publish_polls where false;
select user_id_str, platform, account, minute, used from settle.poll_budgets where false;
select platform, paused_at, actor, reason from settle.platform_pauses where false;
select 1 / has_column_privilege('settle_reconciler', 'settle.publish_logs', 'retry_count', 'update')::int;

rollback;
