-- log_owned: whether the caller sees this publication.
-- $1 id uuid
-- One row: HTTP status; none if there is no such publication, or it is another tenant's.
select 200 as status
from settle.publish_logs
where id = $1::uuid
limit 1
