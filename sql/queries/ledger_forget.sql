-- ledger_forget: removes one chunk of the ledger's events that were kept long enough.
-- $1 days int8  $2 rows int8  $3 id text, $4 timestamp timestamptz the chunk begins behind (null: at the oldest)
-- One row: rows of the chunk int8, of those removed int8, id text and timestamp timestamptz of the last. By ctid, as
-- ARCHITECTURE.md says: these rows are never updated.
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
), gone as (
  delete from settle.social_sync_ledger
  where ctid = any (array(select ctid from chunk))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end),
       (select timestamp from chunk_end)
