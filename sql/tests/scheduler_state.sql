-- The scheduler's totals: each event counts once, whoever writes it, and goes on counting when it is forgotten; cycle_add,
-- event_forget, stats_reconcile, scheduler_event_cleanup. Who sees which of its rows.
begin;
create extension if not exists pgtap;
select plan(54);

\set statement `cat sql/queries/cycle_add.sql`
prepare cycle_add as :statement;
\set statement `cat sql/queries/event_add.sql`
prepare event_add as :statement;
\set statement `cat sql/queries/event_forget.sql`
prepare event_forget as :statement;
\set statement `cat sql/queries/stats_reconcile.sql`
prepare stats_reconcile as :statement;
\set statement `cat sql/queries/scheduler_event_cleanup.sql`
prepare scheduler_event_cleanup as :statement;
\set statement `cat sql/queries/scheduler_dashboard.sql`
prepare scheduler_dashboard as :statement;
\set statement `cat sql/queries/scheduler_status.sql`
prepare scheduler_status as :statement;
\set statement `cat sql/queries/scheduler_health.sql`
prepare scheduler_health as :statement;
\set statement `cat sql/queries/execution_log_list.sql`
prepare execution_log_list as :statement;

create temporary view totals as
select array[total_check_cycles, cumulative_tasks_found, cumulative_tasks_executed, cumulative_tasks_failed, cumulative_tasks_skipped,
             cumulative_job_completed, cumulative_job_failed] as n
from settle.scheduler_cumulative_stats;
create temporary view forgotten as
select array[check_cycles, tasks_found, tasks_executed, tasks_failed, tasks_skipped, job_completed, job_failed] as n
from settle.scheduler_stats_baseline;
grant select on totals, forgotten to public;
create function pg_temp.totals_are(n bigint[], what text) returns text language sql as $$
  select is((select n from totals), n, what)
$$;

select has_index('settle', 'platform_insights_execution_logs', 'platform_insights_execution_logs_task', 'a task''s logs are found');
select has_index('settle', 'task_execution_logs', 'task_execution_logs_user', 'and a user''s');
select pg_temp.totals_are('{0,0,0,0,0,0,0}', 'of no event: zeros');

set local role settle_reconciler;
execute cycle_add('15', 5, 3, 1, 1, '{"gsc": 5}', 1234, 2, 0, '{"holder": "h"}');
execute cycle_add(null, 2, 2, 0, 0, '{}', 0, 2, 0, null);
select pg_temp.totals_are('{2,7,5,1,1,0,0}', 'a cycle and what it adds are one statement');
execute event_add('start', '{}');
select pg_temp.totals_are('{2,7,5,1,1,0,0}', 'other events add nothing');
insert into settle.scheduler_event_logs (event_type, tasks_found)
select event_type, 9
from unnest(array['job_completed', 'job_failed', 'job_completed', 'job_scheduled', 'job_cancelled']) as event_type;
select pg_temp.totals_are('{2,7,5,1,1,2,1}', 'jobs that ended count as such, and what else they say does not');
select throws_ok('delete from settle.scheduler_event_logs', '42501', null, 'who writes events removes none');
select throws_ok('update settle.scheduler_stats_baseline set events = 0', '42501', null, 'nor says that he did');
reset role;
select results_eq(
  $$select check_cycle_number, check_interval_minutes::int, check_duration_seconds::float, tasks_by_type
    from settle.scheduler_event_logs where event_type = 'check_cycle' order by id$$,
  $$values (1, 15, 1.234::float, '{"gsc": 5}'::jsonb), (2, null, 0, '{}')$$, 'cycles are numbered');
select is((select last_check_cycle_id from settle.scheduler_cumulative_stats),
          (select max(id) from settle.scheduler_event_logs where event_type = 'check_cycle'), 'the last one is known');

-- Retention, and whoever removes rows by hand.
update settle.scheduler_event_logs set event_date = now() - interval '401 days' where id in (
  (select min(id) from settle.scheduler_event_logs), (select max(id) from settle.scheduler_event_logs where event_type = 'job_completed'));
set local role settle_maintain;
execute event_forget(400, 100, null, null);
select results_eq('select n from forgotten', $$values ('{1,5,3,1,1,1,0}'::bigint[])$$, 'what is forgotten is kept as a number');
reset role;
delete from settle.scheduler_event_logs where event_type = 'job_failed';
select results_eq('select n from forgotten', $$values ('{1,5,3,1,1,1,1}'::bigint[])$$, 'also what somebody removes by hand');
select is((select events from settle.scheduler_stats_baseline), 3::bigint, 'as many as went');
delete from settle.scheduler_event_logs where id < 0;
select results_eq('select n from forgotten', $$values ('{1,5,3,1,1,1,1}'::bigint[])$$, 'nothing counts nothing');
select pg_temp.totals_are('{2,7,5,1,1,2,1}', 'and the totals stay');

