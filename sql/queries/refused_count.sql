-- refused_count: how many refused requests were kept long enough.
-- $1 keep_hours int8
-- One row: n int8.
select count(*)
from settle.refused_requests
where received_at < now() - $1::bigint * interval '1 hour'
