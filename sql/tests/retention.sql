-- What settle_maintain forgets by: each statement runs with its rights alone, in the order of an index, and what is still
-- needed stays.
begin;
create extension if not exists pgtap;
select plan(46);

\set statement `cat sql/queries/receipt_forget.sql`
prepare receipt_forget as :statement;
\set statement `cat sql/queries/receipt_forget_count.sql`
prepare receipt_forget_count as :statement;
\set statement `cat sql/queries/delivery_forget.sql`
prepare delivery_forget as :statement;
\set statement `cat sql/queries/delivery_forget_count.sql`
prepare delivery_forget_count as :statement;
\set statement `cat sql/queries/report_forget.sql`
prepare report_forget as :statement;
\set statement `cat sql/queries/report_forget_count.sql`
prepare report_forget_count as :statement;
\set statement `cat sql/queries/ledger_forget.sql`
prepare ledger_forget as :statement;
\set statement `cat sql/queries/ledger_forget_count.sql`
prepare ledger_forget_count as :statement;
\set statement `cat sql/queries/cost_forget.sql`
prepare cost_forget as :statement;
\set statement `cat sql/queries/cost_forget_count.sql`
prepare cost_forget_count as :statement;
\set statement `cat sql/queries/run_forget.sql`
prepare run_forget as :statement;
\set statement `cat sql/queries/run_forget_count.sql`
prepare run_forget_count as :statement;
\set statement `cat sql/queries/event_forget.sql`
prepare event_forget as :statement;
\set statement `cat sql/queries/event_forget_count.sql`
prepare event_forget_count as :statement;
\set statement `cat sql/queries/insights_log_forget.sql`
prepare insights_log_forget as :statement;
\set statement `cat sql/queries/insights_log_forget_count.sql`
prepare insights_log_forget_count as :statement;
\set statement `cat sql/queries/task_log_forget.sql`
prepare task_log_forget as :statement;
\set statement `cat sql/queries/task_log_forget_count.sql`
prepare task_log_forget_count as :statement;
\set statement `cat sql/queries/poll_forget.sql`
prepare poll_forget as :statement;
\set statement `cat sql/queries/poll_forget_count.sql`
prepare poll_forget_count as :statement;
\set statement `cat sql/queries/lease_forget.sql`
prepare lease_forget as :statement;
\set statement `cat sql/queries/lease_forget_count.sql`
prepare lease_forget_count as :statement;
\set statement `cat sql/queries/budget_forget.sql`
prepare budget_forget as :statement;
\set statement `cat sql/queries/budget_forget_count.sql`
prepare budget_forget_count as :statement;

select has_index('settle', 'social_sync_ledger', 'social_sync_ledger_time', 'the ledger is read by its age');
select has_index('settle', 'job_runs', 'job_runs_started', 'and runs');

-- A UUIDv7 of so many days ago.
create function pg_temp.id_of(days integer, nth integer) returns uuid language sql as $$
  select encode(set_bit(set_bit(set_bit(set_bit(substring(int8send((extract(epoch from now() - days * interval '1 day') * 1000)::bigint) from 3)
                                || decode(lpad(to_hex(nth), 20, '0'), 'hex'), 52, 1), 53, 1), 54, 1), 71, 1), 'hex')::uuid
$$;

insert into settle.publish_logs (id, platform, user_id_str, status, external_post_id, extra_metadata)
values (pg_temp.id_of(60, 1), 'tiktok', 'u', 'retry', 'open', '{}'),
       (pg_temp.id_of(60, 2), 'tiktok', 'u', 'success', 'settled', '{"reconciliation_reason": "webhook_confirmed"}'),
       (pg_temp.id_of(60, 3), 'tiktok', 'u', 'failed', 'overridden', '{"reconciliation_reason": "manual_override"}'),
       (pg_temp.id_of(60, 4), 'tiktok', 'u', 'scheduled', 'planned', '{}');

insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, decisive, received_at, stored_at)
select decode(repeat(word, 32), 'hex'), 'default', 'tiktok', pg_temp.id_of(days, 9), post, 0, at, at
from (values ('a1', 'settled', 36), ('a2', 'open', 36), ('a3', 'overridden', 36), ('a4', 'planned', 36), ('a5', null, 36),
             ('a6', 'nobodys', 35), ('a7', 'settled', 34)) as r (word, post, days),
     lateral (select now() - days * interval '1 day' - interval '1 second') as t (at);
update settle.job_fences set watermark = now() where name = 'publications';
set local role settle_maintain;
select results_eq(
  $$execute receipt_forget(35, 2, null, null)$$,
  $$values (2::bigint, 1::bigint, repeat('a2', 32), now() - interval '36 days 1 second')$$,
  'one chunk: a settled publication''s goes, an open one''s stays, and it is said where the chunk ended');
select results_eq(
  $$execute receipt_forget_count(35, 9, repeat('a2', 32), now() - interval '36 days 1 second')$$,
  $$values (4::bigint, 2::bigint, repeat('a6', 32), now() - interval '35 days 1 second')$$,
  'the next begins behind it: of a verdict of a person and of one that is planned they stay; of none they go');
reset role;
update settle.job_fences set watermark = now() - interval '35 days' where name = 'publications';
set local role settle_maintain;
select results_eq(
  $$execute receipt_forget(35, 9, repeat('a2', 32), now() - interval '36 days 1 second')$$,
  $$values (3::bigint, 1::bigint, repeat('a5', 32), now() - interval '36 days 1 second')$$,
  'what the publications job may still look at stays');
reset role;
update settle.job_fences set watermark = null where name = 'publications';
set local role settle_maintain;
select results_eq('execute receipt_forget(35, 9, null, null)',
                  'values (0::bigint, 0::bigint, null::text, null::timestamptz)', 'and all of it if it never looked');
reset role;

-- What has gone still counts on its day; a day whose aggregates are not verified keeps its raw rows.
select set_eq('select user_id_str || '' '' || platform || '' '' || n || '' '' || date from settle.forgotten_webhooks',
              $$select who || ' tiktok 1 ' || ((now() - interval '36 days 1 second') at time zone 'UTC')::date
                from unnest(array['u', '']) as who$$,
              'it counts where it counted before');
select is_empty('select * from settle.dirty_days where date < current_date - 34', 'no day was aggregated yet, so none is marked');
insert into settle.aggregate_days (date, aggregated_at, verification_status)
select ((now() - days * interval '1 day' - interval '1 second') at time zone 'UTC')::date, now(), status
from (values (40, 'verified'), (35, 'unverified')) as d (days, status);
update settle.job_fences set watermark = now() where name = 'publications';
set local role settle_maintain;
select results_eq('execute receipt_forget_count(35, 9, null, null)', 'execute receipt_forget(35, 9, null, null)',
                  'the count says what goes');
select set_eq('select external_post_id from settle.webhook_receipts', array['open', 'overridden', 'planned', 'nobodys', 'settled'],
              'of a day that is not verified nothing does');
reset role;
update settle.aggregate_days set verification_status = 'verified';
set local role settle_maintain;
execute receipt_forget(35, 9, null, null);
reset role;
select results_eq($$select date from settle.dirty_days where date < current_date - 30$$,
                  $$select ((now() - interval '35 days 1 second') at time zone 'UTC')::date$$, 'else its day is marked');

insert into settle.webhook_deliveries (id, source, platform, received_at, stored_at, headers, body)
select pg_temp.id_of(days, nth), 'default', 'tiktok', at, at, '', ''
from (values (36, 9), (36, 10), (34, 11)) as d (days, nth), lateral (select now() - days * interval '1 day') as t (at);
insert into settle.webhook_deliveries (id, source, platform, received_at, headers, body)
values (pg_temp.id_of(900, 12), 'default', 'tiktok', now(), '', ''); -- of a gateway whose clock was wrong
set local role settle_maintain;
select results_eq('execute delivery_forget_count(35, 9, null)', format('values (3::bigint, 1::bigint, %L)', pg_temp.id_of(36, 10)),
                  'a delivery goes when no receipt needs its bytes, by the time of its storing');
select results_eq('execute delivery_forget(35, 9, null)', format('values (3::bigint, 1::bigint, %L)', pg_temp.id_of(36, 10)),
                  'so it does');
