-- Tenants cannot see each other, and a key is found only by whoever names it.
begin;
create extension if not exists pgtap;
select plan(27);

-- What the schema must be, whatever is added to it.
create temporary view tables as
select c.oid, c.relname::text collate "default" as name, c.relowner, c.relrowsecurity and c.relforcerowsecurity as forced
from pg_class c
where c.relnamespace = 'settle'::regnamespace and c.relkind in ('r', 'p');

select is_empty(
  $$select name
    from tables
    where not forced
      and exists (select from pg_attribute
                  where attrelid = oid and attname in ('user_id', 'user_id_str') and not attisdropped)$$,
  'each table that names a tenant has forced row level security');
select is_empty(
  $$select name
    from tables
    where not forced
      and name not in ('platform_pauses', 'insights_platforms') -- of platforms, which are everybody's
      and (has_any_column_privilege('settle_tenant', oid, 'select, insert, update')
           or has_table_privilege('settle_tenant', oid, 'delete'))$$,
  'a tenant has no rights on a table without it');
select is_empty(
  $$select name
    from tables
    where forced
      and not exists (select from pg_policy
                      where polrelid = tables.oid and relowner = any (polroles) and polcmd = '*'
                        and pg_get_expr(polqual, polrelid) = 'true')$$,
  'the owner of each such table has a policy, or its backfills would silently change nothing');
select is_empty(
  $$select polrelid::regclass, polname
    from pg_policy
    where 0 = any (polroles) or 'settle_api'::regrole = any (polroles) and polrelid <> 'settle.api_keys'::regclass$$,
  'no policy is everybody''s, and the API''s login has one for keys alone');
select is_empty(
  $$select name from tables join pg_inherits on inhrelid = oid where has_table_privilege('public', oid, 'select')$$,
  'partitions, to which policies do not pass, are nobody''s');

-- Two tenants with a publication each, and all that hangs on it.
insert into settle.publish_logs (id, platform, user_id_str, external_post_id, status)
values ('00000000-0000-7000-8000-00000000000a', 'tiktok', 'anna', 'post-a', 'processing'),
       ('00000000-0000-7000-8000-00000000000b', 'tiktok', 'bert', 'post-b', 'processing');
insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive,
                                     received_at, headers, body)
select sha256(post::bytea), 'default', 'tiktok', gen_random_uuid(), post, 'published', 1, now(), '', '{}'
from unnest(array['post-a', 'post-b', 'post-nobody']) as post;
insert into settle.webhook_deliveries (id, source, platform, received_at, headers, body)
select gen_random_uuid(), 'default', 'tiktok', now(), '', '{}';
insert into settle.social_sync_ledger (event_type, entity_type, entity_id)
select 'publish_registered', 'publish_log', id::text from settle.publish_logs
union all
select 'platform_connection_set', 'platform_connection', 'anna';
insert into settle.publication_reports (source, log_id, platform, witness, status, decisive, actor)
select source, id, platform, 'worker', 'success', 1, 'w' from settle.publish_logs;
insert into settle.publish_leases (id, source, platform, worker_id, lease_until)
select id, source, platform, 'w', now() from settle.publish_logs;
insert into settle.publish_polls (id, source, external_post_id, asked_at, next_at, outcome, tries)
select id, source, external_post_id, now(), now(), 'working', 1 from settle.publish_logs;
insert into settle.platform_connections (user_id_str, platform, account, connected)
values ('anna', 'tiktok', 'default', true), ('bert', 'tiktok', 'default', true);
insert into settle.alerts (id, source, type, category, severity, dedupe_key, user_id_str, title, message)
select gen_random_uuid(), 's', 't', 'SYSTEM_HEALTH', 'LOW', coalesce(who, 'nobody'), who, 't', 'm'
from unnest(array['anna', 'bert', null]) as who;
insert into settle.api_keys (id, name, hash, user_id_str, scopes, created_by)
values ('00000000000000aa', 'of anna', sha256('a'), 'anna', '{read}', 'test'),
       ('00000000000000bb', 'of bert', sha256('b'), 'bert', '{read}', 'test');

