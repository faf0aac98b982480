-- gauge_publications: how many publications are in each state, and how long they wait, for the gauges; cheap at any size.
-- No parameters.
-- Rows: platform text, status text, publications float8, age of the oldest in seconds float8 (since it changed last), how
-- many have not changed for more than a day float8. Open states are counted exactly, in the table of open rows.
-- The others are counted in about 1,000 pages of publish_logs, always the same ones, and scaled up: exact while the
-- table is that small, an estimate (about 1 %) beyond, because counting millions of settled rows every 15 s buys nothing.
with sample as (
  select least(100, 100 * 1000.0 / greatest(pg_relation_size('settle.publish_logs') / current_setting('block_size')::integer, 1))::real
         as percent
)
select platform, status, count(*)::float8 as publications,
       greatest(extract(epoch from now() - min(updated_at)), 0)::float8,
       count(*) filter (where updated_at < now() - interval '24 hours')::float8
from settle.publish_open
group by platform, status
union all
select platform, status, round(count(*) * 100 / (select percent from sample)), 0, 0
from settle.publish_logs tablesample system ((select percent from sample)) repeatable (1)
where status in ('scheduled', 'success', 'failed')
group by platform, status
