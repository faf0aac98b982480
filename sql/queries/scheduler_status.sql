-- scheduler_status: who leads, if anybody does; without a leader jobs are started by cron, a timer or a person.
-- No parameters.
-- One row: HTTP status, JSON text, null.
select 200 as status,
       json_build_object('leadership', row_to_json(l), 'last_updated', now())::text as body,
       null as cursor
from settle.scheduler_leadership as l
