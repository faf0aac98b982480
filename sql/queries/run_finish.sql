-- run_finish: the end of a run.
-- $1 id uuid  $2 status text  $3 outcome text  $4 records_read bigint  $5 report jsonb  $6 error_code text
-- $7 error_message text
update settle.job_runs
set status = $2::text,
    outcome = $3::text,
    finished_at = now(),
    records_read = $4::bigint,
    report = $5::jsonb,
    error_code = $6::text,
    error_message = $7::text
where id = $1::uuid
