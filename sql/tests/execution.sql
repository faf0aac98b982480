-- insights_count, _due, _any, _lease, _finish, task_trigger: each task is one runner's at a time, and what comes of it counts.
begin;
create extension if not exists pgtap;
select plan(34);

\set statement `cat sql/queries/insights_count.sql`
prepare insights_count as :statement;
\set statement `cat sql/queries/insights_due.sql`
prepare insights_due as :statement;
\set statement `cat sql/queries/insights_any.sql`
prepare insights_any as :statement;
\set statement `cat sql/queries/insights_lease.sql`
prepare insights_lease as :statement;
\set statement `cat sql/queries/insights_finish.sql`
prepare insights_finish as :statement;
\set statement `cat sql/queries/task_trigger.sql`
prepare task_trigger as :statement;
\set run '''0190a0a0-0000-7222-8333-444455556666'''

insert into settle.platform_insights_tasks (id, user_id, platform, site_url, status, next_check)
overriding system value
values (1, 'anna', 'gsc', 'https://a.example/', 'active', now() - interval '1 hour'),
       (2, 'anna', 'bing', null, 'failed', null),
       (3, 'bert', 'gsc', 'https://b.example/', 'active', now() + interval '1 hour'),
       (4, 'bert', 'bing', 'https://b.example/', 'needs_intervention', null),
       (5, 'carl', 'gsc', 'https://c.example/', 'paused', null);
insert into settle.platform_connections (user_id_str, platform, account, connected, expires_at)
values ('anna', 'gsc', 'default', true, null), ('anna', 'gsc', 'https://a.example/', true, null),
       ('anna', 'bing', 'default', true, null), ('anna', 'bing', 'https://old.example/', true, now() - interval '1 day'),
       ('anna', 'bing', 'https://z.example/', true, now() + interval '1 day'),
       ('anna', 'bing', 'https://off.example/', false, null);
create temporary view tasks as
select id, status collate "default" as status, consecutive_failures as failures, next_check - now() as due, cool_off_until - now() as cool,
       failure_pattern ->> 'reason' as reason
from settle.platform_insights_tasks;
create temporary table leased (id bigint, user_id text, platform text, site text, account text, token bigint);
grant select on tasks to settle_reconciler;
grant all on leased to settle_reconciler;

set local role settle_reconciler;
select results_eq('execute insights_count', $$values (2::bigint, 0::bigint, 0::bigint, 1::bigint, 3::bigint)$$, 'what waits');
select results_eq('execute insights_any', $$values (true)$$, 'there are tasks that will be due');
select results_eq($$execute insights_due(null, 10)$$,
  $$values (2::bigint, 'anna' collate "C", 'bing' collate "C", 'failed' collate "C", null::timestamptz),
           (1, 'anna', 'gsc', 'active', now() - interval '1 hour')$$, 'null is due, and first');
select is_empty($$execute insights_due(5, 10)$$, 'a paused one is not');
create temporary table first_lease as execute insights_lease(1, 'host:1', :run, 900, null, '{}');
select results_eq('select id from first_lease', $$values (2::bigint)$$, 'at most as many as asked for');
select results_eq($$select coalesce collate "default", account collate "default" from first_lease$$, $$values ('https://z.example/', 'https://z.example/')$$,
  'without a site of its own the account''s, of one that holds');
create temporary table second_lease as execute insights_lease(10, 'host:2', :run, 900, null, '{}');
select results_eq($$select id, coalesce collate "default", account collate "default" from second_lease$$,
  $$values (1::bigint, 'https://a.example/', 'https://a.example/')$$, 'who comes next gets the rest, the account of its site');
select is_empty($$execute insights_lease(10, 'host:3', '0190a0a0-0000-7222-8333-444455556666', 900, null, '{}')$$, 'and a third nothing');
select is_empty($$execute insights_lease(10, 'host:3', '0190a0a0-0000-7222-8333-444455556666', 900, 1, '{}')$$, 'nor by its id');
select results_eq('execute insights_count', $$values (2::bigint, 2::bigint, 0::bigint, 1::bigint, 3::bigint)$$, 'found, though others are at it');
select is_empty($$execute insights_due(null, 10)$$, 'no more is to be done');

update settle.task_leases set expires_at = now() where task_key = 'platform_insights_1';
create temporary table third_lease as execute insights_lease(10, 'host:3', :run, 900, null, '{}');
select results_eq('select id from third_lease', $$values (1::bigint)$$, 'what is over is taken over');
select isnt((select token from third_lease), (select token from second_lease), 'by another token');

select (select token from second_lease) as stale, (select token from third_lease) as held \gset
execute insights_finish(1, :stale, 'success', null, null, null, '{}', 5, null);
select is_empty('select from settle.platform_insights_execution_logs', 'under the old token nothing is written');
select results_eq('select status, failures from tasks where id = 1', $$values ('active', 0)$$, 'the task is as it was');
execute insights_finish(1, :held, 'failed', 'auth_error: HTTP 401', 'auth_error', 'auth_error', null, 5, null);
select results_eq('select status, failures, due, reason from tasks where id = 1',
  $$values ('failed', 1, interval '1 day', 'auth_error')$$, 'a failure is tried again in a day');
