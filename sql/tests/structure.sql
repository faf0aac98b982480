-- What the programs' statements rest on: relations, keys, defaults, and the rules that constraints carry.
begin;
create extension if not exists pgtap;
select plan(81);

select set_eq(
  $$select relname::text from pg_class where relnamespace = 'settle'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')$$,
  array['aggregate_days', 'alerts', 'api_keys', 'cost_records', 'daily_aggregates', 'daily_totals', 'day_states', 'dirty_days', 'forgotten_costs', 'forgotten_webhooks',
         'breakers', 'hint_key', 'insights_platforms', 'job_fences', 'job_runs', 'platform_connections', 'platform_insights_tasks', 'platform_pauses', 'platform_resumes',
        'poll_budgets', 'publication_evidence', 'publication_reports', 'publish_leases', 'publish_logs',
        'publish_logs_live', 'publish_open', 'publish_polls', 'publish_scheduled', 'refused_requests', 'schema_version',
        'job_schedule', 'scheduler_event_logs', 'social_sync_ledger', 'webhook_deliveries', 'webhook_receipts',
        'run_totals', 'websub_subscriptions', 'monitoring_tasks', 'platform_insights_execution_logs', 'scheduler_cumulative_stats',
        'scheduler_events', 'scheduler_jobs', 'scheduler_leadership', 'scheduler_stats_baseline', 'task_execution_logs', 'task_leases',
        'insights_gaps', 'scheduler_drift'],
  'the schema holds these relations and no others');
select set_eq(
  'select change from settle.schema_version',
  array['foundation', 'publish_logs', 'receipts', 'ledger', 'jobs', 'alerts', 'live_views', 'deliveries', 'requarantine',
        'websub', 'breakers', 'connections', 'reports', 'schedule', 'retries', 'scheduled', 'asking', 'retention',
        'run_totals', 'tenants', 'insights', 'patience', 'closings', 'lease_ends', 'scheduler_state', 'execution', 'aggregates',
        'alert_rules', 'handing_out', 'analytics', 'matches', 'event_details',
        'identities', 'leadership'],
  'schema_version names every change');
select is_empty(
  $$select role
    from unnest(array['settle_gateway', 'settle_reconciler', 'settle_api', 'settle_maintain', 'settle_readonly',
                      'settle_requarantine', 'settle_subscribe', 'settle_keys']) as role
    left join pg_roles on rolname = role
    where rolcanlogin is not true$$,
  'each program has a role that may log in');

-- Keys: source is part of each of them, so that the tables can be distributed by it.
select col_is_pk('settle', 'publish_logs', array['id', 'source'], 'key of publish_logs');
select col_is_pk('settle', 'webhook_receipts', array['dedup_key', 'source'], 'key of webhook_receipts');
select col_is_pk('settle', 'webhook_deliveries', array['id', 'source'], 'key of webhook_deliveries');
select col_is_pk('settle', 'refused_requests', array['id', 'source'], 'key of refused_requests');
select col_is_pk('settle', 'social_sync_ledger', array['id', 'source'], 'key of social_sync_ledger');
select col_is_pk('settle', 'publication_reports', array['id', 'source'], 'key of publication_reports');
select col_is_pk('settle', 'publish_leases', array['id', 'source'], 'key of publish_leases');
select col_is_pk('settle', 'publish_polls', array['id', 'source'], 'key of publish_polls');
select col_is_pk('settle', 'publish_scheduled', array['id', 'source'], 'key of publish_scheduled');
select col_is_pk('settle', 'platform_pauses', 'platform', 'key of platform_pauses');
select col_is_pk('settle', 'platform_resumes', 'platform', 'key of platform_resumes');
select col_is_pk('settle', 'websub_subscriptions', array['platform', 'source', 'topic'], 'key of websub_subscriptions');
select col_is_pk('settle', 'job_runs', 'id', 'key of job_runs');
select col_is_pk('settle', 'job_fences', 'name', 'key of job_fences');
select col_is_pk('settle', 'job_schedule', 'job', 'key of job_schedule');
select col_is_pk('settle', 'scheduler_event_logs', 'id', 'key of scheduler_event_logs');
select col_is_pk('settle', 'alerts', 'id', 'key of alerts');
select col_is_pk('settle', 'api_keys', 'id', 'key of api_keys');
select col_is_pk('settle', 'insights_platforms', 'platform', 'key of insights_platforms');
select col_is_pk('settle', 'platform_insights_tasks', 'id', 'key of platform_insights_tasks');
select index_is_unique('settle', 'platform_insights_tasks', 'idx_platform_insights_user_platform', 'one task a tenant and platform');
select col_is_pk('settle', 'breakers', 'platform', 'key of breakers');
select col_is_pk('settle', 'daily_aggregates', array['date', 'user_id_str', 'platform'], 'key of daily_aggregates');
select col_is_pk('settle', 'aggregate_days', 'date', 'key of aggregate_days');
select col_is_pk('settle', 'forgotten_webhooks', array['date', 'user_id_str', 'platform'], 'key of forgotten_webhooks');
select col_is_pk('settle', 'forgotten_costs', array['date', 'user_id_str', 'platform'], 'key of forgotten_costs');
select col_is_pk('settle', 'cost_records', 'id', 'key of cost_records');
select col_is_unique('settle', 'cost_records', array['user_id_str', 'idempotency_key'], 'a cost is recorded once');
select col_is_pk('settle', 'platform_connections', array['user_id_str', 'platform', 'account'], 'key of platform_connections');
select is_empty(
  $$select c.relname, a.attname
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where c.relnamespace = 'settle'::regnamespace and c.relkind in ('r', 'v')
      and a.atttypid in ('timestamp'::regtype, 'json'::regtype, 'float4'::regtype, 'float8'::regtype)$$,
  'times carry their zone, JSON is jsonb, nothing is a float');

