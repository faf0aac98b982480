-- schedule_load: whether publications wait, for the pace of the job that settles them.
-- $1 id of its last run uuid  $2 stale after minutes bigint  $3 limit bigint
-- One row: stale rows that no pause holds up to the limit bigint, bool whether any row is open, ms that the run took
-- bigint, publications that it asked platforms about bigint.
select (select count(*)
        from (
          select
          from settle.publish_open
          where updated_at < now() - $2::bigint * interval '1 minute'
            and status <> 'pending'
            and platform not in (select platform from settle.platform_pauses)
          order by updated_at
          limit $3::bigint) as stale),
       exists (select from settle.publish_open),
       (report ->> 'duration_ms')::bigint,
       (report -> 'polls' ->> 'asked')::bigint
from (values (1)) as one (row)
left join settle.job_runs on id = $1::uuid
