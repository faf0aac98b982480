-- insights_finish: what became of a task, by whoever holds its lease, which ends. A failure is tried again in a day; after
-- three in a row, or five in seven days, the task waits for a person. One that a person has set going while it was on its way
-- stays due after a failure, which is of before.
-- $1 id int8  $2 token of the lease int8  $3 status text: success, failed, or skipped: it was not asked, and nothing counts
-- $4 message text  $5 why as a class text  $6 why as a code text  $7 figures jsonb  $8 ms int8
-- $9 of skipped: due again in so many seconds int8 (null: as it was)
-- One row, the task's status text; none if the lease is no longer its own.
with held as (
  delete from settle.task_leases
  where task_key = 'platform_insights_' || $1::bigint
    and token = $2::bigint
    and expires_at > now()
  returning taken_at
), logged as (
  insert into settle.platform_insights_execution_logs (task_id, status, result_data, error_message, execution_time_ms, data_source)
  select $1, $3::text, $7::jsonb, $4::text, $8::bigint, 'api'
  from held
), failures as materialized (
  select t.consecutive_failures + 1 as in_a_row,
         1 + (select count(*)
              from settle.platform_insights_execution_logs
              where task_id = $1
                and status = 'failed'
                and execution_date > greatest(now() - interval '7 days', t.failures_since)) as lately,
         $3 = 'failed' and coalesce(t.failures_since >= held.taken_at, false) as is_of_before
  from held
  cross join settle.platform_insights_tasks as t
  where t.id = $1
  for update of t
), judged as (
  select *, in_a_row >= 3 or lately >= 5 as stuck from failures
)
update settle.platform_insights_tasks as t
set status = case
               when t.status = 'paused' or $3 = 'skipped' or is_of_before then t.status
               when $3 = 'success' then 'active'
               when stuck then 'needs_intervention'
               else 'failed'
             end,
    last_check = case when $3 = 'skipped' then last_check else now() end,
    last_success = case when $3 = 'success' then now() else last_success end,
    last_failure = case when $3 = 'failed' then now() else last_failure end,
    failures_since = case when is_of_before then clock_timestamp() else failures_since end,
    failure_reason = case
                       when $3 = 'success' then null
                       when $3 = 'failed' and not is_of_before then $4
                       else failure_reason
                     end,
    consecutive_failures = case
                             when $3 = 'success' then 0
                             when $3 = 'failed' and not is_of_before then in_a_row
                             else consecutive_failures
                           end,
    failure_pattern = case
                        when $3 = 'success' then null
                        when $3 = 'failed' and not is_of_before then
                          jsonb_build_object('reason', $5::text, 'error_code', $6::text, 'consecutive_failures', in_a_row,
                                             'recent_failures', lately, 'failed_at', now())
                        else failure_pattern
                      end,
    next_check = case
                   when $3 = 'success' then now() + interval '7 days'
                   when $3 = 'skipped' then coalesce(now() + $9::bigint * interval '1 second', next_check)
                   when is_of_before then next_check
                   when stuck then null
                   else now() + interval '1 day'
                 end,
    cool_off_until = case
                       when $3 = 'success' then null
                       when $3 = 'failed' and stuck and not is_of_before then now() + interval '7 days'
                       else cool_off_until
                     end,
    updated_at = now()
from judged
where t.id = $1
returning t.status
