-- refused_trim: removes the oldest of a sender's refused requests until so many bytes are gone, but a chunk at most.
-- $1 platform text  $2 source text  $3 bytes int8, as refused_excess counts them  $4 rows int8
-- One row: n int8 of removed ones, bytes int8. By ctid, as ARCHITECTURE.md says: these rows are never updated.
with oldest as (
  select ctid, sum(bytes) over (order by received_at, id) - bytes as before
  from (
    select ctid, received_at, id, 512 + octet_length(headers) + octet_length(body) as bytes
    from settle.refused_requests
    where source = $2::text
      and platform = $1::text
    order by received_at, id
    limit $4::bigint) as chunk
), gone as (
  delete from settle.refused_requests
  where ctid = any (array(select ctid from oldest where before < $3::bigint))
  returning 512 + octet_length(headers) + octet_length(body) as bytes
)
select count(*) as n, coalesce(sum(bytes), 0)::bigint as bytes
from gone
