-- Revert settle:insights from pg
begin;

delete from settle.schema_version where change = 'insights';
drop trigger job_runs_skipped on settle.job_runs;
create trigger job_runs_skipped after insert on settle.job_runs
for each row when (new.status <> 'running')
execute function settle.run_totals_follow();
drop policy tenant on settle.job_runs;
drop policy programs on settle.job_runs;
alter table settle.job_runs disable row level security, no force row level security;
revoke insert on settle.job_runs from settle_tenant, settle_operator;
revoke select on settle.job_runs from settle_tenant;
alter table settle.job_runs drop column user_id_str;
drop table settle.platform_insights_tasks;
drop table settle.insights_platforms;
drop policy tenant_reads on settle.social_sync_ledger;
create policy tenant_reads on settle.social_sync_ledger for select to settle_tenant
using (case
         when entity_type = 'publish_log'
         then exists (select
                      from settle.publish_logs as p
                      where p.id = social_sync_ledger.entity_id::uuid
                        and p.source = social_sync_ledger.source)
         else false
       end);

commit;