reset role;

insert into settle.publication_reports (id, source, log_id, platform, witness, status, decisive, reported_at, actor)
select pg_temp.id_of(days, nth), 'default', coalesce(p.id, pg_temp.id_of(60, 99)), 'tiktok', witness, 'done', 1,
       now() - days * interval '1 day' - interval '1 second', 'a'
from (values (36, 1, 'open', 'worker'), (36, 2, 'settled', 'poll'), (36, 3, 'overridden', 'person'), (36, 4, 'nobodys', 'poll'),
             (34, 5, 'settled', 'poll')) as r (days, nth, post, witness)
left join settle.publish_logs as p on p.external_post_id = post;
set local role settle_maintain;
select results_eq('execute report_forget_count(35, 9, null)', format('values (4::bigint, 2::bigint, %L)', pg_temp.id_of(36, 4)),
                  'reports go but for those of open publications and under a person''s verdict');
select results_eq('execute report_forget(35, 9, null)', format('values (4::bigint, 2::bigint, %L)', pg_temp.id_of(36, 4)),
                  'so they do');
reset role;

insert into settle.social_sync_ledger (id, timestamp, event_type, entity_type, entity_id)
values (gen_random_uuid(), now() - interval '401 days', 'x', 'x', 'x'), (gen_random_uuid(), now() - interval '399 days', 'x', 'x', 'x');
insert into settle.job_runs (id, job_name, actor, trigger, status, holder, started_at)
select gen_random_uuid(), 'publications', 'cron', 'schedule', status, 'h', now() - days * interval '1 day'
from (values ('running', 402), ('success', 401), ('skipped', 399)) as r (status, days);
insert into settle.scheduler_event_logs (event_type, event_date)
values ('start', now() - interval '403 days'), ('start', now() - interval '402 days'), ('job_failed', now() - interval '401 days'),
       ('stop', now() - interval '399 days');
insert into settle.platform_insights_tasks (id, user_id, platform) overriding system value values (1, 'u', 'gsc');
insert into settle.platform_insights_execution_logs (task_id, status, execution_date)
values (1, 'failed', now() - interval '401 days'), (1, 'success', now() - interval '399 days');
insert into settle.monitoring_tasks (id) values (1);
insert into settle.task_execution_logs (task_id, status, execution_date)
values (1, 'failed', now() - interval '401 days'), (1, 'success', now() - interval '399 days');
set local role settle_maintain;
select lives_ok(format('execute %s_forget_count(400, 5, null, null)', kind), kind || ' are counted')
from unnest(array['ledger', 'run', 'insights_log', 'task_log']) as kind;
select lives_ok(format('execute %s_forget(400, 5, null, null)', kind), kind || ' are forgotten')
from unnest(array['ledger', 'run', 'insights_log', 'task_log']) as kind;
create temporary table oldest_events as
select 3::bigint as n, 2::bigint as gone, max(id)::text as id, max(event_date) as event_date
from settle.scheduler_event_logs where event_type = 'job_failed';
grant select on oldest_events to settle_maintain;
select results_eq('execute event_forget_count(400, 5, null, null)', 'table oldest_events',
                  'events are counted, but for the newest that somebody began to lead');
select results_eq('execute event_forget(400, 5, null, null)', 'table oldest_events', 'and forgotten');
reset role;
select results_eq('select now() - timestamp from settle.social_sync_ledger', $$values (interval '399 days')$$, 'of the ledger what is older');
select bag_eq('select status from settle.job_runs', $$values ('running'), ('skipped')$$, 'of runs too, but for one that has not ended');
select bag_eq('select event_type::text, now() - event_date from settle.scheduler_event_logs',
              $$values ('stop', interval '399 days'), ('start', interval '402 days')$$,
              'of the scheduler''s events too, but for the one that tells who leads');
select bag_eq('select status::text from settle.platform_insights_execution_logs', $$values ('success')$$, 'of what insights tasks gave');
select bag_eq('select status::text from settle.task_execution_logs', $$values ('success')$$, 'and monitoring tasks');
insert into settle.platform_insights_execution_logs (task_id, status, execution_date) values (1, 'failed', now() - interval '6 days');
set local role settle_maintain;
execute insights_log_forget(2, 5, null, null);
reset role;
select bag_eq('select status::text from settle.platform_insights_execution_logs', $$values ('failed')$$,
              'those of the last week count, and stay');

