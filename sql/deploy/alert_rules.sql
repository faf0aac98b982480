-- Deploy settle:alert_rules to pg
-- What the rules of `settle-reconciler alerts` go by: what was seen, and since when, kept by `settle-reconciler stats`; and how
-- they find what they look for.
begin;

-- How far the scheduler's totals are off what its events say.
create table settle.scheduler_drift (
  id integer primary key default 1 check (id = 1),
  check_cycles bigint not null,
  tasks_found bigint not null,
  tasks_executed bigint not null,
  tasks_failed bigint not null,
  tasks_skipped bigint not null,
  job_completed bigint not null,
  job_failed bigint not null,
  total_check_cycles bigint not null,
  drifted_since timestamptz,
  measured_at timestamptz not null
);
comment on table settle.scheduler_drift is 'each total less what the events say of it, as it was measured last; positive: the total says more';
comment on column settle.scheduler_drift.total_check_cycles is 'what the total said then';
comment on column settle.scheduler_drift.drifted_since is
  'the measurement at which it was first off by more than one cycle, and was so at each one since; null: it is not';

-- Tenants with fewer active tasks than connected platforms.
create table settle.insights_gaps (
  user_id_str text collate "C" primary key check (octet_length(user_id_str) between 1 and 255),
  connected smallint not null,
  active smallint not null check (active < connected),
  since timestamptz not null,
  seen_at timestamptz not null
);
comment on column settle.insights_gaps.active is 'active tasks of platforms that are connected';
comment on column settle.insights_gaps.since is 'when it was seen first, and each time since';

alter table settle.insights_gaps enable row level security, force row level security;
do $$
begin
  execute format('create policy programs on settle.insights_gaps to settle_reconciler, settle_operator, settle_readonly, %I '
                 'using (true)', current_user);
end
$$;

-- A UUIDv7, as in publish_logs.
alter table settle.alerts alter column id set default
  encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid;
-- A tenant's page is its own rows, not a walk through everybody's.
create index alerts_user on settle.alerts (user_id_str, created_at, id) where user_id_str is not null;

-- How old ones are forgotten.
create index alerts_ended on settle.alerts (resolved_at, id) where status = 'RESOLVED';

-- A tenant's newest repair of its tasks, and who has had one that failed.
create index job_runs_reconciles on settle.job_runs (user_id_str, started_at) where job_name = 'insights_reconcile';
create index job_runs_reconciles_failed on settle.job_runs (user_id_str)
where job_name = 'insights_reconcile' and status = 'failed';
-- Tenants one behind the other, with what they have connected.
create index platform_connections_users on settle.platform_connections (user_id_str, platform) where connected;

insert into settle.job_fences (name) values ('alerts'), ('stats');

grant select, insert, update on settle.scheduler_drift to settle_reconciler;
grant select, insert, update, delete on settle.insights_gaps to settle_reconciler;
-- Numbers alone: what events say of tenants it does not read back.
grant select (event_type, tasks_found, tasks_executed, tasks_failed, tasks_skipped) on settle.scheduler_event_logs to settle_reconciler;
grant select on settle.scheduler_stats_baseline to settle_reconciler;
grant select on settle.scheduler_drift, settle.insights_gaps to settle_operator, settle_readonly;

insert into settle.schema_version (change) values ('alert_rules');

commit;
