-- gauge_alerts: how many alerts are open, for the gauges.
-- No parameters.
-- Rows: type text, alerts float8.
select type, count(*)::float8
from settle.alerts
where status = 'OPEN'
group by type
