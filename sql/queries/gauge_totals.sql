-- gauge_totals: what all runs together have done, for the counters.
-- No parameters.
-- Rows: job_name text, kind text, word text, platform text (empty: of all), n float8.
select job_name, kind, word, platform, n::float8
from settle.run_totals
