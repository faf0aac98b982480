-- task_trigger: a person sets a task going again: it is active and due now, and its failures are forgotten, those of the last
-- days as well, and what comes of a request that is on its way. Twice is once.
-- $1 type text  $2 id int8  $3 actor text
-- One row: HTTP status, JSON text, null; none if there is no such task, or it is another tenant's.
with asked as (
  select $1::text = 'platform_insights' as known
), before as materialized (
  select t.*
  from settle.platform_insights_tasks as t, asked
  where t.id = $2::bigint
    and asked.known
  for update of t
), changed as (
  update settle.platform_insights_tasks as t
  set status = 'active', next_check = now(), cool_off_until = null, consecutive_failures = 0, failure_reason = null,
      failure_pattern = null, failures_since = clock_timestamp(), updated_at = now()
  from before as b
  where t.id = b.id
    and not (b.status = 'active' and coalesce(b.next_check <= now(), true) and b.cool_off_until is null
             and b.consecutive_failures = 0 and coalesce(b.failures_since >= b.last_failure, b.last_failure is null)
             and not exists (select
                             from settle.task_leases as l
                             where l.task_key = 'platform_insights_' || b.id
                               and l.expires_at > now()
                               and l.taken_at > coalesce(b.failures_since, '-infinity')))
  returning t.id, t.user_id, t.platform, t.status, t.next_check, b.status as status_before,
            b.consecutive_failures as failures_before
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'task_triggered', 'user', user_id,
         jsonb_build_object('task_type', $1, 'task_id', id, 'platform', platform, 'previous_status', status_before,
                            'previous_failures', failures_before),
         $3::text
  from before
  left join changed using (id, user_id, platform)
), now_is as (
  select b.id, b.platform, coalesce(c.status, b.status) as status, coalesce(c.next_check, b.next_check) as next_check,
         c.id is not null as is_changed
  from before as b
  left join changed as c using (id)
)
select 200 as status,
       json_build_object('success', true, 'task_type', $1, 'task_id', id, 'platform', platform, 'status', status,
                         'next_check', next_check, 'changed', is_changed, 'auditable', true)::text as body,
       null as cursor
from now_is
union all
select 400, 'unknown_task_type', null
from asked
where not known
