-- gauge_last_run: what the newest run of the publications job that has ended did, by platform, for the gauges.
-- No parameters.
-- Rows: platform text, success float8, failed float8, skipped float8, corrected float8, retry float8, unclear
-- float8: of those skipped, because a webhook came and does not say how it ended.
select p.key, (p.value ->> 'marked_success')::float8, (p.value ->> 'marked_failed')::float8,
       (p.value ->> 'skipped')::float8, (p.value ->> 'corrected')::float8, (p.value ->> 'marked_retry')::float8,
       (p.value #>> '{skipped_because,unclear}')::float8
from (
  select report
  from settle.job_runs
  where job_name = 'publications' and status in ('success', 'failed')
  order by started_at desc
  limit 1) as run
cross join lateral jsonb_each(case jsonb_typeof(run.report -> 'by_platform') when 'object' then run.report -> 'by_platform' else '{}' end) as p
