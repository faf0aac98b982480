-- gauge_drift: how far the scheduler's totals were off its events, for the gauges.
-- No parameters.
-- No row or one: cycles float8, either way, as settle-reconciler stats has measured it last.
select abs(check_cycles)::float8
from settle.scheduler_drift
