-- run_begin: the row of a run that begins; runs under the same fence that were killed are ended as interrupted.
-- $1 id uuid  $2 job_name text  $3 scope jsonb  $4 actor text  $5 trigger text  $6 holder text
-- $7 fencing_token bigint  $8 started_at timestamptz
-- $9 job_names under this fence text[]
with killed as (
  update settle.job_runs
  set status = 'failed',
      outcome = 'interrupted',
      finished_at = $8::timestamptz,
      error_code = 'killed',
      error_message = 'it did not end by itself; run ' || $1::uuid
                      || case when job_name = $2::text then ' goes on where it stopped' else ' has found that' end
  where job_name = any ($9::text[])
    and status = 'running'
    and fencing_token < $7::bigint
)
insert into settle.job_runs (id, job_name, scope, actor, trigger, status, holder, fencing_token, started_at)
values ($1, $2, $3::jsonb, $4::text, $5::text, 'running', $6::text, $7, $8)
