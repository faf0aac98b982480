-- schedule_plan, _take, _skip, _wake, _end, _load, _days, run_kill, event_add, status_read: a due time is taken once, and none is lost.
begin;
create extension if not exists pgtap;
select plan(43);

\set statement `cat sql/queries/schedule_read.sql`
prepare schedule_read as :statement;
\set statement `cat sql/queries/schedule_plan.sql`
prepare schedule_plan as :statement;
\set statement `cat sql/queries/schedule_take.sql`
prepare schedule_take as :statement;
\set statement `cat sql/queries/schedule_skip.sql`
prepare schedule_skip as :statement;
\set statement `cat sql/queries/schedule_wake.sql`
prepare schedule_wake as :statement;
\set statement `cat sql/queries/schedule_end.sql`
prepare schedule_end as :statement;
\set statement `cat sql/queries/schedule_load.sql`
prepare schedule_load as :statement;
\set statement `cat sql/queries/schedule_days.sql`
prepare schedule_days as :statement;
\set statement `cat sql/queries/event_add.sql`
prepare event_add as :statement;
\set statement `cat sql/queries/run_kill.sql`
prepare run_kill as :statement;
\set statement `cat sql/queries/run_begin.sql`
prepare run_begin as :statement;
\set statement `cat sql/queries/status_read.sql`
prepare status_read as :statement;
\set one '''0190a0a0-0000-7222-8333-444455556666'''
\set two '''0190a0a0-1111-7222-8333-444455556666'''

create temporary view due as
select cron, next_due - now() as next_due, last_due - now() as last_due, running, pace collate "default" as pace, skipped
from settle.job_schedule;
create temporary view events as
select event_type collate "default" as event_type, event_data, error_message from settle.scheduler_event_logs;
grant select on due, events to public;

set local role settle_reconciler;
select lives_ok($$execute schedule_plan('publications', '* * * * *', now() + interval '1 minute')$$, 'a job is planned');
select lives_ok($$execute schedule_plan('publications', '* * * * *', now() + interval '5 minutes')$$, 'again, by the same schedule');
select results_eq('select next_due from due', $$values (interval '1 minute')$$, 'what is planned stays');
execute schedule_plan('publications', '*/5 * * * *', now() + interval '5 minutes');
select results_eq('select cron, next_due from due', $$values ('*/5 * * * *', interval '5 minutes')$$, 'a new schedule holds at once');
execute schedule_plan('publications', '', null);
select results_eq('select cron, next_due from due', $$values ('', null::interval)$$, 'no schedule: never due');
execute schedule_plan('publications', '* * * * *', now() + interval '1 minute');
select results_eq('select next_due from due', $$values (interval '1 minute')$$, 'due again');

execute schedule_take('publications', now() + interval '1 minute', now() + interval '2 minutes', :one, 'schedule');
select is_empty('select from events', 'nothing is taken before it is due');
update settle.job_schedule set next_due = now() - interval '3 minutes';
execute schedule_plan('publications', '*/2 * * * *', now() + interval '2 minutes');
select results_eq('select cron, next_due from due', $$values ('*/2 * * * *', interval '-3 minutes')$$, 'what was missed stays due');
execute schedule_take('publications', now() - interval '4 minutes', now() + interval '1 minute', :one, 'schedule');
select is_empty('select from events where event_type = ''job_scheduled''', 'who saw another due time comes too late');
execute schedule_take('publications', now() - interval '3 minutes', now() + interval '1 minute', :one, 'startup');
select results_eq('select next_due, last_due, running from due',
  $$values (interval '1 minute', interval '-3 minutes', '0190a0a0-0000-7222-8333-444455556666'::uuid)$$, 'it is taken');
execute schedule_take('publications', now() - interval '3 minutes', now() + interval '1 minute', :two, 'startup');
reset role;
select results_eq('select event_type, event_data ->> ''run_id'', event_data ->> ''trigger'' from events',
  $$values ('job_scheduled', '0190a0a0-0000-7222-8333-444455556666', 'startup')$$, 'once');

set local role settle_reconciler;
update settle.job_schedule set next_due = now() - interval '1 second';
execute schedule_take('publications', now() - interval '1 second', now() + interval '1 minute', :two, 'schedule');
select results_eq('select running::text from due', $$values ('0190a0a0-0000-7222-8333-444455556666')$$,
  'no second run while one has not ended');
execute schedule_skip('publications', now() - interval '1 second', now() + interval '1 minute');
select results_eq('select next_due, skipped from due', $$values (interval '1 minute', 1::bigint)$$, 'its due time is noted as skipped');

select results_eq($$execute schedule_read$$,
  $$values ('publications'::text collate "C", '*/2 * * * *', now() + interval '1 minute', '0190a0a0-0000-7222-8333-444455556666'::uuid,
    null::text, null::text, false, null::text, 'schedule'::text collate "C", now(), false)$$, 'a run without a row has not begun');
