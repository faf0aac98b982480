-- alert_stats: how many alerts there are, by what an operator sorts them by.
-- No parameters.
-- One row: HTTP status, JSON text, null.
with counted as (
  select status, severity, type, count(*) as n, count(*) filter (where created_at > now() - interval '24 hours') as lately
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
                          from (select type, sum(n) as total from counted where status = 'OPEN' group by type) as t),
         'total_alerts', coalesce(sum(n), 0),
         'by_status', json_build_object('OPEN', coalesce(sum(n) filter (where status = 'OPEN'), 0),
                                        'RESOLVED', coalesce(sum(n) filter (where status = 'RESOLVED'), 0)),
         'by_type', (select coalesce(json_object_agg(type, total order by type), '{}')
                     from (select type, sum(n) as total from counted group by type) as t),
         'recent_24h', coalesce(sum(lately), 0),
         'generated_at', now())::text as body,
       null as cursor
from counted
