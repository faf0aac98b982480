-- refused_read: one refused request whole, to be looked into.
-- $1 id uuid
-- One row: platform, source, received_at, cause, detail, headers, body; none if there is no such request, or no longer.
select platform, source, received_at, cause, detail, headers, body
from settle.refused_requests
where id = $1::uuid
order by source
limit 1
