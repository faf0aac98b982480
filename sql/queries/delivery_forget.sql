-- delivery_forget: removes one chunk of the bytes of deliveries with several events that were kept long enough, unless a
-- receipt of theirs is still there. Ids are UUIDv7: the key is an index by time. The row's own time decides.
-- $1 days int8  $2 rows int8  $3 id text the chunk begins behind (null: at the first)
-- One row: rows of the chunk int8, of those removed int8, id text of the last. By ctid, as ARCHITECTURE.md says: these rows
-- are never updated. What stays lies at the old end: the caller goes on behind it.
with chunk as materialized (
  select ctid, id, stored_at
  from settle.webhook_deliveries
  where id < encode(substring(int8send((extract(epoch from now() - $1::bigint * interval '1 day') * 1000)::bigint) from 3)
                    || decode(repeat('00', 10), 'hex'), 'hex')::uuid
    and id > coalesce($3::text, '00000000-0000-0000-0000-000000000000')::uuid
  order by id
  limit $2::bigint
), chunk_end as (
  select id
  from chunk
  order by id desc
  limit 1
), old as (
  select chunk.ctid
  from chunk
  left join lateral (
    select true as needed
    from settle.webhook_receipts as r
    where r.delivery_id = chunk.id
      and r.body is null
    limit 1
  ) as keeper on true
  where chunk.stored_at < now() - $1::bigint * interval '1 day'
    and keeper.needed is null
), gone as (
  delete from settle.webhook_deliveries
  where ctid = any (array(select ctid from old))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end)
