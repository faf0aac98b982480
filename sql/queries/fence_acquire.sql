-- fence_acquire: takes a job's fence if nobody holds it, or its holder's lease has run out.
-- $1 job text  $2 holder text  $3 lease_ms bigint
-- One row: epoch bigint (null: held by another), watermark timestamptz; no row: there is no such job.
-- A lease that a clock has left behind which was set back since counts as over: the epoch keeps its holder harmless.
-- Waits for a batch of the old holder that has not ended: it holds the row for share.
with taken as (
  update settle.job_fences
  set epoch = epoch + 1,
      holder = $2::text,
      lease_until = now() + $3::bigint * interval '1 millisecond'
  where name = $1::text
    and (holder is null or coalesce(settle.job_lease(lease_until) < now(), true))
  returning name, epoch, watermark
)
select taken.epoch, taken.watermark
from settle.job_fences
left join taken using (name)
where job_fences.name = $1::text