-- publish_logs
prepare publish as
insert into settle.publish_logs (id, platform, user_id_str, external_post_id, source, idempotency_key)
values ($1, $2, $3, $4, coalesce($5, 'default'), $6);
select lives_ok(
  $$execute publish('00000000-0000-7000-8000-000000000001', 'tiktok', 'anna', 'post-1', null, 'key-1')$$,
  'a publication needs a platform and a tenant only');
select results_eq(
  $$select status collate "default", retry_count, max_retries, schedule_type, extra_metadata, source collate "default",
           updated_at = created_at and created_at = now()
    from settle.publish_logs$$,
  $$values ('pending', 0, 3, 'immediate', '{}'::jsonb, 'default', true)$$, 'its defaults');
select throws_ok(
  $$execute publish('00000000-0000-7000-8000-000000000002', 'tiktok', 'bert', 'post-1', null, null)$$, '23505', null,
  'a post belongs to one publication, whoever asks');
select throws_ok(
  $$execute publish('00000000-0000-7000-8000-000000000002', 'tiktok', 'anna', 'post-2', null, 'key-1')$$, '23505', null,
  'an idempotency key names one publication of a tenant');
select lives_ok(
  $$execute publish('00000000-0000-7000-8000-000000000003', 'tiktok', 'bert', 'post-1', 'other-app', 'key-1')$$,
  'the same post id of another source is another post');
select lives_ok(
  $$execute publish('00000000-0000-7000-8000-000000000004', 'instagram', 'anna', 'post-1', null, null)$$,
  'the same post id of another platform is another post');
select lives_ok(
  $$execute publish('00000000-0000-7000-8000-000000000005', 'instagram', 'anna', null, null, null);
    execute publish('00000000-0000-7000-8000-000000000006', 'instagram', 'anna', null, null, null)$$,
  'several publications may have no post and no key yet');
select throws_ok(format('insert into settle.publish_logs (platform, user_id_str, %I) values (%L, %L, %L)', c, 'tiktok', 'u', v),
                 '23514', null, format('publish_logs refuses %s %s', c, coalesce(nullif(left(v, 12), ''), 'empty')))
from (values ('status', 'published'), ('schedule_type', 'later'), ('retry_count', '-1'), ('max_retries', '-1'),
             ('extra_metadata', '[]'), ('extra_metadata', 'null'), ('external_post_id', ''),
             ('external_post_id', repeat('x', 256)), ('external_url', repeat('x', 2049)), ('source', ''),
             ('source', repeat('x', 65)), ('idempotency_key', ''), ('idempotency_key', repeat('x', 256)))
  as bad (c, v);
select throws_ok(format('insert into settle.publish_logs (platform, user_id_str) values (%s, %s)', p, u), code, null, why)
from (values ('null', '''u''', '23502', 'a publication has a platform'), ('''''', '''u''', '23514', 'one that is not empty'),
             ('''tiktok''', 'null', '23502', 'it has a tenant'), ('''tiktok''', '''''', '23514', 'one that is not empty either'))
  as bad (p, u, code, why);

insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'sorted');
select matches((select id::text from settle.publish_logs where user_id_str = 'sorted'),
               '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$', 'an id left out is a UUIDv7');
select ok((select abs(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint
                      - extract(epoch from clock_timestamp()) * 1000) < 60000
           from settle.publish_logs where user_id_str = 'sorted'), 'of this minute');