update settle.job_fences set epoch = 7, holder = 'h:1:r', lease_until = now() + interval '30 seconds' where name = 'publications';
execute run_begin(:one, 'publications', '{}', 'serve', 'startup', 'h:1:r', 7, now(), array['publications', 'replay']);
prepare lives as
select status, f.lease_until > now() from settle.job_runs join settle.job_fences f on f.name = job_name;
select results_eq('execute lives', $$values ('running', true)$$, 'it has begun');
execute run_kill(:one, 'killed by signal 9');
select results_eq($$select status, outcome, error_code from settle.job_runs$$, $$values ('failed', 'interrupted', 'killed')$$,
  'a killed run is noted as failed');
execute run_kill(:one, 'again');
select results_eq($$select error_message from settle.job_runs$$, $$values ('killed by signal 9')$$, 'once');

execute schedule_end('publications', :two, 'success', 0, null, 'schedule', null, null, null);
select results_eq('select running::text from due', $$values ('0190a0a0-0000-7222-8333-444455556666')$$, 'another run ends nothing');
execute schedule_end('publications', :one, 'failed', 137, 'killed by signal 9', 'busy', now() + interval '15 seconds', null, null);
select results_eq('select running, next_due, pace from due', $$values (null::uuid, interval '15 seconds', 'busy')$$,
  'the end frees the job and says when it is due again');
reset role;
select bag_eq('select event_type, error_message from events where event_type <> ''job_scheduled''',
  $$values ('job_cancelled', null), ('job_failed', 'killed by signal 9'), ('interval_adjustment', null)$$, 'and is an event, as is the new pace');

set local role settle_reconciler;
insert into settle.platform_pauses (platform, actor, reason) values ('paused', 'a', 'r');
reset role;
insert into settle.publish_logs (platform, user_id_str, status, updated_at)
values ('tiktok', 'u', 'processing', now() - interval '1 hour'), ('tiktok', 'u', 'processing', now() - interval '2 hours'),
       ('paused', 'u', 'processing', now() - interval '2 hours'), ('tiktok', 'u', 'processing', now());
set local role settle_reconciler;
select results_eq($$execute schedule_load('0190a0a0-0000-7222-8333-444455556666', 10, 10)$$,
  $$values (2::bigint, true, null::bigint, null::bigint)$$, 'what is stale and not paused is load');
select results_eq($$execute schedule_load('0190a0a0-0000-7222-8333-444455556666', 10, 1)$$,
  $$values (1::bigint, true, null::bigint, null::bigint)$$, 'counted up to the limit');
reset role;
update settle.job_runs
set report = '{"skipped": 1, "not_due": 1, "skipped_because": {"platform_disabled": 1}, "duration_ms": 5, "polls": {"asked": 7}}';
set local role settle_reconciler;
select results_eq($$execute schedule_load('0190a0a0-0000-7222-8333-444455556666', 10, 1)$$,
  $$values (1::bigint, true, 5::bigint, 7::bigint)$$, 'but for as many as the run has looked at in vain');
reset role;
update settle.job_runs set report = jsonb_set(report, '{skipped}', '4');
set local role settle_reconciler;
select results_eq($$execute schedule_load('0190a0a0-0000-7222-8333-444455556666', 10, 1)$$,
  $$values (0::bigint, true, 5::bigint, 7::bigint)$$, 'of which some may have gone');

-- A late webhook of a settled publication opens nothing: it wakes a job that waits because nothing is open.
reset role;
delete from settle.publish_logs;
update settle.job_fences set watermark = now() - interval '1 minute' where name = 'publications';
update settle.job_schedule set pace = 'idle', next_due = now() + interval '5 minutes' where job = 'publications';
create temporary table seen_before as execute schedule_read;
create temporary table load_before as execute schedule_load('0190a0a0-0000-7222-8333-444455556666', 10, 10);
insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, decisive, received_at, stored_at)
values (decode(repeat('ab', 32), 'hex'), 'default', 'tiktok', gen_random_uuid(), 1, now(), now() - interval '80 seconds');
create temporary table seen as execute schedule_read;
create temporary table load as execute schedule_load('0190a0a0-0000-7222-8333-444455556666', 10, 10);
select results_eq('select b.wanted, s.wanted from seen_before as b, seen as s', $$values (false, true)$$,
  'a receipt wakes it that may have been stored while the last run looked');
