-- Aggregates as their tenants see them: how far they can be relied on, what a month is going to cost, and CSV that no
-- spreadsheet runs. And costs that are forgotten.
begin;
create extension if not exists pgtap;
select plan(27);

select is(settle.month_projection(spent::numeric, days, days_in_month), wanted::numeric,
          format('%s in %s of %s days', spent, days, days_in_month))
from (values ('10.00', 10, 29, '29.00'), ('0.00', 5, 30, '0.00'), ('12.34', 31, 31, '12.34'), ('12.34', 0, 31, null),
             ('0.01', 2, 31, '0.16'), -- 0.155: half up
             ('0.01', 2, 29, '0.15'), -- 0.145
             ('1.00', 3, 31, '10.33'), ('1.00', 6, 31, '5.17'),
             ('99999999999999999999.99', 7, 31, '442857142857142857142.81')) -- beyond the 16 digits of a quotient
  as cases (spent, days, days_in_month, wanted);
select is(pg_typeof(settle.month_projection(1.00, 3, 31))::text, 'numeric', 'and nothing of it is a float');

select is(settle.csv_text(text), wanted, coalesce(text, 'null'))
from (values ('anna', '"anna"'), ('', '""'), ('a "b", c', '"a ""b"", c"'), (e'two\r\nlines', e'"two\r\nlines"'),
             ('=1+1', '"''=1+1"'), ('@sum', '"''@sum"'), (e'\tx', e'"''\tx"'), ('''=x', '"''''=x"'), ('＝1', '"''＝1"'), (null, null))
  as cases (text, wanted);

-- Days in each state.
insert into settle.aggregate_days (date, aggregated_at, is_partial, verification_status, drift_rows, missing_rows, attempts, failed_at)
select date, case when date <> '2024-03-01' then now() end, is_partial, status, missing, missing, attempts,
       case when attempts > 0 then now() end
from (values ('2024-02-25'::date, false, 'verified', 0, 0), ('2024-02-26', false, 'pending', 0, 0), ('2024-02-27', false, 'unverified', 1, 0),
             ('2024-02-28', false, 'verified', 0, 2), ('2024-02-29', true, 'verified', 0, 0), ('2024-03-01', false, 'pending', 0, 1))
  as days (date, is_partial, status, missing, attempts);
insert into settle.dirty_days (date) values ('2024-02-25'), ('2024-02-25');
prepare states as
select date, misses_rows, is_dirty, is_stale from settle.day_states order by date;
prepare wanted as
values ('2024-02-25'::date, false, true, true), ('2024-02-26', false, false, false), ('2024-02-27', true, false, false),
       ('2024-02-28', false, false, true), ('2024-02-29', false, false, true);
select results_eq('execute states', 'execute wanted',
                  'stale is what was marked, failed since, or was counted before it was over; what never was counted is none');
set local role settle_tenant;
select is_empty('select * from settle.day_states', 'who is no tenant sees no day');
select set_config('settle.tenant', 'anna', true);
select results_eq('execute states', 'execute wanted', 'a tenant sees how each day stands');
select throws_ok('select error_message from settle.aggregate_days', '42501', null, 'and not why');
select throws_ok('select marked_at from settle.dirty_days', '42501', null, 'nor since when');
select throws_ok('select * from settle.forgotten_costs', '42501', null, 'nor what others have spent');
reset role;

select throws_ok('select settle.none_unseen(1)', '40001', null, 'what cannot be seen undoes a transaction');

select * from finish();
rollback;
