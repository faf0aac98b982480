-- refused_trim_count: how many requests refused_trim would remove, were it to go on until all those bytes are gone.
-- $1 platform text  $2 source text  $3 bytes int8
-- One row: n int8.
select count(*)
from (
  select sum(bytes) over (order by received_at, id) - bytes as before
  from (
    select received_at, id, 512 + octet_length(headers) + octet_length(body) as bytes
    from settle.refused_requests
    where source = $2::text
      and platform = $1::text) as sender) as sized
where before < $3::bigint
