-- job_runs and run_totals: whatever becomes of a run, what it has done is counted once; gauge_totals, gauge_runs,
-- gauge_last_run, gauge_unmatched show it.
begin;
create extension if not exists pgtap;
select plan(16);

\set statement `cat sql/queries/run_begin.sql`
prepare run_begin as :statement;
\set statement `cat sql/queries/run_progress.sql`
prepare run_progress as :statement;
\set statement `cat sql/queries/run_finish.sql`
prepare run_finish as :statement;
\set statement `cat sql/queries/run_skip.sql`
prepare run_skip as :statement;
\set statement `cat sql/queries/run_kill.sql`
prepare run_kill as :statement;
\set statement `cat sql/queries/gauge_totals.sql`
prepare gauge_totals as :statement;
\set statement `cat sql/queries/gauge_runs.sql`
prepare gauge_runs as :statement;
\set statement `cat sql/queries/gauge_last_run.sql`
prepare gauge_last_run as :statement;
\set statement `cat sql/queries/gauge_unmatched.sql`
prepare gauge_unmatched as :statement;
\set one '''0190a0a0-0000-7222-8333-444455556666'''
\set two '''0190a0a0-1111-7222-8333-444455556666'''
\set three '''0190a0a0-2222-7222-8333-444455556666'''

create temporary view totals as
select kind || ' ' || word || case platform when '' then '' else ' ' || platform end || ' ' || n as said
from settle.run_totals
where job_name = 'publications';
grant select on totals to public;

set local role settle_reconciler;
update settle.job_fences set epoch = 1 where name in ('publications', 'maintain');
execute run_begin(:one, 'publications', '{}', 'tests', 'manual', 'h:1:1', 1, now() - interval '3 minutes', '{publications,replay}');
select is_empty('select from totals', 'a run that begins has done nothing');
execute run_progress(:one, 3, '{"by_platform": {"tiktok": {"marked_success": 2, "marked_failed": 0, "skipped": 1, "corrected": 0,
  "marked_retry": 0, "by_reason": {"webhook_confirmed": 2}}}, "polls": {"asked": 1, "done": 0, "working": 1, "could_not_ask": {}}}');
select set_eq('select said from totals',
  array['result success tiktok 2', 'result skipped tiktok 1', 'reason webhook_confirmed tiktok 2', 'poll asked 1', 'poll working 1'],
  'what a batch has done counts with it');
execute run_progress(:one, 5, '{"by_platform": {"tiktok": {"marked_success": 3, "marked_failed": 0, "skipped": 1, "corrected": 0,
  "marked_retry": 0, "by_reason": {"webhook_confirmed": 3}}, "x": {"marked_failed": 1, "by_reason": {"webhook_timeout": 1}}},
  "polls": {"asked": 4, "done": 1, "working": 1, "could_not_ask": {"circuit_open": 2}}}');
select set_eq('select said from totals',
  array['result success tiktok 3', 'result skipped tiktok 1', 'reason webhook_confirmed tiktok 3', 'poll asked 4', 'poll working 1',
        'poll done 1', 'missing circuit_open 2', 'result failed x 1', 'reason webhook_timeout x 1'],
  'the next one counts with what it adds');
execute run_progress(:one, 5, '{"by_platform": 7, "polls": [], "x": null}');
select is((select n::int from settle.run_totals where kind = 'result' and word = 'success'), 3, 'what is no report harms nothing');
execute run_progress(:one, 5, '{"by_platform": {"tiktok": {"marked_success": "many", "by_reason": 1}}}');
select is((select n::int from settle.run_totals where kind = 'result' and word = 'success'), 3, 'nor what is no number');
update settle.job_fences set epoch = 2 where name = 'publications';
execute run_begin(:two, 'publications', '{}', 'tests', 'manual', 'h:2:2', 2, now() - interval '2 minutes', '{publications,replay}');
select is((select n::int from settle.run_totals where kind = 'outcome' and word = 'killed'), 1,
  'a run that lost its lock or was killed is counted by the next one');
