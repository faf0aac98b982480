-- event_forget: removes one chunk of the scheduler's events that were kept long enough. The newest that somebody began to lead
-- stays: it tells who does, and since when.
-- $1 days int8  $2 rows int8  $3 id text, $4 event_date timestamptz the chunk begins behind (null: at the oldest)
-- One row: rows of the chunk int8, of those removed int8, id text and event_date timestamptz of the last. By ctid, as
-- ARCHITECTURE.md says: these rows are never updated.
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
), gone as (
  delete from settle.scheduler_event_logs
  where ctid = any (array(select ctid from chunk where id is distinct from (select id from began)))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end),
       (select event_date from chunk_end)
