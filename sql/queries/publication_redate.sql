-- publication_redate: open publications that a clock which was ahead has dated more than an hour into the future count from
-- now on. No run looks at them before that date, nor fails them by time-out: they wait as long as any others from here. The
-- time of the next try by the same clock (nothing of ours waits longer than a minute for one) moves with it; one that lies
-- later was somebody's choice, and stays.
-- $1 platform text (null: any)  $2 limit bigint  $3 how many of the first to leave out: Postgres refuses them bigint
-- One row: how many, bigint. What somebody holds is for the next run.
with page as materialized (
  select id, source, updated_at
  from settle.publish_open
  where updated_at > now() + interval '1 hour'
    and ($1::text is null or platform = $1)
  order by updated_at, id
  offset $3::bigint
  limit $2::bigint
), ahead as materialized (
  select p.id, p.source
  from settle.publish_logs as p
  join page using (id, source, updated_at)
  where p.id = any (array(select id from page)) -- never by a scan of all
  for update of p skip locked
), written as (
  update settle.publish_logs as p
  set updated_at = now(),
      next_retry_at = case
                        when p.next_retry_at > now() and p.next_retry_at <= p.updated_at + interval '66 seconds'
                        then p.next_retry_at - (p.updated_at - now())
                        else p.next_retry_at
                      end
  from ahead
  where p.id = ahead.id
    and p.source = ahead.source
  returning 1
)
select count(*)
from written
