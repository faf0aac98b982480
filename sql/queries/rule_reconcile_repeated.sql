-- rule_reconcile_repeated: tenants whose insights tasks were repaired three times or more within an hour, with or without platforms that
-- another caller had just given a task (skipped).
-- $1 those behind this tenant text  $2 at most so many int8
-- Rows in the order of the tenant: user_id_str text, message text, payload jsonb.
select user_id_str,
       format('insights tasks were repaired %s times within an hour, %s of these beside another caller', runs, skipping) as message,
       jsonb_build_object('runs', runs, 'runs_with_skips', skipping, 'actors', actors) as payload
from (
  select user_id_str, count(*) as runs,
         count(*) filter (where jsonb_typeof(report -> 'skipped_platforms') = 'array'
                            and report -> 'skipped_platforms' <> '[]') as skipping,
         (array_agg(distinct actor))[1:10] as actors
  from settle.job_runs
  where job_name = 'insights_reconcile'
    and started_at > now() - interval '1 hour'
    and started_at <= now()
    and user_id_str > $1::text
  group by user_id_str
  having count(*) >= 3
) as tenant
order by user_id_str
limit $2::bigint
