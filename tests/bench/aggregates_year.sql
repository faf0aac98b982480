-- The ceiling of ops/bench aggregates: the same counts of all days in one statement, without a hash, a second count, marks or locks.
-- psql variables: days.
set max_parallel_workers_per_gather = 0;
set jit = off;
create table if not exists year_in_one (like settle.daily_aggregates including defaults);
truncate year_in_one;
insert into year_in_one (date, user_id_str, platform, publication_count, success_count, failed_count, settled_count, avg_settle_ms,
                         webhook_count, cost_total, source_count, source_hash, hash_version)
select date, user_id_str, platform, sum(published), sum(success), sum(failed), sum(settled), max(settle_ms), sum(heard),
       round(sum(cost), 2), sum(published) + sum(heard) + sum(costs), '', 0
from (
  select (requested_at at time zone 'UTC')::date as date, user_id_str, platform, count(*) as published,
         count(*) filter (where status = 'success') as success, count(*) filter (where status = 'failed') as failed,
         count(settled_at) filter (where status in ('success', 'failed')) as settled,
         round(extract(epoch from avg(settled_at - requested_at) filter (where status in ('success', 'failed'))) * 1000) as settle_ms,
         0 as heard, 0 as cost, 0 as costs
  from settle.publish_logs
  where requested_at >= date_trunc('day', now(), 'UTC') - :days * interval '1 day'
  group by 1, 2, 3
  union all
  select (r.received_at at time zone 'UTC')::date, coalesce(p.user_id_str, ''), r.platform, 0, 0, 0, 0, null, count(*), 0, 0
  from settle.webhook_receipts as r
  left join settle.publish_logs as p on (p.external_post_id, p.platform, p.source) = (r.external_post_id, r.platform, r.source)
  where r.received_at < date_trunc('day', now(), 'UTC')
  group by 1, 2, 3
  union all
  select (timestamp at time zone 'UTC')::date, user_id_str, coalesce(platform, ''), 0, 0, 0, 0, null, 0, sum(cost), count(*)
  from settle.cost_records
  group by 1, 2, 3
) as part
group by date, user_id_str, platform;
