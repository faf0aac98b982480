-- run_kill: ends the row of a run whose process is gone.
-- $1 id uuid  $2 error_message text
update settle.job_runs
set status = 'failed',
    outcome = 'interrupted',
    finished_at = now(),
    error_code = 'killed',
    error_message = $2::text
where id = $1::uuid
  and status = 'running'
