-- Who changes raw rows marks their days, in the same statement; a tenant sees and records its own.
begin;
create extension if not exists pgtap;
select plan(24);

create temporary view marks as
select string_agg(days::text, ' ' order by days) as days
from (select distinct date - (now() at time zone 'UTC')::date as days from settle.dirty_days) as each_day;
grant select on marks to public;
create function pg_temp.ago(days integer) returns timestamptz language sql as $$
  select date_trunc('day', now(), 'UTC') - days * interval '1 day'
$$;

insert into settle.publish_logs (id, platform, user_id_str, requested_at)
values ('00000000-0000-7000-8000-00000000000a', 'tiktok', 'anna', pg_temp.ago(3)),
       ('00000000-0000-7000-8000-00000000000b', 'tiktok', 'bert', pg_temp.ago(5)),
       ('00000000-0000-7000-8000-00000000000c', 'tiktok', 'bert', pg_temp.ago(3) + interval '23:59:59.999999'),
       ('00000000-0000-7000-8000-00000000000d', 'tiktok', 'bert', now());
select results_eq('select days from marks', array['-5 -3'], 'publications of earlier days mark these, once each');
select results_eq('select count(*)::int from settle.dirty_days', array[2], 'with one mark a day and statement');
delete from settle.dirty_days;
update settle.publish_logs set status = 'success', settled_at = now() where requested_at >= pg_temp.ago(0);
select is_empty('select * from settle.dirty_days', 'today waits until it is over');
update settle.publish_logs set status = 'failed' where id = '00000000-0000-7000-8000-00000000000b';
select results_eq('select days from marks', array['-5'], 'a verdict marks the day of its publication');
delete from settle.dirty_days;
update settle.publish_logs set requested_at = pg_temp.ago(9) where id = '00000000-0000-7000-8000-00000000000b';
select results_eq('select days from marks', array['-9 -5'], 'a publication that moves marks both days');
delete from settle.dirty_days;
delete from settle.publish_logs where id = '00000000-0000-7000-8000-00000000000b';
select results_eq('select days from marks', array['-9'], 'one that is deleted its own');
delete from settle.dirty_days;
update settle.publish_logs set status = 'failed' where false;
select is_empty('select * from settle.dirty_days', 'nothing changed, nothing marked');

insert into settle.cost_records (user_id_str, cost, timestamp, idempotency_key)
values ('anna', 1.25, pg_temp.ago(2), 'a'), ('bert', 0.000001, pg_temp.ago(4), 'b'), ('bert', 3, now(), 'c');
select results_eq('select days from marks', array['-4 -2'], 'costs mark their days');
delete from settle.dirty_days;
update settle.cost_records set cost = 2 where idempotency_key = 'a';
select results_eq('select days from marks', array['-2'], 'so does a change of one');
delete from settle.dirty_days;
delete from settle.cost_records where idempotency_key = 'b';
select results_eq('select days from marks', array['-4'], 'and a deletion');
delete from settle.dirty_days;
insert into settle.aggregate_days (date) values ('2024-02-29');
truncate settle.cost_records;
select results_eq('select date from settle.dirty_days', array['2024-02-29'::date], 'emptying the table marks all aggregated days');
delete from settle.dirty_days;
select throws_ok($$insert into settle.cost_records (user_id_str, cost, idempotency_key) values ('anna', -1, 'n')$$, '23514', null,
                 'a cost is not negative');

insert into settle.daily_aggregates (date, user_id_str, platform, publication_count, success_count, failed_count, settled_count,
                                     webhook_count, cost_total, source_count, source_hash, hash_version)
select date, who, 'tiktok', 2, 1, 1, 2, 3, 0.5, 5, 'h', 1
from unnest(array['2024-02-28', '2024-02-29']::date[]) as date, unnest(array['anna', 'bert', '']) as who;
update settle.daily_aggregates set avg_settle_ms = case user_id_str when 'anna' then 1000 when 'bert' then 2000 end,
                                   settled_count = case user_id_str when 'anna' then 3 when 'bert' then 1 else 0 end;
update settle.aggregate_days set aggregated_at = now();
select results_eq(
  'select date, publication_count, webhook_count, avg_settle_ms, cost_total from settle.daily_totals',
  $$values ('2024-02-29'::date, 6::bigint, 9::bigint, 1250::bigint, 1.50)$$,
  'the totals of a day add all tenants up; the mean is weighed');
delete from settle.daily_aggregates where date = '2024-02-29';
select results_eq('select publication_count, cost_total from settle.daily_totals', $$values (0::bigint, 0.00)$$,
                  'a day on which nothing happened has zeros');
select throws_ok(
  $$update settle.daily_aggregates set verification_status = 'unverified'$$, '23514', null,
  'who is called unverified is told why');

set local role settle_tenant;
select set_config('settle.tenant', 'anna', true);
select results_eq('select user_id_str from settle.daily_aggregates', array['anna'] collate "C", 'a tenant sees its own aggregates');
select lives_ok(
  format($$insert into settle.cost_records (user_id_str, cost, timestamp, idempotency_key) values ('anna', 1, %L, 'x')$$, pg_temp.ago(3)),
  'it records what it spent, the mark included');
select throws_ok($$insert into settle.cost_records (user_id_str, cost, idempotency_key) values ('bert', 1, 'x')$$, '42501', null,
                 'but nobody else''s');
select lives_ok(
  $$update settle.publish_logs set status = 'success' where id = '00000000-0000-7000-8000-00000000000a'$$, 'it settles its own');
select throws_ok('select * from settle.dirty_days', '42501', null, 'marks are not for it');
select throws_ok('select * from settle.aggregate_days', '42501', null, 'nor are days as a whole');
reset role;
select results_eq('select days from marks', array['-3'], 'and what it changed is marked');

set local role settle_reconciler;
select lives_ok($$insert into settle.job_fences (name) values ('aggregates:2024-02-29')$$, 'the reconciler makes the fence of a day');
set local role settle_maintain;
select throws_ok($$delete from settle.dirty_days$$, '42501', null, 'retention marks days and takes no mark away');
reset role;

select * from finish();
rollback;
