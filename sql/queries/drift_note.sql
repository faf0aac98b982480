-- drift_note: keeps what was measured of the scheduler's totals, and since when they have been off by more than one cycle.
-- $1 check_cycles  $2 tasks_found  $3 tasks_executed  $4 tasks_failed  $5 tasks_skipped  $6 job_completed  $7 job_failed
-- $8 total_check_cycles, int8 each
-- One row: drifted_since timestamptz, null: they are not. A time of a clock that was ahead is now's.
insert into settle.scheduler_drift as d (check_cycles, tasks_found, tasks_executed, tasks_failed, tasks_skipped, job_completed, job_failed,
                                         total_check_cycles, drifted_since, measured_at)
values ($1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint,
        case when abs($1) > 1 then now() end, now())
on conflict (id) do update
set check_cycles = excluded.check_cycles,
    tasks_found = excluded.tasks_found,
    tasks_executed = excluded.tasks_executed,
    tasks_failed = excluded.tasks_failed,
    tasks_skipped = excluded.tasks_skipped,
    job_completed = excluded.job_completed,
    job_failed = excluded.job_failed,
    total_check_cycles = excluded.total_check_cycles,
    drifted_since = case when excluded.drifted_since is not null then least(d.drifted_since, now()) end,
    measured_at = excluded.measured_at
returning drifted_since
