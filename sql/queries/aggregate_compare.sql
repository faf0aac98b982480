-- aggregate_compare: counts one UTC day's raw rows a second time, in another way, and tells which aggregates are not so. Each raw
-- row is a fact of its own here, put on its day by its date in UTC and not by the two ends of the day.
-- $1 date text  $2 how many to tell bigint  $3 user_id_str, $4 platform behind which to begin text (null: with the first)
-- Rows: user_id_str text, platform text, what stands and what was found by column jsonb.
with fact as (
  select user_id_str, platform, 1 as published, case status when 'success' then 1 else 0 end as success,
         case status when 'failed' then 1 else 0 end as failed,
         case when status in ('success', 'failed') then
           extract(epoch from settled_at) - extract(epoch from requested_at) end as settle_s,
         0::bigint as heard, 0::numeric as cost
  from settle.publish_logs
  where requested_at between ($1::text::date::timestamp at time zone 'UTC') - interval '1 hour'
                         and ($1::text::date::timestamp at time zone 'UTC') + interval '25 hours'
    and (requested_at at time zone 'UTC')::date = $1::text::date
  union all
  select coalesce((select p.user_id_str
                   from settle.publish_logs as p
                   where (p.external_post_id, p.platform, p.source) = (r.external_post_id, r.platform, r.source)
                   limit 1), ''),
         r.platform, 0, 0, 0, null, 1, 0
  from settle.webhook_receipts as r
  where (stored_at between ($1::text::date::timestamp at time zone 'UTC') - interval '2 hours'
                       and ($1::text::date::timestamp at time zone 'UTC') + interval '26 hours'
         or received_at between ($1::text::date::timestamp at time zone 'UTC') - interval '1 hour'
                            and ($1::text::date::timestamp at time zone 'UTC') + interval '25 hours'
            and (stored_at - received_at) not between interval '-1 hour' and interval '1 hour')
    and (received_at at time zone 'UTC')::date = $1::text::date
  union all
  select user_id_str, platform, 0, 0, 0, null, n, 0
  from settle.forgotten_webhooks
  where date = $1::text::date
  union all
  select user_id_str, case when platform is null then '' else platform end, 0, 0, 0, null, 0, cost
  from settle.cost_records
  where timestamp between ($1::text::date::timestamp at time zone 'UTC') - interval '1 hour'
                      and ($1::text::date::timestamp at time zone 'UTC') + interval '25 hours'
    and (timestamp at time zone 'UTC')::date = $1::text::date
  union all
  select user_id_str, platform, 0, 0, 0, null, 0, cost
  from settle.forgotten_costs
  where date = $1::text::date
), found as (
  select user_id_str, platform, sum(published) as published, sum(success) as success, sum(failed) as failed,
         count(settle_s) as settled, avg(settle_s) * 1000 as settle_ms, sum(heard) as heard, sum(cost) as cost
  from fact
  group by user_id_str, platform
)
select user_id_str, platform,
       jsonb_strip_nulls(jsonb_build_object(
         'publication_count', case when publication_count is distinct from published then jsonb_build_array(publication_count, published) end,
         'success_count', case when success_count is distinct from success then jsonb_build_array(success_count, success) end,
         'failed_count', case when failed_count is distinct from failed then jsonb_build_array(failed_count, failed) end,
         'settled_count', case when settled_count is distinct from settled then jsonb_build_array(settled_count, settled) end,
         'webhook_count', case when webhook_count is distinct from heard then jsonb_build_array(webhook_count, heard) end,
         'avg_settle_ms', case when abs(coalesce(avg_settle_ms, -1) - coalesce(settle_ms, -1)) > 1
                               then jsonb_build_array(avg_settle_ms, round(settle_ms)) end,
         'cost_total', case when abs(coalesce(cost_total, -1) - coalesce(cost, -1)) > 0.01
                            then jsonb_build_array(cost_total, cost) end)) as differs
from (select * from settle.daily_aggregates where date = $1::text::date) as a
full join found using (user_id_str, platform)
where ($3::text is null or (user_id_str, platform) > ($3::text, $4::text))
  and ((publication_count, success_count, failed_count, settled_count, webhook_count)
       is distinct from (published, success, failed, settled, heard)
       or abs(coalesce(avg_settle_ms, -1) - coalesce(settle_ms, -1)) > 1
       or abs(coalesce(cost_total, -1) - coalesce(cost, -1)) > 0.01)
order by user_id_str, platform
limit $2::bigint