select is_empty($$select from settle.task_leases where task_key = 'platform_insights_1'$$, 'its lease is free');
execute insights_finish(1, :held, 'failed', 'again', 'auth_error', 'auth_error', null, 5, null);
select results_eq('select count(*)::int from settle.platform_insights_execution_logs', $$values (1)$$, 'and ends once');

update settle.platform_insights_tasks set consecutive_failures = 2, next_check = now() where id = 1;
create temporary table fourth_lease as execute insights_lease(10, 'host:3', :run, 900, null, '{}');
select token as held from fourth_lease \gset
execute insights_finish(1, :held, 'failed', 'x', 'unknown', 'invalid_adapter_return', null, 5, null);
select results_eq('select status, failures, due, cool from tasks where id = 1',
  $$values ('needs_intervention', 3, null::interval, interval '7 days')$$, 'the third in a row wants a person');
select is_empty($$execute insights_lease(10, 'host:3', '0190a0a0-0000-7222-8333-444455556666', 900, null, '{}')$$, 'and is not due');

select token as held from first_lease \gset
execute insights_finish(2, :held, 'skipped', 'circuit_open', null, null, null, 5, 300);
select results_eq('select status, failures, due from tasks where id = 2', $$values ('failed', 0, interval '5 minutes')$$,
  'what was not asked counts for nothing');
update settle.platform_insights_tasks set next_check = now() where id = 2;
select is_empty($$execute insights_lease(10, 'host:3', '0190a0a0-0000-7222-8333-444455556666', 900, null, '{bing}')$$, 'nor of one whose breaker has held a task');
insert into settle.platform_pauses (platform, actor, reason) values ('bing', 'test', 'test');
select is_empty($$execute insights_lease(10, 'host:3', '0190a0a0-0000-7222-8333-444455556666', 900, null, '{}')$$, 'of a paused platform none is taken');
delete from settle.platform_pauses;
insert into settle.platform_insights_execution_logs (task_id, status, execution_date)
select 2, 'failed', now() - n * interval '1 day' from generate_series(3, 7) as n;
create temporary table fifth_lease as execute insights_lease(10, 'host:3', :run, 900, null, '{}');
select token as held from fifth_lease \gset
execute insights_finish(2, :held, 'success', null, null, null, '{"figures": {}}', 5, null);
select results_eq('select status, failures, due from tasks where id = 2', $$values ('active', 0, interval '7 days')$$, 'a success is for a week');
update settle.platform_insights_tasks set next_check = now() where id = 2;
create temporary table sixth_lease as execute insights_lease(10, 'host:3', :run, 900, null, '{}');
select token as held from sixth_lease \gset
execute insights_finish(2, :held, 'failed', 'x', 'unknown', 'x', null, 5, null);
select results_eq('select status, failures from tasks where id = 2', $$values ('needs_intervention', 1)$$, 'the fifth in seven days wants a person');
reset role;

-- A tenant sets its own going, and sees no other's.
set local settle.tenant = 'anna';
set local role settle_tenant;
create temporary table told as execute task_trigger('platform_insights', 1, 'key a');
select results_eq('select status, (body::json ->> ''changed'')::boolean from told', $$values (200, true)$$, 'its own is set going');
select results_eq($$select status collate "default", consecutive_failures, next_check = now(), cool_off_until from settle.platform_insights_tasks where id = 1$$,
  $$values ('active', 0, true, null::timestamptz)$$, 'active, due, and nothing is held against it');
create temporary table again as execute task_trigger('platform_insights', 1, 'key a');
select results_eq('select status, (body::json ->> ''changed'')::boolean from again', $$values (200, false)$$, 'twice is once');
reset role;
set local role settle_reconciler;
create temporary table seventh_lease as execute insights_lease(10, 'host:3', :run, 900, 1, '{}');
select token as held from seventh_lease \gset
reset role;
set local role settle_tenant;
create temporary table on_its_way as execute task_trigger('platform_insights', 1, 'key a');
select results_eq('select (body::json ->> ''changed'')::boolean from on_its_way', $$values (true)$$, 'also while it is on its way');
reset role;
set local role settle_reconciler;
execute insights_finish(1, :held, 'failed', 'x', 'unknown', 'x', null, 5, null);
select results_eq('select status, failures, due from tasks where id = 1', $$values ('active', 0, interval '0')$$,
  'what comes of a request of before leaves it due');
create temporary table eighth_lease as execute insights_lease(10, 'host:3', :run, 900, 1, '{}');
select token as held from eighth_lease \gset
execute insights_finish(1, :held, 'failed', 'x', 'unknown', 'x', null, 5, null);
select results_eq($$select tasks.status, failures, (failure_pattern ->> 'recent_failures')::int
    from tasks join settle.platform_insights_tasks using (id) where id = 1$$,
  $$values ('failed', 1, 1)$$, 'and the next counts, as the first');
reset role;
set local role settle_tenant;
select is_empty($$execute task_trigger('platform_insights', 3, 'key a')$$, 'another''s is not there');
select results_eq($$execute task_trigger('strategy', 1, 'key a')$$, $$values (400, 'unknown_task_type', null::text)$$, 'an unknown type');
select throws_ok($$update settle.platform_insights_tasks set user_id = 'bert'$$, '42501', null, 'nobody gives a task away');
reset role;

select * from finish();
rollback;
