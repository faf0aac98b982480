-- cost_forget: removes one chunk of the costs that were kept long enough, unless the aggregates of their day are not verified;
-- days before the first that was ever aggregated wait for nobody. What goes still counts on its day (forgotten_costs).
-- $1 days int8  $2 rows int8  $3 id text, $4 timestamp timestamptz the chunk begins behind (null: at the oldest)
-- One row: rows of the chunk int8, of those removed int8, id text and timestamp timestamptz of the last. By ctid, as
-- ARCHITECTURE.md says: a row that is updated meanwhile has another and stays, and is not counted twice.
with chunk as materialized (
  select ctid, timestamp, id
  from settle.cost_records
  where timestamp < now() - $1::bigint * interval '1 day'
    and (timestamp, id) > (coalesce($4::timestamptz, '-infinity'), coalesce($3::text, '00000000-0000-0000-0000-000000000000')::uuid)
  order by timestamp, id
  limit $2::bigint
), chunk_end as (
  select timestamp, id
  from chunk
  order by timestamp desc, id desc
  limit 1
), first_day as materialized (
  select min(date) as date
  from settle.aggregate_days
), old as (
  select chunk.ctid
  from chunk
  left join settle.aggregate_days as day on day.date = (chunk.timestamp at time zone 'UTC')::date
  where day.verification_status = 'verified'
     or (chunk.timestamp at time zone 'UTC')::date < coalesce((select date from first_day), 'infinity')
), gone as (
  delete from settle.cost_records
  where ctid = any (array(select ctid from old))
  returning (timestamp at time zone 'UTC')::date as date, user_id_str, coalesce(platform, '') as platform, cost
), counted as (
  insert into settle.forgotten_costs as f (date, user_id_str, platform, n, cost)
  select date, user_id_str, platform, count(*), sum(cost)
  from gone
  group by date, user_id_str, platform
  order by date, user_id_str, platform
  on conflict (date, user_id_str, platform) do update set n = f.n + excluded.n, cost = f.cost + excluded.cost
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end),
       (select timestamp from chunk_end)