select results_eq('select b.awaited, l.awaited from load_before as b, load as l', $$values (false, true)$$, 'and keeps it from waiting');
set local role settle_reconciler;
execute schedule_wake('publications', now() + interval '5 minutes', now() + interval '1 minute', null, null);
select results_eq('select next_due, pace from due', $$values (interval '1 minute', 'schedule')$$, 'it is due as scheduled');
execute schedule_wake('publications', now() + interval '1 minute', now() + interval '1 minute', null, null);
select results_eq('select next_due from due', $$values (interval '1 minute')$$, 'and is woken once');
reset role;
select is((select count(*) from events where event_type = 'interval_adjustment'), 2::bigint, 'which is an event');
update settle.job_schedule set next_due = now() + interval '1 day' where job = 'publications';
set local role settle_reconciler;
execute schedule_wake('publications', now() + interval '1 day', now() + interval '1 minute', null, null);
select results_eq('select next_due, pace from due', $$values (interval '1 minute', 'schedule')$$,
  'so is one that a clock planned which was set back since');
reset role;
update settle.webhook_receipts set stored_at = now() - interval '91 seconds';
update settle.job_schedule set pace = 'idle' where job = 'publications';
create temporary table seen_after as execute schedule_read;
select results_eq('select wanted from seen_after', $$values (false)$$, 'what the last run has looked at wakes nothing');
set local role settle_reconciler;

select lives_ok($$execute event_add('start', '{"holder": "h"}')$$, 'a start is an event');
select throws_ok('select event_data from settle.scheduler_event_logs', '42501', null, 'which the reconciler does not read back');
select lives_ok('execute status_read(10, 1000)', 'the status can be read');
reset role;
select throws_ok($$execute event_add('party', '{}')$$, '23514', null, 'events are of known types');
select throws_ok($$update settle.job_schedule set running = gen_random_uuid()$$, '23514', null, 'a run has a beginning');

-- When aggregates is due again for what its last run has left undone.
delete from settle.job_runs;
create function pg_temp.run(run_id uuid, minutes_ago integer, run_status text, code text, what jsonb) returns void language sql as $$
  insert into settle.job_runs (id, job_name, actor, trigger, status, holder, started_at, error_code, report)
  values (run_id, 'aggregates', 'serve', 'schedule', run_status, 'h', now() - minutes_ago * interval '1 minute', code, what)
$$;
create function pg_temp.day(ago integer, failed integer, next_in interval) returns void language sql as $$
  insert into settle.aggregate_days (date, attempts, failed_at, next_attempt_at)
  values ((now() at time zone 'UTC')::date - ago, failed, now(), now() + next_in)
$$;
select pg_temp.run(:one, 5, 'success', null, '{"put_off": 0, "lock_held": 0}');
set local role settle_reconciler;
select results_eq($$execute schedule_days('0190a0a0-0000-7222-8333-444455556666', true, '10 minutes')$$, 'select null::timestamptz',
  'a run that left nothing undone waits for its schedule');
select results_eq($$execute schedule_days('0190a0a0-1111-7222-8333-444455556666', false, '10 minutes')$$,
  $$select now() + interval '10 minutes'$$, 'one that did not begin is made up for, and one that was killed');
reset role;
update settle.job_runs set report = '{"put_off": 0, "lock_held": 1}' where id = :one;
set local role settle_reconciler;
select results_eq($$execute schedule_days('0190a0a0-0000-7222-8333-444455556666', true, '10 minutes')$$,
  $$select now() + interval '10 minutes'$$, 'so is a day that somebody held');
reset role;
update settle.job_runs set started_at = now() - interval '3 hours' where id = :one;
select pg_temp.run(gen_random_uuid(), 60 * n, 'failed', 'killed', null) from generate_series(1, 4) as n;
select pg_temp.run(gen_random_uuid(), 30, 'skipped', null, null);
select pg_temp.run(:two, 1, 'failed', '57P01', null);
set local role settle_reconciler;
select results_eq($$execute schedule_days('0190a0a0-1111-7222-8333-444455556666', false, '10 minutes')$$,
  $$select now() + interval '40 minutes'$$, 'the third failure in a row is waited for four times as long as the first');
reset role;
update settle.job_runs set error_code = 'days', report = '{"put_off": 0, "lock_held": 0}' where id = :two;
select pg_temp.day(0, 1, interval '20 minutes'), pg_temp.day(4, 3, null);
set local role settle_reconciler;
select results_eq($$execute schedule_days('0190a0a0-1111-7222-8333-444455556666', false, '10 minutes')$$, 'select null::timestamptz',
  'a dead day is due no more, and one that is not over not yet');
reset role;
select pg_temp.day(2, 2, interval '2 hours'), pg_temp.day(3, 1, interval '1 hour');
set local role settle_reconciler;
select results_eq($$execute schedule_days('0190a0a0-1111-7222-8333-444455556666', false, '10 minutes')$$,
  $$select now() + interval '1 hour'$$, 'days that failed are due when the next attempt of one is');
reset role;
update settle.aggregate_days set next_attempt_at = now() - interval '1 day' where attempts = 1;
set local role settle_reconciler;
select results_eq($$execute schedule_days('0190a0a0-1111-7222-8333-444455556666', false, '10 minutes')$$,
  $$select now() + interval '10 minutes'$$, 'but not at once: no run spins');
reset role;

select * from finish();
rollback;
