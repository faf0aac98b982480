-- gauge_breakers: the state of each breaker, how often it changed and how often it closed again, for the gauges.
-- No parameters.
-- One row a platform: platform text, state text, transitions float8, closings float8.
select platform, state, transitions::float8, closings::float8
from settle.breakers
