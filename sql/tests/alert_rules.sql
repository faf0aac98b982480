-- What rules go by, and what alert_judge makes of what they find.
begin;
create extension if not exists pgtap;
select plan(30);

\set judge_text `cat sql/queries/alert_judge.sql`
\set foresee_text `cat sql/queries/alert_foresee.sql`
\set drift_text `cat sql/queries/drift_note.sql`
\set gap_text `cat sql/queries/gap_note.sql`
\set find_text `cat sql/queries/gap_find.sql`
\set failed_text `cat sql/queries/rule_reconcile_failed.sql`
prepare judge as :judge_text;
prepare foresee as :foresee_text;
prepare drift_note as :drift_text;
prepare gap_note as :gap_text;
prepare gap_find as :find_text;
prepare failed as :failed_text;
create function pg_temp.judged(behind text, upto text, subjects text[]) returns text language sql as $$
  select format('execute judge(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L)', 'r', behind, upto, subjects, subjects,
                array_fill('{}'::text, array[cardinality(subjects)]), 'SYSTEM_HEALTH', 'MEDIUM', 'title', 'user',
                '00000000-0000-7000-8000-000000000001', 'cli')
$$;
create function pg_temp.alerts() returns setof text language sql as $$
  select concat_ws(' ', dedupe_key, status, occurrences) from settle.alerts order by dedupe_key, created_at
$$;

-- alert_judge: an alert a subject, within a range.
insert into settle.alerts (source, type, category, severity, dedupe_key, title, message)
values ('s', 'q', 'FRAUD', 'LOW', 'q:a', 't', 'm'), ('s', 'ra', 'FRAUD', 'LOW', 'ra:a', 't', 'm'),
       ('s', 'r', 'FRAUD', 'LOW', 'r', 't', 'm'), ('s', 'r_', 'FRAUD', 'LOW', 'r_:a', 't', 'm');
set local role settle_reconciler;
select results_eq(pg_temp.judged('', null, '{a,c,e}'), $$values (3::bigint, 0::bigint, 0::bigint, 0::bigint)$$,
                  'for whom a rule holds an alert opens');
select results_eq(
  $$select source, type, category, severity, subject_type, subject_id, user_id_str, title, message, resolved_by
    from settle.alerts where dedupe_key = 'r:a'$$,
  $$values ('settle-reconciler', 'r', 'SYSTEM_HEALTH', 'MEDIUM', 'user', 'a', 'a', 'title', 'a', null)$$, 'as it was found');
select results_eq(pg_temp.judged('', null, '{a,c,e}'), $$values (0::bigint, 3::bigint, 0::bigint, 0::bigint)$$, 'it is counted while it holds');
select results_eq(pg_temp.judged('', 'b', '{}'), $$values (0::bigint, 0::bigint, 0::bigint, 1::bigint)$$, 'and ends');
select results_eq(pg_temp.judged('c', 'd', '{}'), $$values (0::bigint, 0::bigint, 0::bigint, 0::bigint)$$,
                  'in the range alone: the one before it is not in it');
select results_eq(pg_temp.judged('b', 'c', '{}'), $$values (0::bigint, 0::bigint, 0::bigint, 1::bigint)$$, 'and its last is');
select results_eq(
  format('execute foresee(%L, %L, null, %L)', 'r', 'c', array['d']), $$values (1::bigint, 0::bigint, 0::bigint, 1::bigint)$$,
  'a dry run says the same');
select results_eq(pg_temp.judged('c', null, '{d}'), $$values (1::bigint, 0::bigint, 0::bigint, 1::bigint)$$, 'the last range has no end');
select results_eq(pg_temp.judged('', null, '{a,d}'), $$values (0::bigint, 1::bigint, 1::bigint, 0::bigint)$$,
                  'who was resolved just now is quiet');
select results_eq(
  format('execute foresee(%L, %L, null, %L)', 'r', '', array['a', 'd']), $$values (0::bigint, 1::bigint, 1::bigint, 0::bigint)$$,
  'and foreseen to be');
select results_eq(
  'select * from pg_temp.alerts()',
  array['q:a OPEN 1', 'r OPEN 1', 'r:a RESOLVED 2', 'r:c RESOLVED 2', 'r:d OPEN 2', 'r:e RESOLVED 2', 'r_:a OPEN 1', 'ra:a OPEN 1'],
  'alerts of other rules are left alone');
select results_eq(
  $$select event_type::text, count(*)::int from settle.social_sync_ledger where entity_type = 'alert' group by 1 order by 1$$,
  $$values ('alert_opened', 4), ('alert_resolved', 3)$$, 'each opening and each end is on record');
reset role;
update settle.alerts set resolved_at = case dedupe_key when 'r:a' then now() - interval '5 minutes' else now() + interval '1 day' end
where status = 'RESOLVED';
set local role settle_reconciler;
select results_eq(pg_temp.judged('', null, '{a,c,d}'), $$values (2::bigint, 1::bigint, 0::bigint, 0::bigint)$$,
                  'for five minutes; and a clock that was ahead keeps nobody quiet');

