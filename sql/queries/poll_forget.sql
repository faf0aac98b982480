-- poll_forget: removes one chunk of the notes on polls whose publication is settled or gone.
-- $1 rows int8  $2 id text the chunk begins behind (null: at the first)
-- One row: rows of the chunk int8, of those removed int8, id text of the last. By ctid, as ARCHITECTURE.md says: a row that
-- is updated meanwhile has another and stays. What stays lies at the old end: the caller goes on behind it.
with chunk as materialized (
  select ctid, id, source
  from settle.publish_polls
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
), gone as (
  delete from settle.publish_polls
  where ctid = any (array(select ctid from old))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end)
