-- One form of each tenant's name: the migration over rows of older tools, identity_mend and identity_count, and who then sees what.
begin;
create extension if not exists pgtap;
select plan(25);

\set statement `cat sql/queries/identity_mend.sql`
prepare identity_mend as :statement;
\set statement `cat sql/queries/identity_count.sql`
prepare identity_count as :statement;
\set deploy `sed '/^begin;$/d; /^commit;$/d' sql/deploy/identities.sql`
\set revert `sed '/^begin;$/d; /^commit;$/d' sql/revert/identities.sql`

-- As it is before the change, with what older tools may have left. Several tasks for one platform can be there only where
-- the index was missing.
:revert
set local client_min_messages = warning;
drop index settle.idx_platform_insights_user_platform;
insert into settle.monitoring_tasks (id, task_title) values (1, 'a'), (2, 'b');
create temporary table cases (n serial, user_id integer, user_id_str text, after text, why text);
insert into cases (user_id, user_id_str, after, why)
values (null, 'anna', 'anna', 'a text stays'),
       (123, null, '123', 'a number becomes its text'),
       (0, null, '0', 'the number zero too'),
       (456, 'user_clerk_456', 'user_clerk_456', 'where both stand, the text'),
       (789, '789', '789', 'also where they agree'),
       (null, ' anna ', 'anna', 'blanks at the ends go'),
       (7, '   ', '7', 'nothing but blanks is no name'),
       (null, '  ', null, 'and where there is no number either, it is nobody''s'),
       (-5, null, null, 'a negative number names nobody'),
       (null, null, null, 'and no name nobody'),
       (null, 'Anna', 'Anna', 'case tells names apart'),
       (null, '007', '007', 'a text of digits is a text');
insert into settle.task_execution_logs (id, task_id, user_id, user_id_str, status)
select n, 1, user_id, user_id_str, 'success' from cases;
insert into settle.platform_insights_tasks (user_id, platform, status)
values ('anna', 'gsc', 'active'), ('anna', 'gsc', 'failed'), (' anna', 'gsc', 'paused'), ('anna', 'bing', 'active'),
       ('Anna', 'gsc', 'active'), (' bert ', 'gsc', 'active'), ('  ', 'gsc', 'active');
insert into settle.platform_insights_execution_logs (task_id, status, data_source, execution_time_ms)
select id, 'success', 'api', row_number() over (order by id) from settle.platform_insights_tasks;

-- Its owner need be no superuser.
create role owner_of_the_tests;
grant usage, create on schema settle to owner_of_the_tests;
grant insert on settle.schema_version to owner_of_the_tests;
alter table settle.task_execution_logs owner to owner_of_the_tests;
alter table settle.platform_insights_tasks owner to owner_of_the_tests;
alter table settle.platform_insights_execution_logs owner to owner_of_the_tests;
set local role owner_of_the_tests;
select is_empty('select from settle.task_execution_logs', 'policies hide the rows from an owner whom none of them names');
:deploy
reset role;
select is((select user_id_str from settle.task_execution_logs as l where l.id = n), after, why)
from cases
order by n;
select results_eq(
  $$select user_id collate "default", platform collate "default", status collate "default" from settle.platform_insights_tasks order by id$$,
  $$values ('anna', 'gsc', 'active'), ('anna', 'bing', 'active'), ('Anna', 'gsc', 'active'), ('bert', 'gsc', 'active')$$,
  'of several tasks for one platform the oldest stays');
select results_eq(
  $$select t.user_id collate "default", t.platform collate "default", array_agg(l.execution_time_ms order by l.id)
    from settle.platform_insights_execution_logs as l
    join settle.platform_insights_tasks as t on t.id = l.task_id
    group by t.id
    order by t.id$$,
  $$values ('anna', 'gsc', '{1,2,3}'::bigint[]), ('anna', 'bing', '{4}'), ('Anna', 'gsc', '{5}'), ('bert', 'gsc', '{6}')$$,
  'with what all of them have done');
select throws_ok(
  $$insert into settle.platform_insights_tasks (user_id, platform) values ('anna', 'gsc')$$, '23505', null, 'no second can come');
select throws_ok(
  $$insert into settle.platform_insights_tasks (user_id, platform) values ('anna ', 'gsc')$$, '23514', null,
  'nor one by another form of its name');
select bag_eq(
  $$select relname::text from pg_class where relnamespace = 'settle'::regnamespace and relforcerowsecurity
      and relname in ('task_execution_logs', 'platform_insights_tasks', 'platform_insights_execution_logs')$$,
  array['task_execution_logs', 'platform_insights_tasks', 'platform_insights_execution_logs'], 'row level security is forced again');

-- What older tools write from then on.
insert into settle.task_execution_logs (id, task_id, user_id, user_id_str, status)
values (101, 2, 42, null, 'success'), (102, 2, null, ' carl ', 'failed'), (103, 2, -1, null, 'success');
set local role settle_maintain;
create temporary table counted (read, wanted, mended, last, with_text, with_number, same, number_alone, none, differ, sees_all)
as execute identity_count(100, null);
select results_eq('table counted', $$values (15::bigint, 2::bigint, 0::bigint, '103', 10::bigint, 8::bigint, 4::bigint, 3::bigint,
                                             2::bigint, 1::bigint, true)$$,
                  'what is there is counted');
create temporary table first (read, wanted, mended, last, with_text, with_number, same, number_alone, none, differ, sees_all)
as execute identity_mend(14, null);
create temporary table second (read, wanted, mended, last, with_text, with_number, same, number_alone, none, differ, sees_all)
as execute identity_mend(14, '102');
select results_eq('table first union all table second', $$values (14::bigint, 2::bigint, 2::bigint, '102', 11::bigint, 7::bigint, 5::bigint, 1::bigint,
                                             2::bigint, 1::bigint, true),
                                            (1, 0, 0, '103', 0, 1, 0, 1, 0, 0, true)$$,
                  'in chunks each gets its name');
create temporary table again (read, wanted, mended, last, with_text, with_number, same, number_alone, none, differ, sees_all)
as execute identity_mend(100, null);
select results_eq('select read, wanted, mended from again', $$values (15::bigint, 0::bigint, 0::bigint)$$, 'once');
reset role;

-- What hides rows is not taken for a table without them.
drop policy programs on settle.task_execution_logs;
set local role settle_maintain;
create temporary table hidden (read, wanted, mended, last, with_text, with_number, same, number_alone, none, differ, sees_all)
as execute identity_mend(100, null);
select results_eq('select read, sees_all from hidden', $$values (0::bigint, false)$$, 'a policy that is gone is noticed');
reset role;

-- Who sees what.
set local role settle_tenant;
select set_config('settle.tenant', '456', true);
select is_empty('select from settle.task_execution_logs', 'a number that stands beside a text shows its row to nobody');
select set_config('settle.tenant', '42', true);
select results_eq('select id from settle.task_execution_logs', array[101::bigint], 'one that stands alone does');
select set_config('settle.tenant', '-1', true);
select is_empty('select from settle.task_execution_logs', 'but no negative one');
reset role;

select * from finish();
rollback;