execute run_finish(:two, 'failed', 'guard', 1, '{"by_platform": {"x": {"marked_failed": 1, "marked_success": 4, "skipped": 0,
  "corrected": 0, "marked_retry": 0}}}', 'guard', null);
execute run_finish(:two, 'failed', 'guard', 1, '{"by_platform": {"x": {"marked_failed": 1, "marked_success": 4, "skipped": 0,
  "corrected": 0, "marked_retry": 0}}}', 'guard', null);
select is((select n::int from settle.run_totals where kind = 'outcome' and word = 'guard'), 1, 'an end counts once');
select is((select n::int from settle.run_totals where kind = 'result' and word = 'failed' and platform = 'x'), 2,
  'and what that run has done besides');
execute run_skip(:three, 'publications', '{}', 'tests', 'manual', 'h:3:3');
select is((select n::int from settle.run_totals where kind = 'outcome' and word = 'lock_held'), 1, 'one that stood aside counts');
execute run_begin('0190a0a0-3333-7222-8333-444455556666', 'maintain', '{}', 'tests', 'manual', 'h:4:4', 1, now(), '{maintain}');
execute run_kill('0190a0a0-3333-7222-8333-444455556666', 'killed by signal 9');
select is((select n::int from settle.run_totals where job_name = 'maintain' and kind = 'outcome' and word = 'killed'), 1,
  'each job has its own');
set local role settle_maintain;
select lives_ok($$update settle.job_runs set report = '{"by_platform": {"x": {"skipped": 1}}}' where job_name = 'maintain'$$,
  'whoever writes runs may count');

set local role settle_operator;
select results_eq($$execute gauge_last_run$$, $$values ('x'::text, 4::float8, 1::float8, 0::float8, 0::float8, 0::float8, null::float8)$$,
  'the newest run that ended, not the one that stood aside');
reset role;
update settle.job_fences set holder = 'h', lease_until = now() + interval '1 minute' where name = 'maintain';
update settle.job_fences set holder = 'h', lease_until = now() - interval '1 second' where name = 'publications';
insert into settle.job_runs (id, job_name, actor, trigger, status, holder, started_at, finished_at, outcome)
values (gen_random_uuid(), 'publications', 'tests', 'manual', 'success', 'h', now() - interval '2 hours', now() - interval '1 hour', 'done');
insert into settle.job_fences (name) values ('aggregates:2024-02-29'); -- of a day: no job
set local role settle_operator;
select results_eq($$execute gauge_runs$$,
  $$select f.name, e.ended, e.good, e.took, coalesce(e.held, 0), coalesce(e.over, 0)
    from settle.job_fences f
    left join (values ('publications', extract(epoch from now())::float8, extract(epoch from now() - interval '1 hour')::float8, 3600::float8, 0::float8, 1::float8),
                 ('maintain', extract(epoch from now())::float8, null, null, 1, 0)) as e (name, ended, good, took, held, over) using (name)
    where f.name <> 'aggregates:2024-02-29'$$,
  'ends, the newest good one behind those that failed, and locks');
select ok((select count(*) = sum((n > 0)::int) from settle.run_totals), 'the API reads the totals');

reset role;
insert into settle.publish_logs (platform, user_id_str, external_post_id) values ('x', 'u', 'known');
insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, decisive, received_at, stored_at)
select sha256(convert_to(post || age, 'UTF8')), 'default', 'x', gen_random_uuid(), nullif(post, '-'), 1, now() - age, now() - age
from (values ('known', interval '73 hours'), ('unknown', '73 hours'), ('unknown', '71 hours'), ('unknown', '97 hours'),
             ('-', '73 hours'), ('other', '95 hours')) as receipt (post, age);
set local role settle_operator;
select results_eq($$execute gauge_unmatched$$, $$values ('x'::text collate "C", 2::float8)$$,
  'what came 72 to 96 hours ago, names a post, and is nobody''s');
select results_eq($$select count(*)::int from settle.run_totals where n < 0$$, 'values (0)', 'no count is below nothing');
select * from finish();
rollback;
