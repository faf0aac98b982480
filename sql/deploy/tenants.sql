-- Deploy settle:tenants to pg
-- Tenants cannot see each other. Whoever uses the API does so with a key (api_keys): the API's login may look one up by its
-- id and nothing else. When the key is proved, the transaction goes on as settle_tenant, which row level security holds to
-- one tenant's rows, or, for a key of scope admin, as settle_operator.
begin;

do $$
declare
  role text;
  powers text;
begin
  for role, powers in values ('settle_tenant', 'nologin'), ('settle_operator', 'nologin'), ('settle_keys', 'login')
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = role) then
      begin
        execute format('create role %I %s', role, powers);
      exception
        when duplicate_object or unique_violation then -- roles belong to the whole cluster: another database of it makes them too
          null;
      end;
    end if;
  end loop;
end
$$;
alter role settle_api noinherit; -- it may become them, and is none of them
grant settle_tenant, settle_operator to settle_api;
grant usage on schema settle to settle_tenant, settle_operator, settle_keys;

create table settle.api_keys (
  id text collate "C" primary key check (id ~ '^[0-9a-f]{16}$'),
  name text not null check (octet_length(name) between 1 and 100),
  hash bytea not null check (octet_length(hash) = 32),
  user_id_str text collate "C" check (octet_length(user_id_str) between 1 and 255),
  scopes text[] not null check (cardinality(scopes) > 0 and scopes <@ array['read', 'write', 'reconcile', 'admin']),
  created_at timestamptz not null default now(),
  created_by text not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  replaces text collate "C" references settle.api_keys,
  check ((user_id_str is null) = (scopes @> array['admin'])),
  check ((revoked_at is null) = (revoked_by is null))
);
comment on table settle.api_keys is 'never deleted: the ledger names them';
comment on column settle.api_keys.hash is 'BLAKE2b-256 of the key (shared/domain/apikey.h)';
comment on column settle.api_keys.user_id_str is 'the tenant; null: an operator''s key, scope admin';
comment on column settle.api_keys.replaces is 'the key it was made for by rotation';
create index api_keys_user on settle.api_keys (user_id_str);

-- Who asks, for the policies: null, and so nobody, outside of a tenant's transaction.
create function settle.tenant() returns text
language sql stable
as $$
  select nullif(current_setting('settle.tenant', true), '')
$$;
revoke execute on function settle.tenant () from public;
grant execute on function settle.tenant () to settle_tenant;

-- Each table that holds a tenant's rows: which of them are theirs. Forced, so that it holds for the tables' owner too; the
-- other policy names all who work for every tenant, the owner among them. Grants say what each may do.
do $$
declare
  kept record;
begin
  for kept in
    select name::text as name, own
    from (values
      ('publish_logs', 'user_id_str = settle.tenant()'),
      ('platform_connections', 'user_id_str = settle.tenant()'),
      ('poll_budgets', 'user_id_str = settle.tenant()'),
      ('alerts', 'user_id_str = settle.tenant()'),
      ('scheduler_event_logs', 'user_id = settle.tenant()'),
      ('publish_open', 'exists (select from settle.publish_logs as p where p.id = publish_open.id and p.source = publish_open.source)'),
      ('publish_scheduled', 'exists (select from settle.publish_logs as p where p.id = publish_scheduled.id and p.source = publish_scheduled.source)'),
      ('publish_leases', 'exists (select from settle.publish_logs as p where p.id = publish_leases.id and p.source = publish_leases.source)'),
      ('publish_polls', 'exists (select from settle.publish_logs as p where p.id = publish_polls.id and p.source = publish_polls.source)'),
      ('publication_reports',
       'exists (select from settle.publish_logs as p where p.id = publication_reports.log_id and p.source = publication_reports.source)'),
      ('webhook_receipts',
       'exists (select from settle.publish_logs as p where p.external_post_id = webhook_receipts.external_post_id '
       'and p.platform = webhook_receipts.platform and p.source = webhook_receipts.source)'),
      ('webhook_deliveries', 'false') -- may hold events of several tenants: its bytes are shown to operators alone
    ) as tables (name, own)
  loop
    execute format('alter table settle.%I enable row level security, force row level security', kept.name);
    execute format('create policy tenant on settle.%I to settle_tenant using (%s)', kept.name, kept.own);
    execute format('create policy programs on settle.%I to settle_gateway, settle_reconciler, settle_operator, '
                   'settle_maintain, settle_readonly, settle_requarantine, %I using (true)', kept.name, current_user);
  end loop;
