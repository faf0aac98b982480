-- gauge_runs: what each job last did and whether its lock is held, for the gauges.
-- No parameters.
-- Rows: job text, end of its newest run float8, end of its newest good run float8 (each in seconds since 1970; null: there is
-- none), duration of that run in seconds float8, whether its lock is held float8, whether somebody holds it whose lease is
-- over float8 (each 1 or 0). Each run is found by one look into an index: most recent ones are looked at until one has ended.
select f.name, extract(epoch from last.finished_at)::float8, extract(epoch from good.finished_at)::float8,
       extract(epoch from good.finished_at - good.started_at)::float8,
       (f.holder is not null and held)::integer::float8,
       (f.holder is not null and not held)::integer::float8
from settle.job_fences as f
cross join lateral (select coalesce(settle.job_lease(f.lease_until) >= now(), false) as held) as lease
left join lateral (
  select finished_at
  from settle.job_runs
  where job_name = f.name and status in ('success', 'failed', 'dead')
  order by started_at desc
  limit 1) as last on true
left join lateral (
  select started_at, finished_at
  from settle.job_runs
  where job_name = f.name and status = 'success'
  order by started_at desc
  limit 1) as good on true
where position(':' in f.name) = 0