prepare seen as
select 'publish_logs' as name, count(*)::int from settle.publish_logs
union all select 'publish_logs_live', count(*)::int from settle.publish_logs_live
union all select 'publish_open', count(*)::int from settle.publish_open
union all select 'webhook_receipts', count(*)::int from settle.webhook_receipts
union all select 'social_sync_ledger', count(*)::int from settle.social_sync_ledger
union all select 'publication_reports', count(*)::int from settle.publication_reports
union all select 'publish_leases', count(*)::int from settle.publish_leases
union all select 'publish_polls', count(*)::int from settle.publish_polls
union all select 'platform_connections', count(*)::int from (select user_id_str from settle.platform_connections) as c
union all select 'alerts', count(*)::int from settle.alerts;

set local role settle_tenant;
select is_empty('select * from settle.publish_logs', 'without a tenant: no publication');
select is_empty('select * from settle.webhook_receipts', 'no receipt');
select is_empty('select user_id_str from settle.platform_connections', 'no connection');
select set_config('settle.tenant', '', true);
select is_empty('select * from settle.alerts', 'an empty name is no tenant, and what is nobody''s is no tenant''s');
select set_config('settle.tenant', 'anna', true);
select results_eq(
  'execute seen',
  $$values ('publish_logs', 1), ('publish_logs_live', 1), ('publish_open', 1), ('webhook_receipts', 1),
           ('social_sync_ledger', 1), ('publication_reports', 1), ('publish_leases', 1), ('publish_polls', 1),
           ('platform_connections', 1), ('alerts', 1)$$,
  'a tenant sees what is its own, once each');
select results_eq('select external_post_id from settle.publish_logs', array['post-a'] collate "C", 'which is this');
select results_eq('select external_post_id from settle.webhook_receipts', array['post-a'] collate "C", 'and this');
select results_eq(
  $$with u as (update settle.publish_logs set status = 'failed' where user_id_str = 'bert' returning 1) select count(*) from u$$,
  array[0::bigint], 'it cannot change another''s');
select throws_ok(
  $$insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'bert')$$, '42501', null,
  'nor register one for another');
select throws_ok(
  $$insert into settle.platform_connections (user_id_str, platform, account, connected) values ('bert', 'x', 'default', true)$$,
  '42501', null, 'nor set another''s token');
select lives_ok(
  $$insert into settle.publish_logs (id, platform, user_id_str, status)
    values ('00000000-0000-7000-8000-00000000000c', 'tiktok', 'anna', 'pending')$$,
  'it registers its own, the open row included');
select lives_ok(
  $$update settle.publish_logs set status = 'success' where id = '00000000-0000-7000-8000-00000000000c'$$, 'and settles it');
select is_empty(
  $$select from settle.publish_open where id = '00000000-0000-7000-8000-00000000000c'$$, 'which closes it');
select is_empty('select body from settle.webhook_deliveries', 'bytes that several may share are nobody''s');
select throws_ok('select hash from settle.api_keys', '42501', null, 'keys are not for it');
select set_config('settle.post', 'post-nobody', true);
select results_eq('select external_post_id from settle.webhook_receipts order by 1', array['post-a', 'post-nobody'] collate "C",
                  'what came for a post that it names is weighed before its publication bears the name');
select set_config('settle.post', '', true);

set local role settle_operator;
select results_eq(
  'select count(*)::int from settle.publish_logs', array[3], 'an operator sees all tenants');
select throws_ok('select hash from settle.api_keys', '42501', null, 'but no key');

set local role settle_api;
select throws_ok('select * from settle.publish_logs', '42501', null, 'the login itself sees no publication');
select is_empty('select id from settle.api_keys', 'and no key that it cannot name');
select set_config('settle.key', '00000000000000aa', true);
select results_eq('select user_id_str from settle.api_keys', array['anna'] collate "C", 'only that which it names');

set local role settle_reconciler;
select results_eq('select count(*)::int from settle.publish_open', array[2], 'the reconciler works for all');
reset role;

select * from finish();
rollback;
