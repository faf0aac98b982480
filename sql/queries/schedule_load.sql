-- schedule_load: whether publications wait, for the pace of the job that settles them.
-- $1 id of its last run uuid  $2 stale after minutes bigint  $3 limit bigint
-- One row: stale rows that no pause holds up to the limit bigint, but for as many as the run has looked at in vain, as another one
-- would, bool whether any row is open or a receipt may have come that the run has not looked at, ms that the run took bigint,
-- publications that it asked platforms about bigint.
with last_run as materialized (
  select (report ->> 'duration_ms')::bigint as took_ms, (report -> 'polls' ->> 'asked')::bigint as asked,
         coalesce((report ->> 'skipped')::bigint + (report ->> 'not_due')::bigint
                  - (report -> 'skipped_because' ->> 'platform_disabled')::bigint, 0) as in_vain
  from (values (1)) as one (row)
  left join settle.job_runs on id = $1::uuid
)
select greatest(0, (select count(*)
                    from (
                      select
                      from settle.publish_open
                      where updated_at < now() - $2::bigint * interval '1 minute'
                        and status <> 'pending'
                        and platform not in (select platform from settle.platform_pauses)
                      order by updated_at
                      limit $3::bigint + (select in_vain from last_run)) as counted) - in_vain) as stale,
       exists (select from settle.publish_open)
       or coalesce((select max(stored_at) from settle.webhook_receipts)
                   > (select watermark - interval '30 seconds' from settle.job_fences where name = 'publications'), false)
         as awaited,
       took_ms,
       asked
from last_run
