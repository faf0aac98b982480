-- aggregate_export: one page of the aggregates of a range of UTC days as CSV (RFC 4180), in the order of their key; the first
-- begins with the names of the columns.
-- $1 user_id_str text (null: all tenants)  $2 platform text (null: all)  $3 start_date text (null: so that there are 30 days)
-- $4 end_date text (null: today)  $5 rows int8  $6 date text, $7 user_id_str text, $8 platform text of the row that the page
-- begins behind (null: at the first)
-- One row: HTTP status, CSV text or the cause of a refusal, date, user_id_str, platform text of the last row if there are more.
with clock as materialized (
  select (now() at time zone 'UTC')::date as today
), asked as materialized (
  select coalesce($4::text::date, today) as last, coalesce($3::text::date, coalesce($4::text::date, today) - 29) as first
  from clock
), range as materialized (
  select greatest(first, $6::text::date) as first, last,
         case when first > last then 'range_reversed' when last - first >= 3660 then 'range_too_long' end as cause
  from asked
), page as materialized (
  select *
  from settle.daily_aggregates
  where (select cause from range) is null
    and date >= (select first from range)
    and date <= (select last from range)
    and ($1::text is null or user_id_str = $1)
    and ($2::text is null or platform = $2)
    and ($6 is null or (date, user_id_str, platform) > ($6::date, $7::text, $8::text))
  order by date, user_id_str, platform
  limit $5::bigint + 1 -- one more tells whether there is a next page
), shown as materialized (
  select *
  from page
  order by date, user_id_str, platform
  limit $5
), line as (
  select date, user_id_str, platform,
         concat_ws(',', to_char(date, 'YYYY-MM-DD'), settle.csv_text(user_id_str), settle.csv_text(platform), publication_count,
                   success_count, failed_count, settled_count, coalesce(avg_settle_ms::text, ''), webhook_count, cost_total, source_count,
                   settle.csv_text(source_hash), hash_version, shown.verification_status,
                   coalesce(to_char(verified_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), ''),
                   coalesce(settle.csv_text(verify_diff::text), ''), shown.is_partial::text, coalesce(last_run_id::text, ''),
                   to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   coalesce(state.is_dirty, false)::text, coalesce(state.is_stale, false)::text) || e'\r\n' as text
  from shown
  left join settle.day_states as state using (date)
), last_row as (
  select date, user_id_str, platform
  from shown
  where (select count(*) from page) > $5
  order by date desc, user_id_str desc, platform desc
  limit 1
)
select 200 as status,
       case
         when $6 is null
         then e'date,user_id_str,platform,publication_count,success_count,failed_count,settled_count,avg_settle_ms,webhook_count,'
              'cost_total,source_count,source_hash,hash_version,verification_status,verified_at,verify_diff,is_partial,last_run_id,'
              'created_at,updated_at,is_dirty,is_stale\r\n'
         else ''
       end || coalesce((select string_agg(text, '' order by date, user_id_str, platform) from line), '') as body,
       (select to_char(date, 'YYYY-MM-DD') from last_row) as date,
       (select user_id_str from last_row) as user_id_str,
       (select platform from last_row) as platform
from range
where cause is null
union all
select 400, cause, null, null, null
from range
where cause is not null