insert into settle.publish_polls (id, source, external_post_id, asked_at, next_at, outcome, tries)
select id, source, external_post_id, now(), now(), 'working', 1 from settle.publish_logs;
insert into settle.publish_leases (id, source, platform, worker_id, lease_until)
select id, source, platform, 'w', now() from settle.publish_logs;
insert into settle.poll_budgets values ('u', 'tiktok', 'old', now() - interval '2 hours', 5), ('u', 'tiktok', 'now', now(), 5);
set local role settle_maintain;
select lives_ok(format('execute %s_forget_count(5, null)', kind), kind || ' are counted')
from unnest(array['poll', 'lease', 'budget']) as kind;
select lives_ok(format('execute %s_forget(5, null)', kind), kind || ' are forgotten')
from unnest(array['poll', 'lease', 'budget']) as kind;
reset role;
select bag_eq('select external_post_id::text from settle.publish_polls', $$values ('open')$$, 'notes on open publications stay');
select bag_eq('select p.external_post_id::text from settle.publish_leases join settle.publish_logs as p using (id)', $$values ('open')$$,
              'and their leases');
select bag_eq('select account::text from settle.poll_budgets', $$values ('now')$$, 'and the budgets of now');

-- Costs: of a verified day, one that is not, one that was not aggregated, and before the first that was.
delete from settle.aggregate_days;
insert into settle.aggregate_days (date, aggregated_at, verification_status)
select (now() at time zone 'UTC')::date - days, now(), status
from (values (370, 'verified'), (368, 'unverified')) as d (days, status);
insert into settle.cost_records (id, user_id_str, platform, cost, timestamp, idempotency_key)
select pg_temp.id_of(days, nth), who, platform, cost, date_trunc('day', now(), 'UTC') - days * interval '1 day' + interval '1 hour',
       nth::text
from (values ('anna', 'tiktok', 0.25, 370, 1), ('anna', 'tiktok', 0.000001, 370, 2), ('anna', null, 3, 370, 3),
             ('bert', 'tiktok', 4, 368, 4), ('bert', 'tiktok', 5, 369, 5), ('bert', 'tiktok', 6, 371, 6), ('bert', 'tiktok', 7, 360, 7))
  as c (who, platform, cost, days, nth);
insert into settle.forgotten_costs (date, user_id_str, platform, n, cost)
select (now() at time zone 'UTC')::date - 370, 'anna', 'tiktok', 1, 1.5;
delete from settle.dirty_days;
prepare ending as
values (6::bigint, 4::bigint, pg_temp.id_of(368, 4)::text, date_trunc('day', now(), 'UTC') - interval '368 days' + interval '1 hour');
set local role settle_maintain;
select results_eq('execute cost_forget_count(365, 9, null, null)', 'execute ending',
                  'costs go when their day is verified, or was before the first of all');
select results_eq('execute cost_forget(365, 9, null, null)', 'execute ending', 'so they do');
select results_eq(
  format('execute cost_forget(365, 9, %L, %L)', pg_temp.id_of(368, 4), date_trunc('day', now(), 'UTC') - interval '368 days' + interval '1 hour'),
  $$values (0::bigint, 0::bigint, null, null::timestamptz)$$, 'and it goes on behind them');
reset role;
select bag_eq('select idempotency_key::text from settle.cost_records', array['4', '5', '7'], 'the others stay');
select bag_eq(
  $$select (now() at time zone 'UTC')::date - date, user_id_str::text, platform::text, n, cost from settle.forgotten_costs$$,
  $$values (370, 'anna', 'tiktok', 3::bigint, 1.750001), (370, 'anna', '', 1, 3), (371, 'bert', 'tiktok', 1, 6)$$,
  'what went is added up by day');
select bag_eq($$select (now() at time zone 'UTC')::date - date from settle.dirty_days$$, array[370, 371], 'whose days are marked');

select * from finish();
rollback;
