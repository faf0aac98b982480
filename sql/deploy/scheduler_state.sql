-- Deploy settle:scheduler_state to pg
-- What all the scheduler's cycles together have done, what each of its tasks gave, and who sees what of it. Names are those
-- of the tools that exist already.
begin;

-- Kept by a trigger on the events, so that no writer of them can forget it: an event and what it adds are one transaction.
create table settle.scheduler_cumulative_stats (
  id integer primary key default 1 check (id = 1),
  total_check_cycles bigint not null default 0,
  cumulative_tasks_found bigint not null default 0,
  cumulative_tasks_executed bigint not null default 0,
  cumulative_tasks_failed bigint not null default 0,
  cumulative_tasks_skipped bigint not null default 0,
  cumulative_job_completed bigint not null default 0,
  cumulative_job_failed bigint not null default 0,
  last_check_cycle_id bigint,
  last_check_cycle_number integer not null default 0,
  repairs bigint not null default 0,
  last_updated timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on column settle.scheduler_cumulative_stats.repairs is
  'times it was written from the events: of two that do so at once the second changes nothing more';
comment on column settle.scheduler_cumulative_stats.last_updated is 'when an event was counted last';

-- Of events that are no longer there. Kept by a trigger as well: whoever removes events adds them here.
create table settle.scheduler_stats_baseline (
  id integer primary key default 1 check (id = 1),
  events bigint not null default 0,
  check_cycles bigint not null default 0,
  tasks_found bigint not null default 0,
  tasks_executed bigint not null default 0,
  tasks_failed bigint not null default 0,
  tasks_skipped bigint not null default 0,
  job_completed bigint not null default 0,
  job_failed bigint not null default 0,
  newest timestamptz,
  updated_at timestamptz not null default now()
);
comment on column settle.scheduler_stats_baseline.newest is 'event_date of the newest event that was removed';

-- Or an event that is written while they are counted would be in no total.
lock table settle.scheduler_event_logs in share row exclusive mode;
insert into settle.scheduler_cumulative_stats (
  total_check_cycles, cumulative_tasks_found, cumulative_tasks_executed, cumulative_tasks_failed, cumulative_tasks_skipped,
  cumulative_job_completed, cumulative_job_failed, last_check_cycle_id, last_check_cycle_number, last_updated)
select count(*) filter (where event_type = 'check_cycle'),
       coalesce(sum(tasks_found) filter (where event_type = 'check_cycle'), 0),
       coalesce(sum(tasks_executed) filter (where event_type = 'check_cycle'), 0),
       coalesce(sum(tasks_failed) filter (where event_type = 'check_cycle'), 0),
       coalesce(sum(tasks_skipped) filter (where event_type = 'check_cycle'), 0),
       count(*) filter (where event_type = 'job_completed'),
       count(*) filter (where event_type = 'job_failed'),
       max(id) filter (where event_type = 'check_cycle'),
       coalesce(max(check_cycle_number), 0),
       max(event_date) filter (where event_type in ('check_cycle', 'job_completed', 'job_failed'))
from settle.scheduler_event_logs;
insert into settle.scheduler_stats_baseline (id) values (1);

-- Runs with the rights of whoever writes events, or removes them.
create function settle.scheduler_events_count() returns trigger
language plpgsql
as $$
declare
  n record;
begin
  select count(*) as events,
         count(*) filter (where event_type = 'check_cycle') as cycles,
         coalesce(sum(tasks_found) filter (where event_type = 'check_cycle'), 0) as found,
         coalesce(sum(tasks_executed) filter (where event_type = 'check_cycle'), 0) as executed,
         coalesce(sum(tasks_failed) filter (where event_type = 'check_cycle'), 0) as failed,
         coalesce(sum(tasks_skipped) filter (where event_type = 'check_cycle'), 0) as skipped,
         count(*) filter (where event_type = 'job_completed') as job_completed,
         count(*) filter (where event_type = 'job_failed') as job_failed,
         max(id) filter (where event_type = 'check_cycle') as last_cycle,
         max(check_cycle_number) as last_number,
         max(event_date) as newest
  into n
  from changed;
  if tg_op = 'DELETE' and n.events > 0 then
    update settle.scheduler_stats_baseline
    set events = events + n.events,
        check_cycles = check_cycles + n.cycles,
        tasks_found = tasks_found + n.found,
        tasks_executed = tasks_executed + n.executed,
        tasks_failed = tasks_failed + n.failed,
        tasks_skipped = tasks_skipped + n.skipped,
        job_completed = job_completed + n.job_completed,
        job_failed = job_failed + n.job_failed,
        newest = greatest(newest, n.newest),
        updated_at = now()
    where id = 1;
  elsif tg_op = 'INSERT' and n.cycles + n.job_completed + n.job_failed > 0 then
    update settle.scheduler_cumulative_stats
    set total_check_cycles = total_check_cycles + n.cycles,
        cumulative_tasks_found = cumulative_tasks_found + n.found,
        cumulative_tasks_executed = cumulative_tasks_executed + n.executed,
        cumulative_tasks_failed = cumulative_tasks_failed + n.failed,
        cumulative_tasks_skipped = cumulative_tasks_skipped + n.skipped,
        cumulative_job_completed = cumulative_job_completed + n.job_completed,
        cumulative_job_failed = cumulative_job_failed + n.job_failed,
        last_check_cycle_id = greatest(last_check_cycle_id, n.last_cycle),
        last_check_cycle_number = greatest(last_check_cycle_number, n.last_number),
        last_updated = now(),
        updated_at = now()
    where id = 1;
  end if;
  return null;
end
$$;
revoke execute on function settle.scheduler_events_count () from public;

create trigger scheduler_events_added after insert on settle.scheduler_event_logs
referencing new table as changed
for each statement execute function settle.scheduler_events_count();
create trigger scheduler_events_removed after delete on settle.scheduler_event_logs
referencing old table as changed
for each statement execute function settle.scheduler_events_count();

-- Lists by type, and of a tenant; what all cycles together have done is read from an index alone.
-- user_id stands in both for the policy, which would have each row fetched for it.
create index scheduler_event_logs_type on settle.scheduler_event_logs (event_type, event_date, id) include (user_id);
create index scheduler_event_logs_cycles on settle.scheduler_event_logs (event_date, id)
include (tasks_found, tasks_executed, tasks_failed, tasks_skipped, check_duration_seconds, user_id)
where event_type = 'check_cycle';
-- How the loop's pace changed last: what else is adjusted may be all there is of late.
create index scheduler_event_logs_pace on settle.scheduler_event_logs (event_date)
where event_type = 'interval_adjustment' and coalesce(job_id, 'insights') = 'insights';
drop index settle.scheduler_event_logs_user;
create index scheduler_event_logs_user on settle.scheduler_event_logs (user_id, event_date, id);

create table settle.platform_insights_execution_logs (
  id bigint generated always as identity primary key,
  task_id bigint not null references settle.platform_insights_tasks on delete cascade,
  execution_date timestamptz not null default now(),
  status text collate "C" not null check (status in ('running', 'success', 'failed', 'skipped')),
  result_data jsonb,
  error_message text check (octet_length(error_message) <= 4000),
  execution_time_ms bigint check (execution_time_ms >= 0),
  data_source text collate "C" check (data_source in ('cached', 'api', 'onboarding')),
  created_at timestamptz not null default now()
);
comment on table settle.platform_insights_execution_logs is 'each time a task was done, or tried; whose it is, its task says';
create index platform_insights_execution_logs_task
on settle.platform_insights_execution_logs (task_id, execution_date, id);
create index platform_insights_execution_logs_date on settle.platform_insights_execution_logs (execution_date, id);

-- Only read: of tools that settle takes the place of.
create table settle.monitoring_tasks (
  id bigint generated by default as identity primary key,
  strategy_id bigint,
  component_name text check (octet_length(component_name) <= 100),
  task_title text check (octet_length(task_title) <= 500),
  task_description text,
  assignee text check (octet_length(assignee) <= 50),
  frequency text collate "C" check (frequency in ('Daily', 'Weekly', 'Monthly', 'Quarterly')),
  metric text check (octet_length(metric) <= 100),
  measurement_method text,
  success_criteria text,
  alert_threshold text,
  status text collate "C" not null default 'pending' check (status in ('pending', 'active', 'completed', 'failed')),
  last_executed timestamptz,
  next_execution timestamptz,
  created_at timestamptz not null default now()
);

create table settle.task_execution_logs (
  id bigint generated by default as identity primary key,
  task_id bigint not null references settle.monitoring_tasks on delete cascade,
  user_id integer,
  user_id_str text collate "C" check (octet_length(user_id_str) between 1 and 255),
  execution_date timestamptz not null default now(),
  status text collate "C" not null check (status in ('success', 'failed', 'skipped', 'running')),
  result_data jsonb,
  error_message text,
  execution_time_ms bigint,
  created_at timestamptz not null default now()
);
comment on column settle.task_execution_logs.user_id is 'of older rows; says whose a row is only where user_id_str is null';
create index task_execution_logs_user on settle.task_execution_logs (user_id_str, execution_date, id);
create index task_execution_logs_status on settle.task_execution_logs (user_id_str, status, execution_date);
create index task_execution_logs_number on settle.task_execution_logs (user_id, execution_date) where user_id_str is null;
create index task_execution_logs_date on settle.task_execution_logs (execution_date, id);
create index task_execution_logs_task on settle.task_execution_logs (task_id);

-- The number by which older rows name the tenant; null if its name is none.
create function settle.tenant_number() returns bigint
language sql stable
as $$
  select case when settle.tenant() ~ '^(0|[1-9][0-9]{0,9})$' then settle.tenant()::bigint end
$$;
revoke execute on function settle.tenant_number () from public;
grant execute on function settle.tenant_number () to settle_tenant;

-- What is nobody's is everybody's: totals, the loop that looks for due tasks, whether anybody leads, and the scheduler's own
-- events, whose details scheduler_events hides.
drop policy tenant on settle.scheduler_event_logs;
do $$
declare
  kept record;
begin
  for kept in
    select name::text as name, own, older
    from (values
      ('scheduler_cumulative_stats', 'true', false),
      ('scheduler_stats_baseline', 'true', false),
      ('job_schedule', 'job = ''insights''', false),
      ('job_fences', 'name = ''serve''', false),
      ('scheduler_event_logs', 'user_id is null or user_id = settle.tenant()', true),
      ('platform_insights_execution_logs',
       'exists (select from settle.platform_insights_tasks as t where t.id = platform_insights_execution_logs.task_id)', false),
      ('task_execution_logs',
       'user_id_str = settle.tenant() or user_id_str is null and user_id = settle.tenant_number()', false),
      ('monitoring_tasks', 'exists (select from settle.task_execution_logs as l where l.task_id = monitoring_tasks.id)', false)
    ) as tables (name, own, older)
  loop
    execute format('create policy tenant on settle.%I for select to settle_tenant using (%s)', kept.name, kept.own);
    if not kept.older then
      execute format('alter table settle.%I enable row level security, force row level security', kept.name);
      execute format('create policy programs on settle.%I to settle_reconciler, settle_operator, settle_maintain, settle_readonly, '
                     '%I using (true)', kept.name, current_user);
    end if;
  end loop;
end
$$;

create view settle.scheduler_events with (security_invoker = true) as
select id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes, new_interval_minutes,
       tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type, user_id,
       check_duration_seconds, active_strategies_count, active_executions,
       case when user_id is null and current_user = 'settle_tenant' then '{}'::jsonb else event_data end as event_data,
       case when user_id is null and current_user = 'settle_tenant' then null else error_message end as error_message,
       created_at
from settle.scheduler_event_logs;
comment on view settle.scheduler_events is
  'events as who asks may see them: what the scheduler did for nobody or for all a tenant sees without the details, which may name others';

-- A job is started by who leads, if anybody does; else by cron, a timer or a person, of whose plans nothing is known. To a
-- tenant policies leave the loop and its own tasks.
create view settle.scheduler_jobs with (security_invoker = true) as
with job as (
  select name
  from settle.job_fences
  where name not in ('serve', 'insights', 'aggregates_backfill', 'aggregates_verify') -- the last two start by hand
    and strpos(name, ':') = 0 -- of a day
  union all
  select 'insights'
), planned as (
  select name, next_due,
         coalesce(cron, '') <> '' and exists (select from settle.job_fences where name = 'serve' and settle.job_lease(lease_until) > now()) as led
  from job
  left join settle.job_schedule on job_schedule.job = name
)
select case name when 'insights' then 'check_due_tasks' else name end as id,
       case when led then 'cron' else 'external' end as trigger_type,
       case when led then next_due end as next_run_time,
       null::text as user_id,
       null::bigint as task_id,
       null::text as platform
from planned
union all
select 'platform_insights_' || platform || '_' || user_id, 'interval', coalesce(next_check, now()), user_id, id, platform
from settle.platform_insights_tasks
where status in ('active', 'failed');
comment on view settle.scheduler_jobs is
  'what is started again and again: the jobs (the loop that looks for due tasks is check_due_tasks) and the tasks that the loop finds';

grant select, update on settle.scheduler_cumulative_stats to settle_reconciler, settle_operator;
grant select, update on settle.scheduler_stats_baseline to settle_maintain, settle_operator;
grant delete on settle.scheduler_event_logs to settle_operator;
grant select, insert, update on settle.platform_insights_execution_logs to settle_reconciler;
grant select, delete on settle.platform_insights_execution_logs, settle.task_execution_logs to settle_maintain;
alter table settle.platform_insights_execution_logs set (autovacuum_vacuum_scale_factor = 0.02);
alter table settle.task_execution_logs set (autovacuum_vacuum_scale_factor = 0.02);
grant select on settle.platform_insights_execution_logs, settle.task_execution_logs, settle.monitoring_tasks,
  settle.scheduler_cumulative_stats, settle.scheduler_stats_baseline, settle.scheduler_events,
  settle.scheduler_jobs
  to settle_tenant, settle_operator, settle_readonly;
grant select on settle.scheduler_event_logs to settle_tenant;
grant select (job, cron, next_due, last_due, pace) on settle.job_schedule to settle_tenant;
grant select (name, lease_until) on settle.job_fences to settle_tenant;
grant execute on function settle.job_lease (timestamptz) to settle_tenant, settle_readonly;

-- What the API does in one statement is no run of a job: run_totals counts those.
drop trigger job_runs_skipped on settle.job_runs;
create trigger job_runs_skipped after insert on settle.job_runs
for each row when (new.status <> 'running' and new.user_id_str is null and new.holder <> 'api')
execute function settle.run_totals_follow();

insert into settle.schema_version (change) values ('scheduler_state');

commit;
