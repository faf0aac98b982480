-- refused_get: one request that was turned away, with the exact bytes that came.
-- $1 id uuid
-- One row: HTTP status, JSON text, null; none if there is no such request, or no longer.
select 200 as status,
       json_build_object('id', id, 'platform', platform, 'source', source, 'received_at', received_at, 'cause', cause,
                         'detail', detail, 'headers_text', convert_from(headers, 'LATIN1'),
                         'body_base64', translate(encode(body, 'base64'), E'\n', ''))::text as body,
       null as cursor
from settle.refused_requests
where id = $1::uuid
order by source
limit 1
