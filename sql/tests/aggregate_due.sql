-- Which days a run goes over, with the reconciler's rights alone; and what is forgotten of marks.
begin;
create extension if not exists pgtap;
select plan(13);

\set statement `cat sql/queries/aggregate_due.sql`
prepare due as :statement;
\set statement `cat sql/queries/aggregate_missing.sql`
prepare missing as :statement;
\set statement `cat sql/queries/aggregate_late.sql`
prepare late as :statement;
\set statement `cat sql/queries/aggregate_fail.sql`
prepare fail as :statement;
\set statement `cat sql/queries/aggregate_day.sql`
prepare day as :statement;
\set statement `cat sql/queries/aggregate_flag.sql`
prepare flag as :statement;

create function pg_temp.ago(days integer) returns text language sql as $$
  select ((now() at time zone 'UTC')::date - days)::text
$$;
create temporary view marks as
select string_agg(days::text, ' ' order by days desc) as days
from (select distinct (now() at time zone 'UTC')::date - date as days from settle.dirty_days) as each_day;
grant select on marks to public;

-- Of the last 7 days all but the third were aggregated and hold; before, what is named here.
insert into settle.aggregate_days (date, aggregated_at, verification_status)
select pg_temp.ago(n)::date, now(), 'verified'
from unnest(array[1, 2, 4, 5, 6, 7, 20, 21, 22, 23, 30, 31, 32]) as n;
set local role settle_reconciler;
select results_eq('execute due(null)',
                  $$select pg_temp.ago(n), case n when 3 then 'missing' else 'recheck' end, 0::bigint
                    from generate_series(7, 1, -1) as n$$,
                  'the last 7 days, the oldest first; older ones rest');
insert into settle.dirty_days (date) values (pg_temp.ago(20)::date), (pg_temp.ago(20)::date), (pg_temp.ago(0)::date), (pg_temp.ago(40)::date);
select results_eq('execute due(null)',
                  $$select pg_temp.ago(20), 'dirty', 0::bigint
                    union all
                    select pg_temp.ago(n), case n when 3 then 'missing' else 'recheck' end, 0
                    from generate_series(7, 1, -1) as n$$,
                  'a marked one however old, if it was aggregated before; today waits');
select results_eq('execute missing(2)', format('values (%s::bigint, %L)', 32 - 7 - 7, pg_temp.ago(29) || ' ' || pg_temp.ago(28)),
                  'those that never were are counted, the oldest named');
reset role;
delete from settle.dirty_days;
set local role settle_reconciler;
select results_eq(format('execute due(%L)', (pg_temp.ago(21) || ' 00:05')::timestamp at time zone 'UTC'),
                  $$select pg_temp.ago(n), 'recheck', 0::bigint from unnest(array[22, 21, 20]) as n
                    union all
                    (select pg_temp.ago(n), case n when 3 then 'missing' else 'recheck' end, 0
                     from generate_series(7, 1, -1) as n)$$,
                  'after a long pause once more what was the newest day at the last run');
reset role;
update settle.aggregate_days set is_partial = true where date = pg_temp.ago(21)::date;
update settle.aggregate_days set verification_status = 'pending' where date = pg_temp.ago(22)::date;
update settle.aggregate_days set verification_status = 'unverified' where date = pg_temp.ago(23)::date;
set local role settle_reconciler;
select results_eq('execute due(null)',
                  $$values (pg_temp.ago(22), 'recheck', 0::bigint), (pg_temp.ago(21), 'dirty', 0)
                    union all
                    (select pg_temp.ago(n), case n when 3 then 'missing' else 'recheck' end, 0
                     from generate_series(7, 1, -1) as n)$$,
                  'so is a day of which there is a part only, or no second count; one that did not hold is for verify');
reset role;
update settle.aggregate_days set is_partial = false, verification_status = 'verified';
set local role settle_reconciler;

-- Attempts on the third day, which was never aggregated, and on one of a month ago.
select results_eq(format('execute fail(%L, 1, %L, %L, %L)', pg_temp.ago(3), 'P0001', 'why', gen_random_uuid()),
                  $$select now() + interval '1 hour'$$, 'the second attempt is an hour later');
select results_eq(format('execute fail(%L, 2, %L, %L, %L)', pg_temp.ago(31), 'P0001', 'why', gen_random_uuid()),
                  $$select now() + interval '2 hours'$$, 'the third two');
select results_eq('execute due(null)', $$select pg_temp.ago(n), 'recheck', 0::bigint from generate_series(7, 1, -1) as n where n <> 3$$,
                  'until then neither is due');
update settle.aggregate_days set next_attempt_at = now() where attempts > 0;
select results_eq('execute due(null)',
                  $$select pg_temp.ago(31), 'retry', 2::bigint
                    union all
                    select pg_temp.ago(n), case n when 3 then 'retry' else 'recheck' end, case n when 3 then 1 else 0 end
                    from generate_series(7, 1, -1) as n$$,
                  'then both, with what failed before');
select results_eq(format('execute fail(%L, 3, %L, %L, %L)', pg_temp.ago(31), 'P0001', 'why', gen_random_uuid()),
                  'select null::timestamptz', 'after the third there is no other');
insert into settle.dirty_days (date) values (pg_temp.ago(31)::date);
select results_eq('execute due(null)',
                  $$select pg_temp.ago(31), 'dirty', 0::bigint
                    union all
                    select pg_temp.ago(n), case n when 3 then 'retry' else 'recheck' end, case n when 3 then 1 else 0 end
                    from generate_series(7, 1, -1) as n$$,
                  'but new data begins them anew');
execute day(pg_temp.ago(31)::date, false, gen_random_uuid());
select results_eq(format('select attempts, verification_status collate "default", failed_at from settle.aggregate_days where date = %L', pg_temp.ago(31)),
                  $$values (0::smallint, 'pending', null::timestamptz)$$, 'what was made forgets its failures');
execute flag(pg_temp.ago(31), '{}', '{}', '{}', null, null, null, null, 0);
reset role;

insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, decisive, received_at, stored_at)
select sha256(days::text::bytea), 'default', 'tiktok', gen_random_uuid(), 0,
       (pg_temp.ago(days)::timestamp at time zone 'UTC') + interval '12:00', stored
from (values (20, now()), (21, now() - interval '9 minutes'), (22, now() - interval '2 hours')) as r (days, stored)
union all
select sha256('in time'), 'default', 'tiktok', gen_random_uuid(), 0, now() - interval '59 minutes', now();
insert into settle.dirty_days (date, marked_at)
values (pg_temp.ago(50)::date, now() - interval '25 hours'), (pg_temp.ago(51)::date, now() - interval '23 hours'),
       (pg_temp.ago(32)::date, now() - interval '25 hours');
set local role settle_reconciler;
execute late(now(), now());
select results_eq('select days from marks', $$values ('51 32 21 20')$$,
                  'what was stored late since the last look, with its overlap; old marks of days that nobody has aggregated go');
reset role;

select * from finish();
rollback;