-- drift_note: since when.
select results_eq('execute drift_note(0, 0, 0, 0, 0, 0, 0, 5)', array[null::timestamptz], 'no drift has no time');
select results_eq('execute drift_note(1, 9, 9, 9, 9, 9, 9, 5)', array[null::timestamptz], 'nor has one cycle');
select results_eq('execute drift_note(-2, 0, 0, 0, 0, 0, 0, 5)', array[now()], 'two have, either way');
reset role;
update settle.scheduler_drift set drifted_since = now() - interval '1 hour';
set local role settle_reconciler;
select results_eq('execute drift_note(3, 0, 0, 0, 0, 0, 0, 5)', array[now() - interval '1 hour'], 'which is kept while it lasts');
select results_eq('execute drift_note(1, 0, 0, 0, 0, 0, 0, 5)', array[null::timestamptz], 'and forgotten when it ends');
reset role;
update settle.scheduler_drift set drifted_since = now() + interval '1 hour';
set local role settle_reconciler;
select results_eq('execute drift_note(3, 0, 0, 0, 0, 0, 0, 5)', array[now()], 'a time that has not come is none');

-- gap_find, gap_note.
reset role;
insert into settle.platform_connections (user_id_str, platform, account, connected)
values ('anna', 'gsc', 'a', true), ('anna', 'gsc', 'b', true), ('anna', 'bing', 'a', false), ('anna', 'tiktok', 'a', true),
       ('bert', 'gsc', 'a', true), ('bert', 'bing', 'a', true), ('cora', 'bing', 'a', false), ('dora', 'bing', 'a', true);
insert into settle.platform_insights_tasks (user_id, platform, status)
values ('anna', 'bing', 'active'), ('bert', 'gsc', 'active'), ('bert', 'bing', 'failed'), ('dora', 'bing', 'active');
set local role settle_reconciler;
select results_eq(
  $$execute gap_find('', 10)$$,
  $$values ('anna' collate "C", 1::bigint, 0::bigint), ('bert', 2, 1), ('dora', 1, 1)$$,
  'platforms count once, and only what is connected; a task of another platform does for none');
select results_eq($$execute gap_find('anna', 1)$$, $$values ('bert' collate "C", 2::bigint, 1::bigint)$$, 'a page of them');
select lives_ok($$execute gap_note('', null, '{anna,bert,dora}', '{1,2,1}', '{0,1,0}')$$, 'gaps are kept');
reset role;
update settle.insights_gaps
set since = case user_id_str when 'anna' then now() - interval '1 hour' else now() + interval '1 hour' end, seen_at = now() - interval '1 minute';
set local role settle_reconciler;
select lives_ok($$execute gap_note('', 'bert', '{anna,bert}', '{1,2}', '{0,1}')$$, 'and kept on');
select results_eq(
  'select user_id_str, seen_at - since from settle.insights_gaps order by 1',
  $$values ('anna' collate "C", interval '1 hour'), ('bert', interval '0'), ('dora', interval '-1 hour -1 minutes')$$,
  'with their time, unless it has not come; those of another range as they were');
select lives_ok($$execute gap_note('bert', null, '{}', '{}', '{}')$$, 'one that is closed');
select results_eq('select user_id_str from settle.insights_gaps order by 1', array['anna', 'bert'] collate "C", 'goes');

-- rule_reconcile_failed: whoever has had a failure is looked at, in pages of so many.
reset role;
insert into settle.job_runs (id, job_name, user_id_str, actor, trigger, status, holder, started_at, report)
select gen_random_uuid(), 'insights_reconcile', who, 'a', 'api', status, 'api', now() - age * interval '1 minute',
       case status when 'failed' then '{"failures": [{"platform": "gsc"}]}' else '{"failures": []}' end::jsonb
from (values ('anna', 'failed', 9), ('anna', 'failed', 2), ('bert', 'failed', 2), ('bert', 'success', 1), ('cora', 'success', 1),
             ('dora', 'success', 9), ('dora', 'failed', 1)) as run (who, status, age);
create temporary table page as execute failed('', 10);
create temporary table small_page as execute failed('anna', 1);
select results_eq('select user_id_str, message is not null from page', $$values ('anna' collate "C", true), ('bert', false), ('dora', true)$$,
                  'the newest repair decides');
select results_eq('select user_id_str from small_page', array['bert'] collate "C", 'a page ends at its size, whether or not it holds');

set local role settle_tenant;
select set_config('settle.tenant', 'anna', true);
select throws_ok('select * from settle.insights_gaps', '42501', null, 'measurements are not for tenants');
select results_eq($$select count(*)::int from settle.alerts$$, array[0], 'nor are alerts of another');
reset role;

select * from finish();
rollback;
