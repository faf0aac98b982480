-- run_progress: what a run has done so far, written with each batch, so that a killed run leaves it behind.
-- $1 id uuid  $2 records_read bigint  $3 report jsonb
update settle.job_runs
set records_read = $2::bigint,
    report = $3::jsonb
where id = $1::uuid
