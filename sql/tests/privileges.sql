-- Who may do what: every role x relation x verb compared with the list below. A new relation without its line, and
-- any grant more or less than the list names, fails.
begin;
create extension if not exists pgtap;
select plan(16);

-- '-': nothing. 'verb': the whole relation. 'verb(columns)': these columns only, in the table's order.
create temporary table expected (relation text, role text, may text);
insert into expected (relation, role, may)
select relation, role, may
from (values
  --                      gateway                            reconciler                operator                    maintain         readonly  requarantine     subscribe
  ('api_keys',            '-',                               '-',                      '-',                        '-',
   'select(id, name, user_id_str, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, replaces)',             '-',             '-'),
  ('alerts',              '-',                               'select insert update',   'select update(status, resolved_at, resolved_by, resolution_notes)',
                                                                                                                   'select delete', 'select', '-',             '-'),
  ('aggregate_days',      '-',                               'select insert update',   'select',                   'select',        'select', '-',             '-'),
  ('cost_records',        '-',                               'select',                 'select insert',            'select delete', 'select', '-',             '-'),
  ('daily_aggregates',    '-',                               'select insert update delete',
                                                                                       'select',                   '-',             'select', '-',             '-'),
  ('daily_totals',        '-',                               'select',                 'select',                   '-',             'select', '-',             '-'),
  ('day_states',          '-',                               '-',                      'select',                   '-',             'select', '-',             '-'),
  ('dirty_days',          '-',                               'select insert delete',   'select insert',            'insert',        'select', '-',             '-'),
  ('forgotten_costs',     '-',                               'select',                 '-',                        'select insert update',
                                                                                                                                    'select', '-',             '-'),
  ('forgotten_webhooks',  '-',                               'select',                 '-',                        'select insert update',
                                                                                                                                    'select', '-',             '-'),
  ('breakers',            '-',                               'select insert update',   'select',                   '-',             'select', '-',             '-'),
  ('hint_key',            'select',                          '-',                      '-',                        '-',             '-',      '-',             '-'),
  ('job_fences',          '-',                               'select insert(name) update',
                                                                                       'select',                   'select update', 'select', '-',             '-'),
  ('insights_gaps',       '-',                               'select insert update delete',
                                                                                       'select',                   '-',             'select', '-',             '-'),
  ('insights_platforms',  '-',                               'select',                 'select',                   '-',             'select', '-',             '-'),
  ('platform_insights_tasks','-',                            'select update',
   'select insert update(status, failure_reason, consecutive_failures, failure_pattern, next_check, cool_off_until, updated_at, failures_since)',
                                                                                                                   '-',             'select', '-',             '-'),
  ('task_leases',         '-',                               'select insert update delete',
                                                                                       'select',                   '-',             'select', '-',             '-'),
  ('job_runs',            '-',                               'select insert update',   'select insert',            'select insert update delete',
                                                                                                                                    'select', '-',             '-'),
  ('job_schedule',        '-',                               'select insert update',   'select',                   '-',             'select', '-',             '-'),
  ('platform_pauses',     '-',                               'select insert delete',   'select',                   '-',             'select', '-',             '-'),
  ('platform_resumes',    '-',                               'select insert update',   '-',                        '-',             'select', '-',             '-'),
  ('poll_budgets',        '-',                               'select insert update',   '-',                        'select delete', '-',      '-',             '-'),
  ('publication_reports', '-',                               'select insert',          'select insert',            'select delete', 'select', '-',             '-'),
  ('publish_leases',      '-',                               'select',                 'select insert update delete',
                                                                                                                   'select delete', 'select', '-',             '-'),
  ('publish_polls',       '-',                               'select insert update',   'select',                   'select delete', 'select', '-',             '-'),
  ('platform_connections','-',                               'select insert update delete',
   'select(user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at) insert update(token, key_id, expires_at, connected, updated_at)',
                                                                                                                   '-',
   'select(user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at)',                             '-',             '-'),
  ('publication_evidence','-',                               'select',                 'select',                   '-',             'select', '-',             '-'),
  ('publish_logs',        '-',
   'select update(status, external_url, error_message, published_at, settled_at, retry_count, next_retry_at, extra_metadata, updated_at)',
   'select insert update(status, external_post_id, external_url, error_message, published_at, settled_at, retry_count, last_retry_at, next_retry_at, extra_metadata, updated_at)',
                                                                                                                   'select',        'select', '-',             '-'),
  ('publish_open',        '-',                               'select insert update delete',
                                                                                       'select insert update delete',
                                                                                                                   'select',        'select', '-',             '-'),
  ('publish_scheduled',   '-',                               'select insert delete',   'select insert delete',     '-',             'select', '-',             '-'),
  ('publish_logs_live',   '-',                               'select',                 'select',                   '-',             'select', '-',             '-'),
  ('refused_requests',    'insert',                          '-',                      'select',                   'select delete', 'select', 'select delete', '-'),
  ('run_totals',          '-',                               'select insert update',   'select',                   'select insert update',
                                                                                                                                    'select', '-',             '-'),
  ('schema_version',      'select',                          'select',                 '-',                        'select',        'select', 'select',        'select'),
  ('monitoring_tasks',    '-',                               '-',                      'select',                   '-',             'select', '-',             '-'),
  ('platform_insights_execution_logs','-',                   'select insert update',   'select',                   'select delete',      'select', '-',             '-'),
  ('scheduler_cumulative_stats','-',                         'select update',          'select update',            '-',             'select', '-',             '-'),
  ('scheduler_drift',     '-',                               'select insert update',   'select',                   '-',             'select', '-',             '-'),
  ('scheduler_event_logs','-',
   'select(event_type, tasks_found, tasks_executed, tasks_failed, tasks_skipped) insert',
                                                                                       'select delete',            'select delete', 'select', '-',             '-'),
  ('scheduler_events',    '-',                               '-',                      'select',                   '-',             'select', '-',             '-'),
  ('scheduler_jobs',      '-',                               '-',                      'select',                   '-',             'select', '-',             '-'),
  ('scheduler_leadership','-',                               '-',                      'select',                   '-',             'select', '-',             '-'),
  ('scheduler_stats_baseline','-',                           'select',                 'select update',            'select update', 'select', '-',             '-'),
  ('task_execution_logs', '-',                               '-',                      'select',                   'select update(user_id_str) delete',
                                                                                                                                    'select', '-',             '-'),
  ('social_sync_ledger',  '-',                               'select insert',          'select insert',            'select delete', 'select', '-',             '-'),
  ('webhook_deliveries',  'insert',                          '-',                      'select',                   'select delete', 'select', 'insert',        '-'),
  ('webhook_receipts',    'select(dedup_key, source, delivery_id) insert',
                                                             'select',                 'select',                   'select delete', 'select',
   'select(dedup_key, source, delivery_id) insert',                                                                                                            '-'),
  ('websub_subscriptions','-',                               '-',                      'select',                   '-',             'select', '-',
   'select insert update delete')
) as matrix (relation, gateway, reconciler, operator, maintain, readonly, requarantine, subscribe)
cross join lateral (values
  ('settle_gateway', gateway), ('settle_reconciler', reconciler), ('settle_operator', operator), ('settle_maintain', maintain),
  ('settle_readonly', readonly), ('settle_requarantine', requarantine), ('settle_subscribe', subscribe),
  ('public', '-')) as cell (role, may);
