-- refused_walk: one page of a source's refused requests, oldest first, to be verified again.
-- $1 source text  $2 platform text (null: any)  $3 until timestamptz
-- $4 $5 received_at timestamptz (null: at the oldest) and id uuid that the page begins behind
-- $6 rows int8  $7 bytes int8
-- One row a request: id, platform, received_at, headers, body. At most $6 rows; the bodies of all but the last are
-- together under $7 bytes.
with page as materialized (
  select id, platform, received_at
  from settle.refused_requests
  where source = $1::text
    and ($2::text is null or platform = $2)
    and received_at <= $3::timestamptz
    and (received_at, id) > (coalesce($4::timestamptz, '-infinity'), $5::uuid)
  order by received_at, id
  limit $6::bigint
), sized as (
  select page.id, sum(octet_length(r.body)) over (order by page.received_at, page.id) - octet_length(r.body) as before
  from page
  join settle.refused_requests r on r.id = page.id and r.source = $1
)
select r.id, r.platform, r.received_at, r.headers, r.body
from sized
join settle.refused_requests r on r.id = sized.id and r.source = $1
where sized.before < $7::bigint
order by r.received_at, r.id
