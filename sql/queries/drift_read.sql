-- drift_read: how far the scheduler's totals are off what its events say, and are known to have said before they were removed. Both are of one moment:
-- an event and what it adds are one transaction.
-- No parameters.
-- One row, int8 each, positive where the total says more: check_cycles, tasks_found, tasks_executed, tasks_failed, tasks_skipped,
-- job_completed, job_failed; and the total of check cycles.
select s.total_check_cycles - b.check_cycles - c.n as check_cycles,
       s.cumulative_tasks_found - b.tasks_found - c.found as tasks_found,
       s.cumulative_tasks_executed - b.tasks_executed - c.executed as tasks_executed,
       s.cumulative_tasks_failed - b.tasks_failed - c.failed as tasks_failed,
       s.cumulative_tasks_skipped - b.tasks_skipped - c.skipped as tasks_skipped,
       s.cumulative_job_completed - b.job_completed
       - (select count(*) from settle.scheduler_event_logs where event_type = 'job_completed') as job_completed,
       s.cumulative_job_failed - b.job_failed
       - (select count(*) from settle.scheduler_event_logs where event_type = 'job_failed') as job_failed,
       s.total_check_cycles
from settle.scheduler_cumulative_stats as s
cross join settle.scheduler_stats_baseline as b
cross join (
  select count(*) as n, coalesce(sum(tasks_found), 0)::bigint as found, coalesce(sum(tasks_executed), 0)::bigint as executed,
         coalesce(sum(tasks_failed), 0)::bigint as failed, coalesce(sum(tasks_skipped), 0)::bigint as skipped
  from settle.scheduler_event_logs
  where event_type = 'check_cycle') as c
where s.id = 1
  and b.id = 1