-- Who may little, and keys: what is not named is '-'. A tenant's part is held to its own rows (tests/tenants.sql).
insert into expected (relation, role, may)
select relation, role, coalesce(few.may, '-')
from (select relname::text collate "default" as relation from pg_class
      where relnamespace = 'settle'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')) as relations
cross join (values ('settle_api'), ('settle_tenant'), ('settle_keys')) as roles (role)
left join (values
  ('schema_version',      'settle_api',    'select'),
  ('schema_version',      'settle_keys',   'select'),
  ('api_keys',            'settle_api',    'select(id, name, hash, user_id_str, scopes, expires_at, revoked_at)'),
  ('api_keys',            'settle_keys',   'select insert update(expires_at, revoked_at, revoked_by)'),
  ('social_sync_ledger',  'settle_keys',   'insert'),
  ('alerts',              'settle_tenant', 'select'),
  ('platform_connections','settle_tenant',
   'select(user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at) insert update(token, key_id, expires_at, connected, updated_at)'),
  ('aggregate_days',      'settle_tenant', 'select(date, aggregated_at, is_partial, verification_status, attempts, missing_rows)'),
  ('cost_records',        'settle_tenant', 'select insert'),
  ('daily_aggregates',    'settle_tenant', 'select'),
  ('day_states',          'settle_tenant', 'select'),
  ('dirty_days',          'settle_tenant', 'select(date) insert'),
  ('insights_platforms',  'settle_tenant', 'select'),
  ('job_fences',          'settle_tenant', 'select(name, lease_until)'),
  ('job_runs',            'settle_tenant', 'select insert'),
  ('job_schedule',        'settle_tenant', 'select(job, cron, next_due, last_due, pace)'),
  ('monitoring_tasks',    'settle_tenant', 'select'),
  ('platform_insights_execution_logs', 'settle_tenant', 'select'),
  ('platform_insights_tasks', 'settle_tenant',
   'select insert update(status, failure_reason, consecutive_failures, failure_pattern, next_check, cool_off_until, updated_at, failures_since)'),
  ('platform_pauses',     'settle_tenant', 'select'),
  ('publication_evidence','settle_tenant', 'select'),
  ('publication_reports', 'settle_tenant', 'select insert'),
  ('publish_leases',      'settle_tenant', 'select insert update delete'),
  ('publish_logs',        'settle_tenant',
   'select insert update(status, external_post_id, external_url, error_message, published_at, settled_at, retry_count, last_retry_at, next_retry_at, extra_metadata, updated_at)'),
  ('publish_logs_live',   'settle_tenant', 'select'),
  ('publish_open',        'settle_tenant', 'select insert update delete'),
  ('publish_polls',       'settle_tenant', 'select'),
  ('publish_scheduled',   'settle_tenant', 'select insert delete'),
  ('scheduler_cumulative_stats', 'settle_tenant', 'select'),
  ('scheduler_event_logs', 'settle_tenant',
   'select(id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes, new_interval_minutes, tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type, user_id, check_duration_seconds, active_strategies_count, active_executions, created_at, own_data, own_error)'),
  ('scheduler_events',    'settle_tenant', 'select'),
  ('scheduler_jobs',      'settle_tenant', 'select'),
  ('scheduler_leadership', 'settle_tenant', 'select'),
  ('scheduler_stats_baseline', 'settle_tenant', 'select'),
  ('social_sync_ledger',  'settle_tenant', 'select insert'),
  ('task_execution_logs', 'settle_tenant', 'select'),
  ('task_leases',         'settle_tenant', 'select(task_key, taken_at, expires_at)'),
  ('webhook_deliveries',  'settle_tenant', 'select'),
  ('webhook_receipts',    'settle_tenant', 'select')
) as few (relation, role, may) using (relation, role);

create temporary view relations as
select c.oid, c.relname::text collate "default" as relation, c.relkind, c.relowner, c.relacl
from pg_class c
where c.relnamespace = 'settle'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f');

create temporary view roles (role) as
values ('settle_gateway'), ('settle_reconciler'), ('settle_api'), ('settle_maintain'), ('settle_readonly'),
       ('settle_requarantine'), ('settle_subscribe'), ('settle_operator'), ('settle_tenant'), ('settle_keys'), ('public');

create temporary view actual as
select relation, role,
       coalesce(string_agg(
         verb || case when whole then '' else '(' || columns || ')' end, ' ' order by place)
         filter (where whole or columns is not null), '-') as may
from relations
cross join roles
cross join lateral unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'])
  with ordinality as verbs (verb, place)
cross join lateral (select has_table_privilege(role, oid, verb)) as t (whole)
cross join lateral (
  select string_agg(attname::text collate "default", ', ' order by attnum)
  from pg_attribute
  where attrelid = oid and attnum > 0 and not attisdropped
    and verb in ('select', 'insert', 'update', 'references')
    and has_column_privilege(role, oid, attnum, verb)) as c (columns)
group by relation, role;

select results_eq(
  'select relation, role, may from actual order by relation, role',
  'select relation, role, may from expected order by relation, role',
  'each role may do to each relation what the matrix says, no more and no less');

select is_empty(
  $$select role, privilege
    from roles, unnest(array['usage', 'create']) as privilege
    where has_schema_privilege(role, 'settle', privilege) <> (privilege = 'usage' and role <> 'public')$$,
  'our roles may use the schema, nobody may create in it, PUBLIC may do neither');

select is_empty(
  $$select role, p.proname
    from roles, pg_proc p
    where p.pronamespace = 'settle'::regnamespace
      and has_function_privilege(role, p.oid, 'execute')
      <> (p.proname in ('extras_object', 'webhook_noted')
          and role in ('settle_reconciler', 'settle_operator', 'settle_tenant', 'settle_readonly')
          or p.proname in ('attempts_moved', 'retry_wait') and role in ('settle_reconciler', 'settle_operator', 'settle_tenant')
          or p.proname in ('event_data', 'event_error') and role in ('settle_operator', 'settle_tenant', 'settle_readonly')
          or p.proname = 'time_noted' and role in ('settle_reconciler', 'settle_operator', 'settle_tenant')
          or p.proname = 'is_site' and role in ('settle_reconciler', 'settle_operator', 'settle_tenant')
          or p.proname in ('month_projection', 'csv_text', 'none_unseen') and role in ('settle_operator', 'settle_tenant')
          or p.proname in ('worker_lease', 'next_try') and role in ('settle_reconciler', 'settle_operator', 'settle_tenant')
          or p.proname = 'job_lease'
             and role in ('settle_reconciler', 'settle_operator', 'settle_maintain', 'settle_tenant', 'settle_readonly')
          or p.proname in ('tenant', 'tenant_number') and role = 'settle_tenant')$$,
  'functions are executable by those who read the views that call them or call them, and not by PUBLIC');

select is_empty(
  $$select role, c.relname
    from roles, pg_class c
    where c.relnamespace = 'settle'::regnamespace and c.relkind = 'S'
      and has_sequence_privilege(role, c.oid, 'usage, select, update')$$,
  'nobody touches a sequence');

select is_empty(
  $$select relation from relations, aclexplode(relacl) where is_grantable and grantee <> relowner$$,
  'nobody may pass a right on');

select is_empty(
  $$select c.relname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'settle' and c.relowner <> n.nspowner
    union all
    select p.proname
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'settle' and (p.proowner <> n.nspowner or p.prosecdef)$$,
  'all is owned by whoever deployed it, and no function runs with its owner''s rights');

select is_empty(
  $$select rolname
    from pg_roles
    join roles on role = rolname
    where rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication
      or exists (select from pg_auth_members where member = pg_roles.oid and rolname <> 'settle_api')
      or rolname in ('settle_api', 'settle_tenant', 'settle_operator') and rolcanlogin <> (rolname = 'settle_api')
      or rolname = 'settle_api' and rolinherit$$,
  'no role of ours has special powers or is a member of another, but the API''s, which has no part in what it may become');
select set_eq(
  $$select roleid::regrole::text from pg_auth_members where member = 'settle_api'::regrole$$,
  array['settle_tenant', 'settle_operator'],
  'it may become a tenant or an operator');

select is_empty(
  $$select relation
    from relations
    join pg_class c using (oid)
    where c.relkind = 'v' and not coalesce('security_invoker=true' = any (c.reloptions), false)$$,
  'views look with the rights of whoever asks');

-- What the statements of the programs rest on.
set local role settle_gateway;
select lives_ok(
  $$select system_identifier, pg_postmaster_start_time(), key from pg_control_system(), settle.hint_key$$,
  'the gateway can make the key of its Redis hints');
select throws_ok('select body from settle.webhook_receipts', '42501', null, 'the gateway cannot read what came in');
set local role settle_reconciler;
select lives_ok(
  $$select from settle.job_fences where name = 'publications' and epoch = 0 for share$$,
  'the reconciler can lock its fence');
select throws_ok(
  $$insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'u')$$, '42501', null,
  'the reconciler cannot invent a publication');
set local role settle_operator;
select throws_ok('select token from settle.platform_connections', '42501', null, 'the API cannot read a token back');
set local role settle_readonly;
select throws_ok('select token from settle.platform_connections', '42501', null, 'nor can a reader');
select lives_ok('select * from settle.publish_logs_live', 'a reader can read the view');
reset role;

select * from finish();
rollback;
