-- alert_forget_count: how many alert_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 id text, $4 resolved_at timestamptz the chunk begins behind (null: at the oldest)
-- One row, as there.
with chunk as materialized (
  select ctid, resolved_at, id
  from settle.alerts
  where status = 'RESOLVED'
    and resolved_at < now() - $1::bigint * interval '1 day'
    and (resolved_at, id) > (coalesce($4::timestamptz, '-infinity'), coalesce($3::text, '00000000-0000-0000-0000-000000000000')::uuid)
  order by resolved_at, id
  limit $2::bigint
), chunk_end as (
  select resolved_at, id
  from chunk
  order by resolved_at desc, id desc
  limit 1
)
select (select count(*) from chunk),
       (select count(*) from chunk),
       (select id::text from chunk_end),
       (select resolved_at from chunk_end)
