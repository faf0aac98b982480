-- ledger_forget_count: how many ledger_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 id text, $4 timestamp timestamptz the chunk begins behind (null: at the oldest)
-- One row, as there.
with chunk as materialized (
  select ctid, timestamp, id
  from settle.social_sync_ledger
  where timestamp < now() - $1::bigint * interval '1 day'
    and (timestamp, id) > (coalesce($4::timestamptz, '-infinity'), coalesce($3::text, '00000000-0000-0000-0000-000000000000')::uuid)
  order by timestamp, id
  limit $2::bigint
), chunk_end as (
  select timestamp, id
  from chunk
  order by timestamp desc, id desc
  limit 1
)
select (select count(*) from chunk),
       (select count(*) from chunk),
       (select id::text from chunk_end),
       (select timestamp from chunk_end)
