-- Deploy settle:schedule to pg
-- When settle-reconciler serve starts each job, and what became of it. Written under the fence of job serve alone.
begin;

create table settle.job_schedule (
  job text collate "C" primary key check (octet_length(job) between 1 and 50),
  cron text not null check (octet_length(cron) <= 255),
  next_due timestamptz,
  last_due timestamptz,
  running uuid,
  running_since timestamptz,
  last_run uuid,
  last_status text collate "C" check (last_status in ('success', 'failed', 'skipped')),
  last_ended timestamptz,
  pace text collate "C" not null default 'schedule' check (pace in ('schedule', 'busy', 'idle')),
  skipped bigint not null default 0 check (skipped >= 0),
  updated_at timestamptz not null default now(),
  check ((running is null) = (running_since is null))
);
comment on column settle.job_schedule.cron is 'in UTC; empty: never';
comment on column settle.job_schedule.last_due is 'the due time that was taken last: next_due moves with it, so each is taken once';
comment on column settle.job_schedule.running is
  'id of the run that has taken last_due and has not ended; without a row in job_runs it has not begun';
comment on column settle.job_schedule.pace is 'busy: sooner than scheduled, because much waits; idle: later, because nothing does';
comment on column settle.job_schedule.skipped is 'due times that passed while the run of an earlier one was at work';

create table settle.scheduler_event_logs (
  id bigint generated always as identity primary key,
  event_type text collate "C" not null check (event_type in ('check_cycle', 'interval_adjustment', 'start', 'stop',
    'job_scheduled', 'job_cancelled', 'job_completed', 'job_failed')),
  event_date timestamptz not null default now(),
  check_cycle_number integer,
  check_interval_minutes numeric(10, 2),
  previous_interval_minutes numeric(10, 2),
  new_interval_minutes numeric(10, 2),
  tasks_found integer,
  tasks_executed integer,
  tasks_failed integer,
  tasks_skipped integer,
  tasks_by_type jsonb,
  job_id text check (octet_length(job_id) <= 200),
  job_type text collate "C" check (job_type in ('recurring', 'one_time')),
  user_id text check (octet_length(user_id) <= 200),
  check_duration_seconds numeric(12, 3),
  active_strategies_count integer,
  active_executions integer,
  event_data jsonb not null default '{}',
  error_message text,
  created_at timestamptz not null default now()
);
comment on table settle.scheduler_event_logs is 'what the scheduler did; append-only';
create index scheduler_event_logs_date on settle.scheduler_event_logs (event_date);
create index scheduler_event_logs_user on settle.scheduler_event_logs (user_id) where user_id is not null;

insert into settle.job_fences (name) values ('serve'), ('maintain');

grant select, insert, update on settle.job_schedule to settle_reconciler;
grant insert on settle.scheduler_event_logs to settle_reconciler;
grant select on settle.job_schedule, settle.scheduler_event_logs to settle_api, settle_readonly;
grant select, delete on settle.scheduler_event_logs to settle_maintain;
-- The job maintain has its lock and its row as every job has.
grant select, update on settle.job_fences to settle_maintain;
grant insert, update on settle.job_runs to settle_maintain;

insert into settle.schema_version (change) values ('schedule');

commit;