end
$$;

-- A worker's result may name its post for the first time: what came for it is weighed before the publication bears its name.
-- The statement that does so fails if the post is another tenant's, and shows none of it.
create policy named on settle.webhook_receipts for select to settle_tenant
using (external_post_id = current_setting('settle.post', true));

-- An event is written in the statement that registers its publication, which cannot see it yet.
alter table settle.social_sync_ledger enable row level security, force row level security;
create policy tenant_reads on settle.social_sync_ledger for select to settle_tenant
using (case
         when entity_type = 'publish_log'
         then exists (select
                      from settle.publish_logs as p
                      where p.id = social_sync_ledger.entity_id::uuid
                        and p.source = social_sync_ledger.source)
         else false
       end);
create policy tenant_adds on settle.social_sync_ledger for insert to settle_tenant with check (settle.tenant() is not null);

-- A key is found by whoever names it.
alter table settle.api_keys enable row level security, force row level security;
create policy named on settle.api_keys for select to settle_api using (id = current_setting('settle.key', true));

do $$
begin
  execute format('create policy programs on settle.social_sync_ledger to settle_reconciler, settle_operator, settle_maintain, '
                 'settle_readonly, settle_keys, %I using (true)', current_user);
  execute format('create policy programs on settle.api_keys to settle_keys, settle_readonly, %I using (true)',
                 current_user);
end
$$;

-- What the API may do for each of the two is what its login could do before; a tenant has no part in what is no tenant's.
revoke all on all tables in schema settle from settle_api;
grant select on settle.schema_version to settle_api, settle_keys;
grant select (id, name, hash, user_id_str, scopes, expires_at, revoked_at) on settle.api_keys to settle_api;

grant select, insert,
  update (status, external_post_id, external_url, error_message, published_at, settled_at, retry_count, last_retry_at,
          next_retry_at, extra_metadata, updated_at)
  on settle.publish_logs to settle_tenant, settle_operator;
grant select, insert, update, delete on settle.publish_open, settle.publish_leases to settle_tenant, settle_operator;
grant select, insert, delete on settle.publish_scheduled to settle_tenant, settle_operator;
grant select, insert on settle.publication_reports, settle.social_sync_ledger to settle_tenant, settle_operator;
grant insert, update (token, key_id, expires_at, connected, updated_at),
  select (user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at)
  on settle.platform_connections to settle_tenant, settle_operator;
grant select on settle.webhook_receipts, settle.webhook_deliveries, settle.publish_polls, settle.platform_pauses, settle.publication_evidence,
  settle.publish_logs_live, settle.alerts
  to settle_tenant, settle_operator;
grant execute on function settle.extras_object (text), settle.webhook_noted (jsonb, text), settle.time_noted (text),
  settle.attempts_moved (jsonb), settle.retry_wait (integer)
  to settle_tenant, settle_operator;
revoke execute on function settle.extras_object (text), settle.webhook_noted (jsonb, text), settle.time_noted (text),
  settle.attempts_moved (jsonb), settle.retry_wait (integer)
  from settle_api;

grant update (status, resolved_at, resolved_by, resolution_notes) on settle.alerts to settle_operator;
grant select on settle.refused_requests, settle.websub_subscriptions, settle.job_runs,
  settle.job_fences, settle.job_schedule, settle.scheduler_event_logs, settle.breakers, settle.run_totals
  to settle_operator;

grant select, insert, update (expires_at, revoked_at, revoked_by) on settle.api_keys to settle_keys;
grant insert on settle.social_sync_ledger to settle_keys;
grant select (id, name, user_id_str, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, replaces)
  on settle.api_keys to settle_readonly;

insert into settle.schema_version (change) values ('tenants');

commit;
