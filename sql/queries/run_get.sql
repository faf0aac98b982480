-- run_get: one run with its report.
-- $1 id uuid
-- One row: HTTP status, JSON text, null; none if there is no such run.
select 200 as status, row_to_json(run)::text as body, null as cursor
from (
  select id, job_name, target_date, scope, actor, trigger, status, outcome, attempt, holder, fencing_token,
         started_at, finished_at, next_attempt_at, records_read, source_hash, error_code, error_message, report
  from settle.job_runs
  where id = $1::uuid
) as run
