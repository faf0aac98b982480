-- run_begin: the row of a run that begins, if the fence is still its own; runs under the same fence that were killed are
-- ended as interrupted.
-- $1 id uuid  $2 job_name text  $3 scope jsonb  $4 actor text  $5 trigger text  $6 holder text
-- $7 fencing_token bigint  $8 started_at timestamptz  $9 job_names under this fence text[], the fence's own first
-- Affects one row, or none if somebody else has taken the fence.
with fence as materialized (
  select epoch
  from settle.job_fences
  where name = ($9::text[])[1]
    and epoch = $7::bigint
  for share
), killed as (
  update settle.job_runs as r
  set status = 'failed',
      outcome = 'interrupted',
      finished_at = $8::timestamptz,
      error_code = 'killed',
      error_message = 'it did not end by itself; run ' || $1::uuid
                      || case when r.job_name = $2::text then ' goes on where it stopped' else ' has found that' end
  from fence
  where r.job_name = any ($9::text[])
    and r.status = 'running'
    and r.fencing_token < fence.epoch
)
insert into settle.job_runs (id, job_name, scope, actor, trigger, status, holder, fencing_token, started_at)
select $1, $2::text, $3::jsonb, $4::text, $5::text, 'running', $6::text, epoch, $8
from fence
