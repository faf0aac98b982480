-- delivery_forget_count: how many delivery_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 id text the chunk begins behind (null: at the first)
-- One row, as there. Those do not count whose receipts are still to be removed.
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
)
select (select count(*) from chunk),
       (select count(*) from old),
       (select id::text from chunk_end)
