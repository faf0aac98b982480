-- Verify settle:jobs on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'jobs';
select id, job_name, target_date, scope, actor, trigger, status, attempt, holder, fencing_token, started_at, finished_at,
       next_attempt_at, records_read, outcome, source_hash, error_code, error_message, report
from settle.job_runs
where false;
select name, epoch, holder, lease_until, watermark from settle.job_fences where false;
select 1 / count(*) from settle.job_fences where name = 'publications';
select 1 / (
  has_table_privilege('settle_reconciler', 'settle.job_runs', 'insert')
  and has_table_privilege('settle_reconciler', 'settle.job_fences', 'update'))::int;

rollback;
