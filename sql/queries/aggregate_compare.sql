-- aggregate_compare: counts one UTC day's raw rows a second time, in another way, and tells which aggregates are not so. Each raw
-- row is a fact of its own here, put on its day by its date in UTC and not by the two ends of the day: the facts of a little more
-- than the day are counted by their dates, and only then one date is picked.
-- $1 date  $2 how many to tell bigint  $3 user_id_str, $4 platform behind which to begin text (null: with the first)
-- Rows: user_id_str text, platform text, what stands and what was found by column jsonb.
-- What a fact does not say is null, which sums pass over sooner than zeros. Materialized, or the date would be picked among the raw
-- rows, of which no plan then knows how many there are.
with fact as (
  select (requested_at at time zone 'UTC')::date as date, user_id_str, platform, 1 as published,
         case status when 'success' then 1 end as success, case status when 'failed' then 1 end as failed,
         case when status in ('success', 'failed') then
           date_part('epoch', settled_at) - date_part('epoch', requested_at) end as settle_s,
         null::bigint as heard, null::numeric as cost
  from settle.publish_logs
  where requested_at between ($1::date::timestamp at time zone 'UTC') - interval '1 hour'
                         and ($1::date::timestamp at time zone 'UTC') + interval '25 hours'
  union all
  select (received_at at time zone 'UTC')::date,
         coalesce(near.user_id_str, (select far.user_id_str
                                     from settle.publish_logs as far
                                     where near.user_id_str is null
                                       and (far.external_post_id, far.platform, far.source)
                                         = (r.external_post_id, r.platform, r.source)
                                     limit 1), ''),
         r.platform, null, null, null, null, 1, null
  from settle.webhook_receipts as r
  left join (select external_post_id, platform, source, user_id_str
             from settle.publish_logs
             where requested_at between ($1::date::timestamp at time zone 'UTC') - interval '25 hours'
                                    and ($1::date::timestamp at time zone 'UTC') + interval '25 hours') as near
    on (near.external_post_id, near.platform, near.source) = (r.external_post_id, r.platform, r.source)
  where stored_at between ($1::date::timestamp at time zone 'UTC') - interval '2 hours'
                      and ($1::date::timestamp at time zone 'UTC') + interval '26 hours'
     or received_at between ($1::date::timestamp at time zone 'UTC') - interval '1 hour'
                        and ($1::date::timestamp at time zone 'UTC') + interval '25 hours'
        and (stored_at - received_at) not between interval '-1 hour' and interval '1 hour'
  union all
  select date, user_id_str, platform, null, null, null, null, n, null
  from settle.forgotten_webhooks
  where date = $1::date
  union all
  select (timestamp at time zone 'UTC')::date, user_id_str, case when platform is null then '' else platform end, null, null, null,
         null, null, cost
  from settle.cost_records
  where timestamp between ($1::date::timestamp at time zone 'UTC') - interval '1 hour'
                      and ($1::date::timestamp at time zone 'UTC') + interval '25 hours'
  union all
  select date, user_id_str, platform, null, null, null, null, null, cost
  from settle.forgotten_costs
  where date = $1::date
), found as materialized (
  select date, user_id_str, platform, count(published) as published, count(success) as success, count(failed) as failed,
         count(settle_s) as settled, avg(settle_s) * 1000 as settle_ms, coalesce(sum(heard), 0) as heard,
         coalesce(sum(cost), 0) as cost
  from fact
  group by date, user_id_str, platform
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
from (select * from settle.daily_aggregates where date = $1::date) as a
full join (select * from found where date = $1::date) as found using (user_id_str, platform)
where ($3::text is null or (user_id_str, platform) > ($3::text, $4::text))
  and ((publication_count, success_count, failed_count, settled_count, webhook_count)
       is distinct from (published, success, failed, settled, heard)
       or abs(coalesce(avg_settle_ms, -1) - coalesce(settle_ms, -1)) > 1
       or abs(coalesce(cost_total, -1) - coalesce(cost, -1)) > 0.01)
order by user_id_str, platform
limit $2::bigint
