-- Deploy settle:insights to pg
-- Which of a tenant's connected platforms are looked at for insights, and what came of it. Names are those of the tools that
-- exist already: user_id is what is user_id_str elsewhere.
begin;

create table settle.insights_platforms (
  platform text collate "C" primary key check (octet_length(platform) between 1 and 50)
);
comment on table settle.insights_platforms is 'a connected one of these wants a task';
insert into settle.insights_platforms (platform) values ('bing'), ('gsc');

create table settle.platform_insights_tasks (
  id bigint generated always as identity primary key,
  user_id text collate "C" not null check (octet_length(user_id) between 1 and 255),
  platform text collate "C" not null references settle.insights_platforms,
  site_url text check (octet_length(site_url) <= 500),
  status text collate "C" not null default 'active' check (status in ('active', 'failed', 'paused', 'needs_intervention')),
  last_check timestamptz,
  last_success timestamptz,
  last_failure timestamptz,
  failure_reason text check (octet_length(failure_reason) <= 4000),
  consecutive_failures integer not null default 0 check (consecutive_failures >= 0),
  failure_pattern jsonb,
  next_check timestamptz,
  cool_off_until timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on column settle.platform_insights_tasks.next_check is 'null: due now';
create unique index idx_platform_insights_user_platform on settle.platform_insights_tasks (user_id, platform);
create index platform_insights_tasks_due on settle.platform_insights_tasks (next_check nulls first) where status in ('active', 'failed');

-- Whose a run was: null for the jobs, which are nobody's.
alter table settle.job_runs add column user_id_str text collate "C" check (octet_length(user_id_str) between 1 and 255);
create index job_runs_user on settle.job_runs (user_id_str, id) where user_id_str is not null;

-- What a tenant asks for is no job's, and no counter's.
drop trigger job_runs_skipped on settle.job_runs;
create trigger job_runs_skipped after insert on settle.job_runs
for each row when (new.status <> 'running' and new.user_id_str is null)
execute function settle.run_totals_follow();

do $$
declare
  kept record;
begin
  for kept in
    select name::text as name, own
    from (values
      ('platform_insights_tasks', 'user_id = settle.tenant()'),
      ('job_runs', 'user_id_str = settle.tenant()')
    ) as tables (name, own)
  loop
    execute format('alter table settle.%I enable row level security, force row level security', kept.name);
    execute format('create policy tenant on settle.%I to settle_tenant using (%s)', kept.name, kept.own);
    execute format('create policy programs on settle.%I to settle_reconciler, settle_operator, settle_maintain, settle_readonly, '
                   '%I using (true)', kept.name, current_user);
  end loop;
end
$$;

-- What was done for a tenant as a whole is its own to read.
drop policy tenant_reads on settle.social_sync_ledger;
create policy tenant_reads on settle.social_sync_ledger for select to settle_tenant
using (case entity_type
         when 'publish_log'
         then exists (select
                      from settle.publish_logs as p
                      where p.id = social_sync_ledger.entity_id::uuid
                        and p.source = social_sync_ledger.source)
         when 'user' then entity_id = settle.tenant()
         else false
       end);

grant select on settle.insights_platforms to settle_reconciler, settle_tenant, settle_operator, settle_readonly;
grant select, insert on settle.platform_insights_tasks to settle_tenant, settle_operator;
grant select, update on settle.platform_insights_tasks to settle_reconciler;
grant select on settle.platform_insights_tasks to settle_readonly;
grant insert on settle.job_runs to settle_tenant, settle_operator;
grant select on settle.job_runs to settle_tenant;

insert into settle.schema_version (change) values ('insights');

commit;
