-- cycle_add: the loop that looks for due tasks has gone round once. What all rounds together have done is brought up to date
-- by the same statement, by a trigger on the events.
-- $1 check_interval_minutes numeric text (null: not known)  $2 tasks_found  $3 tasks_executed  $4 tasks_failed  $5 tasks_skipped int8
-- $6 tasks_by_type jsonb  $7 duration in ms int8  $8 active_strategies_count  $9 active_executions int8  $10 event_data jsonb
-- Affects one row. The round's number is behind that of any other, whatever a repair has made of the totals: who counts is
-- waited for.
with stats as materialized (
  select last_check_cycle_number
  from settle.scheduler_cumulative_stats
  where id = 1
  for update
)
insert into settle.scheduler_event_logs (event_type, check_cycle_number, check_interval_minutes, tasks_found, tasks_executed,
  tasks_failed, tasks_skipped, tasks_by_type, check_duration_seconds, active_strategies_count, active_executions, event_data)
select 'check_cycle', last_check_cycle_number + 1, $1::text::numeric, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::jsonb,
       $7::bigint / 1000.0, $8::bigint, $9::bigint, coalesce($10::jsonb, '{}')
from stats
