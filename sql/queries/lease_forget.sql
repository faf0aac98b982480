-- lease_forget: removes one chunk of the workers' leases whose publication is settled or gone: not of those that still hold, as
-- their workers may yet name the post of the try they are at.
-- $1 rows int8  $2 id text the chunk begins behind (null: at the first)
-- One row: rows of the chunk int8, of those removed int8, id text of the last. By ctid, as ARCHITECTURE.md says: a row that
-- is updated meanwhile has another and stays. What stays lies at the old end: the caller goes on behind it.
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
), gone as (
  delete from settle.publish_leases
  where ctid = any (array(select ctid from old))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end)
