-- lease_forget_count: how many lease_forget would remove of one chunk.
-- $1 rows int8  $2 id text the chunk begins behind (null: at the first)
-- One row, as there.
with chunk as materialized (
  select ctid, id, source, lease_until > now() and lease_until <= now() + interval '25 hours' as holds -- worker_lease()
  from settle.publish_leases
  where id > coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid
  order by id
  limit $1::bigint
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
    from settle.publish_open as o
    where o.id = chunk.id
      and o.source = chunk.source
    limit 1
  ) as keeper on true
  where keeper.needed is null
    and not chunk.holds
)
select (select count(*) from chunk),
       (select count(*) from old),
       (select id::text from chunk_end)
