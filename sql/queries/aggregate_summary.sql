-- aggregate_summary: what happened in a range of UTC days, by day, by platform and in all, with how far each number can be relied
-- on, and what the month in which it ends is going to cost.
-- $1 user_id_str text (null: all tenants)  $2 platform text (null: all)  $3 start_date text (null: so that there are 30 days)
-- $4 end_date text (null: today)
-- One row: HTTP status, JSON text or the cause of a refusal, null.
-- A day is verified if all that was asked for on it is: the tenant's own rows, and there is none that should be there. Where none
-- is and none should be, its zeros are. The month goes on from its days that are over and counted. Of platforms, whose names
-- anyone may make up, the 100 with most on them are named; the others are one, null.
with clock as materialized (
  select (now() at time zone 'UTC')::date as today
), asked as materialized (
  select today, coalesce($4::text::date, today) as last, coalesce($3::text::date, coalesce($4::text::date, today) - 29) as first
  from clock
), range as materialized (
  select today, first, last, date_trunc('month', least(last, today)::timestamp)::date as month,
         case when first > last then 'range_reversed' when last - first >= 366 then 'range_too_long' end as cause
  from asked
), counted as materialized (
  select date, platform,
         sum(publication_count)::bigint as publications, sum(success_count)::bigint as success, sum(failed_count)::bigint as failed,
         sum(settled_count) as settled, sum(avg_settle_ms * settled_count) as settle_ms, sum(webhook_count)::bigint as webhooks,
         sum(cost_total) as cost, count(*) filter (where verification_status = 'unverified') as unverified,
         count(*) filter (where verification_status = 'pending') as pending, bool_or(is_partial) as is_partial
  from settle.daily_aggregates
  where (select cause from range) is null
    and date >= (select least(first, month) from range)
    and date <= (select last from range)
    and ($1::text is null or user_id_str = $1)
    and ($2::text is null or platform = $2)
  group by date, platform
), by_day as materialized (
  select date, sum(publications) as publications, sum(success) as success, sum(failed) as failed, sum(settled) as settled,
         sum(settle_ms) as settle_ms, sum(webhooks) as webhooks, sum(cost) as cost, sum(unverified) as unverified,
         sum(pending) as pending, bool_or(is_partial) as is_partial
  from counted
  group by date
), day as materialized (
  select date, state.date is not null as is_aggregated,
         case when state.date is not null then coalesce(publications, 0) end as publications,
         case when state.date is not null then coalesce(success, 0) end as success,
         case when state.date is not null then coalesce(failed, 0) end as failed,
         settled, settle_ms,
         case when state.date is not null then coalesce(webhooks, 0) end as webhooks,
         case when state.date is not null then coalesce(cost, 0.00) end as cost,
         case
           when state.date is null and date < today then 'missing'
           when state.date is null then 'open'
           when unverified > 0 or state.misses_rows then 'unverified'
           when pending > 0 or by_day.date is null and state.verification_status = 'pending' then 'pending'
           else 'verified'
         end as status,
         coalesce(by_day.is_partial, state.is_partial, false) as is_partial, coalesce(state.is_dirty, false) as is_dirty,
         coalesce(state.is_stale, false) as is_stale
  from range
  cross join lateral (select first + n as date
                      from generate_series(0, case when cause is null then last - first else -1 end) as n
                      union
                      select month + n
                      from generate_series(0, case when cause is null then least(last, today) - month else -1 end) as n) as days
  left join settle.day_states as state using (date)
  left join by_day using (date)
), proved as materialized (
  select *, status = 'verified' and not is_partial and not is_stale as is_proved, date >= first as is_asked
  from day, range
), totals as (
  select json_build_object('publication_count', coalesce(sum(publications), 0), 'success_count', coalesce(sum(success), 0),
                           'failed_count', coalesce(sum(failed), 0), 'webhook_count', coalesce(sum(webhooks), 0),
                           'avg_settle_ms', round(sum(settle_ms) / nullif(sum(settled), 0)),
                           'cost_total', coalesce(sum(cost), 0.00)::text, 'days', count(*),
                           'verified_days', count(*) filter (where status = 'verified'),
                           'pending_days', count(*) filter (where status = 'pending'),
                           'unverified_days', count(*) filter (where status = 'unverified'),
                           'missing_days', count(*) filter (where status = 'missing'),
                           'partial_days', count(*) filter (where is_partial),
                           'stale_days', count(*) filter (where is_stale),
                           'is_proved', coalesce(bool_and(is_proved) filter (where status <> 'open'), false)) as json,
         json_build_object('publication_count', coalesce(sum(publications) filter (where is_proved), 0),
                           'success_count', coalesce(sum(success) filter (where is_proved), 0),
                           'failed_count', coalesce(sum(failed) filter (where is_proved), 0),
                           'webhook_count', coalesce(sum(webhooks) filter (where is_proved), 0),
                           'avg_settle_ms', round(sum(settle_ms) filter (where is_proved)
                                                  / nullif(sum(settled) filter (where is_proved), 0)),
                           'cost_total', coalesce(sum(cost) filter (where is_proved), 0.00)::text,
                           'days', count(*) filter (where is_proved)) as proved_json
  from proved
  where is_asked
), ranked as materialized (
  select platform, sum(publications) as publications, sum(success) as success, sum(failed) as failed,
         sum(webhooks) as webhooks, sum(settle_ms) as settle_ms, sum(settled) as settled, sum(cost) as cost,
         sum(unverified) as unverified,
         row_number() over (order by sum(publications) + sum(webhooks) desc, sum(cost) desc, platform) as place
  from counted
  where date >= (select first from range)
  group by platform
), platforms as (
  select coalesce(json_agg(json_build_object('platform', platform, 'publication_count', publications, 'success_count', success,
                                             'failed_count', failed, 'webhook_count', webhooks,
                                             'avg_settle_ms', round(settle_ms / nullif(settled, 0)), 'cost_total', cost::text,
                                             'unverified_rows', unverified)
                           order by platform), '[]') as json
  from (select case when place <= 100 then platform end as platform, sum(publications) as publications, sum(success) as success,
               sum(failed) as failed, sum(webhooks) as webhooks, sum(settle_ms) as settle_ms, sum(settled) as settled,
               sum(cost) as cost, sum(unverified) as unverified
        from ranked
        group by 1) as platform_sums
), days as (
  select json_agg(json_build_object('date', date, 'publication_count', publications, 'success_count', success,
                                    'failed_count', failed, 'webhook_count', webhooks,
                                    'avg_settle_ms', round(settle_ms / nullif(settled, 0)), 'cost_total', cost::text,
                                    'verification_status', status, 'is_partial', is_partial, 'is_dirty', is_dirty,
                                    'is_stale', is_stale)
                  order by date) as json
  from proved
  where is_asked
), elapsed as materialized (
  select range.month, count(date)::integer as days, coalesce(sum(cost), 0.00) as spent, max(date) as through,
         coalesce(bool_and(is_proved), false) as is_proved, (range.month + interval '1 month')::date - range.month as days_in_month
  from range
  left join proved on proved.date >= range.month
                  and proved.date < range.today
                  and proved.is_aggregated
                  and not proved.is_partial
  group by range.month
), projection as (
  select json_build_object('month', to_char(month, 'YYYY-MM'), 'month_to_date', spent::text, 'through', through,
                           'days_elapsed', days, 'days_in_month', days_in_month,
                           'projected_cost', settle.month_projection(spent, days, days_in_month)::text,
                           'confidence', case
                                           when days = 0 then null
                                           when 4 * days < days_in_month then 'low'
                                           when 4 * days < 3 * days_in_month then 'medium'
                                           else 'high'
                                         end,
                           'is_proved', is_proved) as json
  from elapsed
)
select 200 as status,
       json_build_object('start_date', first, 'end_date', last, 'user_id_str', $1, 'platform', $2, 'totals', totals.json,
                         'proved_totals', totals.proved_json, 'by_platform', platforms.json, 'days', days.json,
                         'projection', projection.json)::text as body,
       null as cursor
from range, totals, platforms, days, projection
where cause is null
union all
select 400, cause, null
from range
where cause is not null