-- The repair, as the role whose it is; what the API does at once is no run that metrics count.
update settle.scheduler_cumulative_stats
set total_check_cycles = 9, cumulative_tasks_skipped = 0, cumulative_job_completed = 0, last_check_cycle_id = null;
set local role settle_operator;
create temporary table dry as execute stats_reconcile(true, gen_random_uuid(), 'tests');
select pg_temp.totals_are('{9,7,5,1,0,0,1}', 'a dry run writes nothing');
select results_eq($$select status, (body::json -> 'drift' ->> 'total_check_cycles')::int from dry$$, $$values (200, 7)$$,
                  'and says what is wrong');
execute stats_reconcile(false, gen_random_uuid(), 'tests');
select pg_temp.totals_are('{2,7,5,1,1,2,1}', 'what is missing is added');
execute scheduler_event_cleanup(null, 1, false, gen_random_uuid(), 'tests');
execute stats_reconcile(false, gen_random_uuid(), 'tests');
select pg_temp.totals_are('{2,7,5,1,1,2,1}', 'and nothing twice');
reset role;
select is((select last_check_cycle_id from settle.scheduler_cumulative_stats),
          (select max(id) from settle.scheduler_event_logs where event_type = 'check_cycle'), 'the last cycle is known again');
select is_empty('select from settle.run_totals', 'no run of a job was counted');

-- Who sees what.
insert into settle.scheduler_event_logs (event_type, user_id, event_data, error_message)
values ('job_completed', 'anna', '{"of": "anna"}', 'hers'), ('job_completed', 'bert', '{"of": "bert"}', 'his'),
       ('job_failed', null, '{"of": "bert"}', 'bert''s post 7 failed');
insert into settle.platform_insights_tasks (user_id, platform) values ('anna', 'gsc'), ('bert', 'gsc'), ('7', 'gsc');
insert into settle.platform_insights_execution_logs (task_id, status, result_data)
select id, 'success', jsonb_build_object('of', user_id) from settle.platform_insights_tasks;
insert into settle.monitoring_tasks (id, task_title) values (1, 'of anna and 7'), (2, 'of 456');
insert into settle.task_execution_logs (task_id, user_id, user_id_str, status)
values (1, null, 'anna', 'success'), (1, 7, null, 'success'), (2, 456, 'user_clerk_456', 'success'), (2, null, null, 'success');
set local role settle_tenant;
select set_config('settle.tenant', 'anna', true);
select bag_eq(
  $$select user_id::text, event_data ->> 'of', error_message from settle.scheduler_events where event_type like 'job_%ed'
      and event_type not in ('job_scheduled', 'job_cancelled')$$,
  $$values ('anna', 'anna', 'hers'), (null, null, null), (null, null, null)$$,
  'a tenant sees its own events, and of those that are nobody''s no details');
select throws_ok(format('select %s from settle.scheduler_event_logs', what), '42501', null, 'nor beside the view: ' || what)
from unnest(array['event_data', 'error_message', '*', 'settle.event_data(id)']) as what;
select results_eq('select result_data ->> ''of'' from settle.platform_insights_execution_logs', array['anna'], 'its own tasks'' logs');
select results_eq('select task_title from settle.monitoring_tasks', array['of anna and 7'], 'what was monitored for it');
select bag_eq('select id::text from settle.scheduler_jobs', array['check_due_tasks', 'platform_insights_gsc_anna'],
              'the loop and its own tasks');
select set_config('settle.tenant', '7', true);
select results_eq('select user_id from settle.task_execution_logs', array[7], 'older rows name it by its number');
select set_config('settle.tenant', '456', true);
select is_empty('select from settle.task_execution_logs', 'but not where they name somebody by a text');
select set_config('settle.tenant', '99999999999999999999', true);
select is_empty('select from settle.task_execution_logs', 'a name of too many digits is no number');
select results_eq('select name collate "default", lease_until from settle.job_fences', $$values ('serve', '-infinity'::timestamptz)$$,
                  'whether anybody leads is for all to see');
select throws_ok('select holder from settle.job_fences', '42501', null, 'who, is not');
reset role;
set local role settle_operator;
select is((select count(*) from settle.scheduler_events where error_message is not null), 3::bigint, 'an operator sees the details');
reset role;

-- Who leads, by a lease that could be one.
create function pg_temp.led(lease interval, what text) returns setof text language plpgsql as $$
declare
  dashboard text;
  status text;
