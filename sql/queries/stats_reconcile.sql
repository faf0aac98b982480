-- stats_reconcile: what all cycles together have done, counted anew from the events and from what is known of those that are
-- gone. What is missing is added, rather than the sum written: an event that comes meanwhile counts too, though this
-- statement cannot see it; and of two that find the same missing only the first adds it.
-- $1 dry_run bool  $2 run id uuid  $3 actor text
-- One row: HTTP status, JSON text, null.
with seen as materialized (
  select *
  from settle.scheduler_cumulative_stats
  where id = 1
), counted as materialized (
  select b.check_cycles + c.n as cycles,
         b.tasks_found + c.found as found,
         b.tasks_executed + c.executed as executed,
         b.tasks_failed + c.failed as failed,
         b.tasks_skipped + c.skipped as skipped,
         b.job_completed + (select count(*) from settle.scheduler_event_logs where event_type = 'job_completed') as job_completed,
         b.job_failed + (select count(*) from settle.scheduler_event_logs where event_type = 'job_failed') as job_failed,
         c.last_cycle
  from settle.scheduler_stats_baseline as b
  cross join (
    select count(*) as n, coalesce(sum(tasks_found), 0) as found, coalesce(sum(tasks_executed), 0) as executed,
           coalesce(sum(tasks_failed), 0) as failed, coalesce(sum(tasks_skipped), 0) as skipped, max(id) as last_cycle
    from settle.scheduler_event_logs
    where event_type = 'check_cycle') as c
  where b.id = 1
), missing as materialized (
  select seen.repairs,
         counted.cycles - seen.total_check_cycles as cycles,
         counted.found - seen.cumulative_tasks_found as found,
         counted.executed - seen.cumulative_tasks_executed as executed,
         counted.failed - seen.cumulative_tasks_failed as failed,
         counted.skipped - seen.cumulative_tasks_skipped as skipped,
         counted.job_completed - seen.cumulative_job_completed as job_completed,
         counted.job_failed - seen.cumulative_job_failed as job_failed,
         counted.last_cycle
  from seen
  cross join counted
), written as (
  update settle.scheduler_cumulative_stats as s
  set total_check_cycles = s.total_check_cycles + case when s.repairs = m.repairs then m.cycles else 0 end,
      cumulative_tasks_found = s.cumulative_tasks_found + case when s.repairs = m.repairs then m.found else 0 end,
      cumulative_tasks_executed = s.cumulative_tasks_executed + case when s.repairs = m.repairs then m.executed else 0 end,
      cumulative_tasks_failed = s.cumulative_tasks_failed + case when s.repairs = m.repairs then m.failed else 0 end,
      cumulative_tasks_skipped = s.cumulative_tasks_skipped + case when s.repairs = m.repairs then m.skipped else 0 end,
      cumulative_job_completed = s.cumulative_job_completed + case when s.repairs = m.repairs then m.job_completed else 0 end,
      cumulative_job_failed = s.cumulative_job_failed + case when s.repairs = m.repairs then m.job_failed else 0 end,
      last_check_cycle_id = greatest(s.last_check_cycle_id, m.last_cycle),
      repairs = s.repairs + 1,
      updated_at = now()
  from missing as m
  where s.id = 1
    and not $1::boolean
  returning s.*
), said as (
  select json_build_object(
           'success', true,
           'auditable', true,
           'reconciled_at', now(),
           'dry_run', $1,
           'stats', json_build_object(
             'total_check_cycles', coalesce(written.total_check_cycles, counted.cycles),
             'cumulative_tasks_found', coalesce(written.cumulative_tasks_found, counted.found),
             'cumulative_tasks_executed', coalesce(written.cumulative_tasks_executed, counted.executed),
             'cumulative_tasks_failed', coalesce(written.cumulative_tasks_failed, counted.failed),
             'cumulative_tasks_skipped', coalesce(written.cumulative_tasks_skipped, counted.skipped),
             'cumulative_job_completed', coalesce(written.cumulative_job_completed, counted.job_completed),
             'cumulative_job_failed', coalesce(written.cumulative_job_failed, counted.job_failed)),
           'drift', json_build_object(
             'total_check_cycles', -m.cycles,
             'cumulative_tasks_found', -m.found,
             'cumulative_tasks_executed', -m.executed,
             'cumulative_tasks_failed', -m.failed,
             'cumulative_tasks_skipped', -m.skipped,
             'cumulative_job_completed', -m.job_completed,
             'cumulative_job_failed', -m.job_failed)) as reply,
         written.repairs = m.repairs + 1 -- else another has added it meanwhile
         and (m.cycles <> 0 or m.found <> 0 or m.executed <> 0 or m.failed <> 0 or m.skipped <> 0 or m.job_completed <> 0
              or m.job_failed <> 0) as mended
  from missing as m
  cross join counted
  left join written on true
), ran as (
  insert into settle.job_runs (id, job_name, scope, actor, trigger, status, holder, finished_at, outcome, report)
  select $2::uuid, 'stats_reconcile', '{}', $3::text, 'api', 'success', 'api', now(), 'done', reply
  from said
  where not $1
), noted as (
  insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor, run_id)
  select 'scheduler_stats_reconciled', case when mended then 'warn' else 'info' end, 'scheduler_stats', '1', reply, $3, $2
  from said
  where not $1
)
select 200 as status, reply::text as body, null as cursor
from said
