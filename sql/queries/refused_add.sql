-- refused_add: keeps requests that were turned away, so that a wrong or rotated secret can be found.
-- $1 id uuid[]  $2 source text[]  $3 platform text[]  $4 received_at timestamptz[]  $5 cause text[]  $6 detail text[]
-- $7 headers bytea[]  $8 body bytea[]
insert into settle.refused_requests (id, source, platform, received_at, cause, detail, headers, body)
select id, source, platform, received_at, cause, detail, headers, body
from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::bytea[], $8::bytea[])
  as new (id, source, platform, received_at, cause, detail, headers, body)
