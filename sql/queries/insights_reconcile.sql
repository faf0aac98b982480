-- insights_reconcile: a task for each connected platform that wants one and has none. Takes no lock: of many that ask at once
-- one makes each task, and the others see it skipped.
-- $1 user_id text  $2 run id uuid  $3 actor text
-- One row: HTTP status, JSON text, null.
with connected as (
  select platform, bool_and(coalesce(c.expires_at <= now(), false)) as expired
  from settle.platform_connections as c
  join settle.insights_platforms using (platform)
  where c.user_id_str = $1::text
    and c.connected
  group by platform
), missing as (
  select platform
  from connected
  where not expired
    and not exists (select
                    from settle.platform_insights_tasks as t
                    where t.user_id = $1
                      and t.platform = connected.platform)
), created as (
  insert into settle.platform_insights_tasks (user_id, platform, next_check)
  select $1, platform, now() + interval '7 days'
  from missing
  order by platform -- so that two of them never wait for each other
  on conflict (user_id, platform) do nothing
  returning platform
), said as (
  select json_build_object(
           'success', not exists (select from connected where expired),
           'user_id', $1,
           'connected_insights_platforms', (select coalesce(json_agg(platform order by platform), '[]') from connected),
           'created_platforms', (select coalesce(json_agg(platform order by platform), '[]') from created),
           'skipped_platforms', (select coalesce(json_agg(platform order by platform), '[]')
                                 from missing
                                 where platform not in (select platform from created)),
           'failures', (select coalesce(json_agg(json_build_object('platform', platform, 'error', 'the connection has expired')
                                                 order by platform), '[]')
                        from connected
                        where expired),
           'auditable', true,
           'reconciled_at', now()) as reply
), ran as (
  insert into settle.job_runs (id, job_name, user_id_str, scope, actor, trigger, status, holder, finished_at, outcome, report)
  select $2::uuid, 'insights_reconcile', $1, json_build_object('user_id', $1), $3::text, 'api',
         case when (reply ->> 'success')::boolean then 'success' else 'failed' end, 'api', now(), 'done', reply
  from said
), noted as (
  insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor, run_id)
  select 'insights_tasks_reconciled', case when (reply ->> 'success')::boolean then 'info' else 'warn' end, 'user', $1, reply,
         $3, $2
  from said
)
select 200 as status, reply::text as body, null as cursor
from said
