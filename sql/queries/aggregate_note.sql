-- aggregate_note: the row in job_runs of what a run did on one day.
-- $1 id uuid  $2 job_name text  $3 date text  $4 id of the run that it belongs to uuid  $5 actor text  $6 trigger text
-- $7 status text  $8 attempt bigint  $9 holder text  $10 fencing_token bigint (null: not held)  $11 outcome text
-- $12 records_read bigint  $13 source_hash text  $14 error_code text  $15 error_message text
-- $16 next_attempt_at timestamptz  $17 started_at timestamptz
insert into settle.job_runs (id, job_name, target_date, scope, actor, trigger, status, attempt, holder, fencing_token, started_at,
                             finished_at, next_attempt_at, records_read, outcome, source_hash, error_code, error_message)
values ($1::uuid, $2::text, $3::text::date, jsonb_build_object('run_id', $4::uuid), $5::text, $6::text, $7::text, $8::bigint,
        $9::text, $10::bigint, $17::timestamptz, now(), $16::timestamptz, $12::bigint, $11::text, $13::text, $14::text, $15::text)
