-- Deploy settle:event_details to pg
-- The details of the scheduler's own events may name any tenant. Policies know rows and not columns: so a tenant has no right to
-- the columns that hold them, and reads those of its own events in others, which are empty where an event is nobody's.
begin;

alter table settle.scheduler_event_logs
  add column own_data jsonb generated always as (case when user_id is not null then event_data end) stored,
  add column own_error text generated always as (case when user_id is not null then error_message end) stored;
comment on column settle.scheduler_event_logs.own_data is 'event_data, where the event is a tenant''s';
comment on column settle.scheduler_event_logs.own_error is 'error_message, where the event is a tenant''s';

-- What a view names, whoever reads the view must have a right to. These are asked for other roles alone, with their rights.
create function settle.event_data(event bigint) returns jsonb
language sql stable
as $$
  select event_data from settle.scheduler_event_logs where id = event
$$;
create function settle.event_error(event bigint) returns text
language sql stable
as $$
  select error_message from settle.scheduler_event_logs where id = event
$$;
revoke execute on function settle.event_data (bigint), settle.event_error (bigint) from public;
grant execute on function settle.event_data (bigint), settle.event_error (bigint)
  to settle_tenant, settle_operator, settle_readonly;

create or replace view settle.scheduler_events with (security_invoker = true) as
select id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes, new_interval_minutes,
       tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type, user_id,
       check_duration_seconds, active_strategies_count, active_executions,
       case when user_id is not null then own_data
            when current_user = 'settle_tenant' then '{}'::jsonb
            else settle.event_data(id)
       end as event_data,
       case when user_id is not null then own_error
            when current_user <> 'settle_tenant' then settle.event_error(id)
       end as error_message,
       created_at
from settle.scheduler_event_logs;

revoke select on settle.scheduler_event_logs from settle_tenant;
grant select (id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes,
              new_interval_minutes, tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type,
              user_id, check_duration_seconds, active_strategies_count, active_executions, created_at, own_data, own_error)
  on settle.scheduler_event_logs to settle_tenant;

insert into settle.schema_version (change) values ('event_details');

commit;
