-- scheduler_status: who leads, if anybody does; without a leader jobs are started by cron, a timer or a person.
-- No parameters.
-- One row: HTTP status, JSON text, null.
select 200 as status,
       json_build_object(
         'leadership', json_build_object(
           'mode', case when leads then 'leader' else 'external' end,
           'identity', case when leads then holder end,
           'is_leader', leads,
           'execution_enabled', leads,
           'leader_since', case when leads
                                then (select event_date
                                      from settle.scheduler_events
                                      where event_type = 'start'
                                      order by event_date desc
                                      limit 1)
                           end,
           'lock_key', 'settle:lock:serve',
           'last_check', (select event_date
                          from settle.scheduler_events
                          where event_type = 'check_cycle'
                          order by event_date desc
                          limit 1),
           'last_error', (select error_message
                          from settle.scheduler_events
                          where event_type = 'job_failed'
                          order by event_date desc
                          limit 1)),
         'last_updated', now())::text as body,
       null as cursor
from (select holder, coalesce(holder is not null and settle.job_lease(lease_until) > now(), false) as leads
      from settle.job_fences
      where name = 'serve') as fence
