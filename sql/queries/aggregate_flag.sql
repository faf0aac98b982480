-- aggregate_flag: writes what the second count of a day has found; what is so already is not written.
-- $1 date text  $2 user_id_str text[], $3 platform text[], $4 what differs jsonb[]: of the aggregates that are not so
-- $5 whether that is all of them boolean
-- Affects one row, the day, or none: it stood there already.
with drift as (
  select *
  from unnest($2::text[], $3::text[], $4::jsonb[]) as d (user_id_str, platform, differs)
), judged as (
  select a.user_id_str, a.platform, drift.differs,
         case when drift.user_id_str is not null then 'unverified' when $5::boolean then 'verified' else 'pending' end as status
  from settle.daily_aggregates as a
  left join drift using (user_id_str, platform)
  where a.date = $1::text::date
), flagged as (
  update settle.daily_aggregates as a
  set verification_status = j.status,
      verify_diff = j.differs,
      verified_at = case j.status when 'verified' then now() end
  from judged as j
  where a.date = $1::text::date
    and a.user_id_str = j.user_id_str
    and a.platform = j.platform
    and (a.verification_status, a.verify_diff) is distinct from (j.status, j.differs)
)
update settle.aggregate_days
set verification_status = case when n = 0 then 'verified' else 'unverified' end,
    verified_at = case when n = 0 then now() end,
    drift_rows = n,
    missing_rows = missing
from (select count(*)::integer as n, count(*) filter (where a.date is null)::integer as missing
      from drift
      left join settle.daily_aggregates as a on a.date = $1::text::date
                                            and a.user_id_str = drift.user_id_str
                                            and a.platform = drift.platform) as drifted
where aggregate_days.date = $1::text::date
  and (verification_status, drift_rows, missing_rows)
      is distinct from (case when n = 0 then 'verified' else 'unverified' end, n, missing)
