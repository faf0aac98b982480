-- event_forget_count: how many event_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 id text, $4 event_date timestamptz the chunk begins behind (null: at the oldest)
-- One row, as there.
with began as materialized (
  select id
  from settle.scheduler_event_logs
  where event_type = 'start'
  order by event_date desc, id desc
  limit 1
), chunk as materialized (
  select ctid, event_date, id
  from settle.scheduler_event_logs
  where event_date < now() - $1::bigint * interval '1 day'
    and (event_date, id) > (coalesce($4::timestamptz, '-infinity'), coalesce($3::text, '0')::bigint)
  order by event_date, id
  limit $2::bigint
), chunk_end as (
  select event_date, id
  from chunk
  order by event_date desc, id desc
  limit 1
)
select (select count(*) from chunk),
       (select count(*) from chunk where id is distinct from (select id from began)),
       (select id::text from chunk_end),
       (select event_date from chunk_end)
