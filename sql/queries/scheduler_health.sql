-- scheduler_health: whether the scheduler does what it should. That this is answered at all says that the database is there; it
-- is degraded when it takes a second, or when somebody leads and yet has not begun with the loop for a quarter of an hour
-- since it was due. Without a leader nothing is known of when the loop should begin.
-- No parameters.
-- One row: HTTP status, JSON text, null.
with leadership as (
  select is_leader as leads, row_to_json(l) as block
  from settle.scheduler_leadership as l
), found as materialized (
  select leads, block,
         leads and exists (select
                           from settle.job_schedule
                           where job = 'insights'
                             and cron <> ''
                             and next_due < now() - interval '15 minutes') as late,
         extract(epoch from clock_timestamp() - now()) * 1000 as took_ms
  from leadership
)
select 200 as status,
       json_build_object(
         'service', 'settle',
         'status', case when late or took_ms >= 1000 then 'degraded' else 'healthy' end,
         'checks', json_build_object(
           'database', json_build_object(
             'status', case when took_ms >= 1000 then 'degraded' else 'healthy' end,
             'message', case when took_ms >= 1000 then 'it takes long' else 'it answers' end),
           'scheduler_leadership', json_build_object(
             'status', case when late then 'degraded' when leads then 'healthy' else 'standby' end,
             'message', case
                          when late then 'the one that leads has not begun with the loop in time'
                          when leads then 'one leads'
                          else 'none leads: cron, timers or persons start the jobs'
                        end,
             'details', block)),
         'response_time_ms', round(took_ms, 1),
         'last_updated', now())::text as body,
       null as cursor
from found
