-- rule_reconcile_failed: tenants whose newest repair of insights tasks had failures. Another one without any ends it.
-- $1 those behind this tenant text  $2 at most so many int8
-- Rows in the order of the tenant: user_id_str text, message text (null: the newest had none), payload jsonb. From one tenant who has had
-- a failure to the next by the index, and for each one look for the newest.
with recursive tenant as (
  select min(user_id_str) as user_id_str, 1::bigint as n
  from settle.job_runs
  where job_name = 'insights_reconcile' and status = 'failed' and user_id_str > $1::text
  union all
  select (select min(r.user_id_str)
          from settle.job_runs as r
          where r.job_name = 'insights_reconcile' and r.status = 'failed' and r.user_id_str > tenant.user_id_str),
         n + 1
  from tenant
  where user_id_str is not null
    and n < $2::bigint
)
select tenant.user_id_str,
       case when newest.failures > 0
            then format('%s of the connected insights platforms could not be given a task', newest.failures)
       end as message,
       jsonb_build_object('run_id', newest.id, 'reconciled_at', newest.started_at, 'failures', newest.report -> 'failures') as payload
from tenant
cross join lateral (
  select id, started_at, report,
         case when jsonb_typeof(report -> 'failures') = 'array' then jsonb_array_length(report -> 'failures') end as failures
  from settle.job_runs as r
  where r.job_name = 'insights_reconcile'
    and r.user_id_str = tenant.user_id_str
  order by started_at desc
  limit 1) as newest
order by tenant.user_id_str
