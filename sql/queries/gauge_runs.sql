-- gauge_runs: when the newest successful run of the publications job ended and how long it took, for the gauges.
-- No parameters.
-- One row: end in seconds since 1970 float8, duration in seconds float8; none before the first.
select extract(epoch from finished_at)::float8 as ended, extract(epoch from finished_at - started_at)::float8 as took
from settle.job_runs
where job_name = 'publications' and status = 'success' and finished_at is not null
order by started_at desc
limit 1
