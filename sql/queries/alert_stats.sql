-- alert_stats: how many alerts there are, by what an operator sorts them by.
-- No parameters.
-- One row: HTTP status, JSON text, null.
with counted as (
  select status, severity, type, count(*) as n
  from settle.alerts
  group by status, severity, type
)
select 200 as status,
       json_build_object(
         'total', coalesce(sum(n), 0),
         'open', coalesce(sum(n) filter (where status = 'OPEN'), 0),
         'resolved', coalesce(sum(n) filter (where status = 'RESOLVED'), 0),
         'open_by_severity', (select coalesce(json_object_agg(severity, total order by severity), '{}')
                              from (select severity, sum(n) as total from counted where status = 'OPEN' group by severity) as s),
         'open_by_type', (select coalesce(json_object_agg(type, total order by type), '{}')
                          from (select type, sum(n) as total from counted where status = 'OPEN' group by type) as t))::text as body,
       null as cursor
from counted
