-- cost_forget_count: how many cost_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 id text, $4 timestamp timestamptz the chunk begins behind (null: at the oldest)
-- One row, as there.
with chunk as materialized (
  select timestamp, id
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
  select 1
  from chunk
  left join settle.aggregate_days as day on day.date = (chunk.timestamp at time zone 'UTC')::date
  where day.verification_status = 'verified'
     or (chunk.timestamp at time zone 'UTC')::date < coalesce((select date from first_day), 'infinity')
)
select (select count(*) from chunk),
       (select count(*) from old),
       (select id::text from chunk_end),
       (select timestamp from chunk_end)
