-- rule_stats_drift: the scheduler's totals have been off what its events say, by more than one cycle, for 10 minutes: at the first
-- of these measurements, at the last, and at each between.
-- $1 those behind this subject text  $2 at most so many int8
-- No row or one: 1 text, as the totals' row is called, message text, payload jsonb.
select id::text,
       format('the scheduler has counted %s check cycles, and its events say %s', total_check_cycles,
              total_check_cycles - check_cycles) as message,
       jsonb_build_object('drifted_since', drifted_since, 'measured_at', measured_at, 'total_check_cycles', check_cycles,
                          'cumulative_tasks_found', tasks_found, 'cumulative_tasks_executed', tasks_executed,
                          'cumulative_tasks_failed', tasks_failed, 'cumulative_tasks_skipped', tasks_skipped,
                          'cumulative_job_completed', job_completed, 'cumulative_job_failed', job_failed) as payload
from settle.scheduler_drift
where measured_at - drifted_since >= interval '10 minutes'
  and id::text collate "C" > $1::text
limit $2::bigint