-- webhook_receipts
prepare receive as
insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, decisive, received_at)
values ($1, $2, 'tiktok', gen_random_uuid(), $3, now());
select lives_ok($$execute receive(decode(repeat('ab', 32), 'hex'), 'default', 0)$$,
                'a receipt needs no post: what cannot be parsed is kept too');
select throws_ok($$execute receive(decode(repeat('ab', 32), 'hex'), 'default', 1)$$, '23505', null,
                 'a receipt is stored once');
select lives_ok($$execute receive(decode(repeat('ab', 32), 'hex'), 'other-app', 0)$$, 'once a source');
select throws_ok($$execute receive(decode(repeat('ab', 31), 'hex'), 'default', 0)$$, '23514', null,
                 'a dedup key has 32 bytes');
select throws_ok($$execute receive(decode(repeat('cd', 32), 'hex'), 'default', 2)$$, '23514', null,
                 'decisive is 1, -1 or 0');
select lives_ok(
  $$insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, decisive, received_at, extras, headers, body)
    values (decode(repeat('ef', 32), 'hex'), 'default', 'tiktok', gen_random_uuid(), 0, now(), '{"a": "\u0000"}', '\x00',
            '\x00ff')$$,
  'bytes are kept as they are, also those jsonb refuses');

-- The Redis hints' key is random and single.
select throws_ok($$insert into settle.hint_key (key) values (decode(repeat('00', 32), 'hex'))$$, '23505', null,
                 'there is one hint key');
select throws_ok($$insert into settle.hint_key (one, key) values (false, decode(repeat('00', 32), 'hex'))$$, '23514', null,
                 'and no second');

-- social_sync_ledger
prepare note as
insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id)
values ($1, $2, 'publish_log', '1')
returning seq;
select lives_ok($$execute note('publish_reconciled', 'warn')$$, 'the ledger takes an event');
select throws_ok($$execute note('publish_reconciled', 'WARN')$$, '23514', null, 'its severities are lower case');
select throws_ok($$execute note(repeat('x', 101), 'info')$$, '23514', null, 'an event type has at most 100 bytes');
select throws_ok(
  $$insert into settle.social_sync_ledger (seq, event_type, entity_type, entity_id) values (1, 'x', 'x', 'x')$$,
  '428C9', null, 'nobody chooses a sequence number');

-- job_runs, job_fences
select lives_ok(
  $$insert into settle.job_runs (id, job_name, actor, trigger, status, holder)
    values (gen_random_uuid(), 'publications', 'cron', 'schedule', 'running', 'host:1:run')$$, 'a run begins');
select throws_ok(
  $$insert into settle.job_runs (id, job_name, actor, trigger, status, holder)
    values (gen_random_uuid(), 'publications', 'cron', 'whim', 'running', 'host:1:run')$$, '23514', null,
  'a run has a known trigger');
select throws_ok(
  $$insert into settle.job_runs (id, job_name, actor, trigger, status, holder)
    values (gen_random_uuid(), 'publications', 'cron', 'manual', 'done', 'host:1:run')$$, '23514', null,
  'a run has a known status');
select results_eq(
  'select name collate "default", epoch, holder, lease_until < now() from settle.job_fences order by name',
  $$select name, 0::bigint, null::text, true
    from unnest(array['aggregates', 'aggregates_backfill', 'aggregates_verify', 'alerts', 'insights', 'maintain', 'publications',
                      'serve', 'stats']) as name$$,
  'the fence of each job is there, free and never taken');

-- alerts
prepare alert as
insert into settle.alerts (id, source, type, category, severity, dedupe_key, title, message, status, resolved_at)
values (gen_random_uuid(), 'publications', 'x', $1, $2, 'k', 't', 'm', $3, $4);
select lives_ok($$execute alert('DATA_QUALITY', 'LOW', 'OPEN', null)$$, 'an alert opens');
select throws_ok($$execute alert('DATA_QUALITY', 'LOW', 'OPEN', null)$$, '23505', null, 'one open alert a key');
select lives_ok($$execute alert('DATA_QUALITY', 'LOW', 'RESOLVED', now())$$, 'besides any number of resolved ones');
select throws_ok($$execute alert('DATA_QUALITY', 'LOW', 'RESOLVED', null)$$, '23514', null, 'a resolved alert says when');
select throws_ok($$execute alert('OTHER', 'LOW', 'OPEN', null)$$, '23514', null, 'known categories only');
select throws_ok($$execute alert('FRAUD', 'low', 'OPEN', null)$$, '23514', null, 'known severities only');

select * from finish();
rollback;
