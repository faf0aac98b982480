-- aggregate_flag: writes what the second count of a day has found of some of its aggregates; what is so already is not written.
-- $1 date text  $2 user_id_str text[], $3 platform text[], $4 what differs jsonb[]: of those that are not so
-- $5 user_id_str, $6 platform behind which it was looked text (null: from the first)
-- $7 user_id_str, $8 platform up to which it was looked text (null: to the last)
-- $9 how many are not so, with those told before bigint
-- Affects one row, the day, or none: it stood there already.
with drift as (
  select *
  from unnest($2::text[], $3::text[], $4::jsonb[]) as d (user_id_str, platform, differs)
), judged as (
  select a.user_id_str, a.platform, drift.differs,
         case when drift.user_id_str is null then 'verified' else 'unverified' end as status
  from settle.daily_aggregates as a
  left join drift using (user_id_str, platform)
  where a.date = $1::text::date
    and ($5::text is null or (a.user_id_str, a.platform) > ($5::text, $6::text))
    and ($7::text is null or (a.user_id_str, a.platform) <= ($7::text, $8::text))
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
set verification_status = case when $9::bigint = 0 then 'verified' else 'unverified' end,
    verified_at = case when $9::bigint = 0 then now() end,
    drift_rows = $9::bigint,
    missing_rows = found.missing
from (select (case when $5::text is null then 0 else d.missing_rows end) + -- told before
             (select count(*)
              from drift
              left join settle.daily_aggregates as a on a.date = $1::text::date
                                                    and a.user_id_str = drift.user_id_str
                                                    and a.platform = drift.platform
              where a.date is null) as missing
      from settle.aggregate_days as d
      where d.date = $1::text::date) as found
where aggregate_days.date = $1::text::date
  and (verification_status, drift_rows, missing_rows)
      is distinct from (case when $9::bigint = 0 then 'verified' else 'unverified' end, $9::bigint, found.missing)
