-- run_begin: the row of a run that begins, if the fence is still its own; runs of this job that were killed are ended as
-- interrupted.
-- $1 id uuid  $2 job_name text  $3 scope jsonb  $4 actor text  $5 trigger text  $6 holder text
-- $7 fencing_token bigint  $8 started_at timestamptz
-- Affects one row, or none if somebody else has taken the fence.
with fence as materialized (
  select name, epoch
  from settle.job_fences
  where name = $2::text
    and epoch = $7::bigint
  for share
), killed as (
  update settle.job_runs as r
  set status = 'failed',
      outcome = 'interrupted',
      finished_at = $8::timestamptz,
      error_code = 'killed',
      error_message = 'it did not end by itself; run ' || $1::uuid || ' goes on where it stopped'
  from fence
  where r.job_name = fence.name
    and r.status = 'running'
    and r.fencing_token < fence.epoch
)
insert into settle.job_runs (id, job_name, scope, actor, trigger, status, holder, fencing_token, started_at)
select $1, name, $3::jsonb, $4::text, $5::text, 'running', $6::text, epoch, $8
from fence