begin
  update settle.job_fences set holder = 'h', lease_until = now() + lease where name = 'serve';
  update settle.job_schedule set cron = '* * * * *' where job = 'insights';
  insert into settle.job_schedule (job, cron, next_due) values ('insights', '* * * * *', now()) on conflict do nothing;
  insert into settle.scheduler_event_logs (event_type, event_data) values ('start', '{"holder": "h"}');
  set local role settle_tenant;
  execute 'execute scheduler_dashboard(''anna'')' into status, dashboard;
  return next is((dashboard::json #>> '{stats,running}')::boolean, lease = interval '30 s', what || ': dashboard');
  return next is((select trigger_type from settle.scheduler_jobs where id = 'check_due_tasks'),
                 case when lease = interval '30 s' then 'cron' else 'external' end, what || ': jobs');
  return next is(concat_ws(' ', dashboard::json #>> '{leadership,is_leader}', dashboard::json #>> '{leadership,identity}'),
                 (lease = interval '30 s')::text, what || ': that, a tenant is told, and not who');
  set local role settle_operator;
  execute 'execute scheduler_status' into status, dashboard;
  return next is(concat_ws(' ', dashboard::json #>> '{leadership,is_leader}', dashboard::json #>> '{leadership,identity}'),
                 case when lease = interval '30 s' then 'true h' else 'false' end, what || ': status');
  reset role;
end
$$;
select set_config('settle.tenant', 'anna', true);
select pg_temp.led(interval '30 s', 'somebody leads');
select pg_temp.led(interval '2 h', 'a clock that was ahead leads nothing');
create function pg_temp.health(lease interval, due interval) returns text language plpgsql as $$
declare
  status int;
  body text;
begin
  update settle.job_fences set lease_until = now() + lease where name = 'serve';
  update settle.job_schedule set next_due = now() + due where job = 'insights';
  set local role settle_tenant;
  execute 'execute scheduler_health' into status, body;
  reset role;
  return body::json #>> '{checks,scheduler_leadership,status}';
end
$$;
select is(pg_temp.health('30 s', '-14 min'), 'healthy', 'who leads may take a while');
select is(pg_temp.health('30 s', '-16 min'), 'degraded', 'but not for ever');
select is(pg_temp.health('-1 s', '-1 day'), 'standby', 'what nobody leads cannot be late');

-- What a person has asked for is a job, once; what cron has started is none besides the job that it is of.
insert into settle.job_runs (id, job_name, actor, trigger, status, holder)
select gen_random_uuid(), 'publications', 'key:x', trigger, status, 'h'
from (values ('api', 'running'), ('api', 'success'), ('manual', 'running')) as run (trigger, status);
set local role settle_operator;
select is((select count(*) from settle.scheduler_jobs where trigger_type = 'date' and id ~ '^publications_[0-9a-f-]{36}$'),
          1::bigint, 'what a person has asked for is a job, once');
set local role settle_tenant;
select is_empty($$select from settle.scheduler_jobs where trigger_type = 'date'$$, 'of which a tenant is told nothing');
reset role;

-- That somebody has begun to lead is known as long as he does.
update settle.scheduler_event_logs set event_date = now() - interval '9 days' where event_type = 'start';
set local role settle_operator;
execute scheduler_event_cleanup(7, null, false, '00000000-0000-7000-8000-0000000000ff', 'tests');
select is((select count(*) from settle.scheduler_events where event_type = 'start'), 1::bigint, 'the newest start stays');
select is((select (report ->> 'oldest_kept_event')::timestamptz from settle.job_runs where id = '00000000-0000-7000-8000-0000000000ff'),
          now() - interval '9 days', 'and is the oldest that is kept');
reset role;
update settle.job_fences set lease_until = now() + interval '30 s' where name = 'serve';
select is((select leader_since from settle.scheduler_leadership), now() - interval '9 days', 'since when is known of a long term too');

-- What other tools have written has no bounds.
insert into settle.task_execution_logs (task_id, user_id_str, status, error_message, result_data)
values (1, 'large', 'failed', repeat('x', 5000), jsonb_build_object('a', repeat('x', 20000))),
       (1, 'small', 'failed', 'x', '{"a": 1}');
create function pg_temp.log_of(who text) returns json language plpgsql as $$
declare
  status int;
  body text;
begin
  execute format('execute execution_log_list(%L, null, 10, 0)', who) into status, body;
  return body::json #> '{logs,0}';
end
$$;
select is(length(pg_temp.log_of('large') ->> 'error_message'), 4000, 'a long text is cut');
select is(pg_temp.log_of('large') #>> '{result_data,left_out}', '20009', 'a large result left out');
select is(pg_temp.log_of('small') ->> 'result_data', '{"a": 1}', 'others are shown');

select * from finish();
rollback;
