-- gauge_breakers: the state of each breaker and how often it changed, for the gauges.
-- No parameters.
-- One row a platform: platform text, state text, transitions float8.
select platform, state, transitions::float8
from settle.breakers
