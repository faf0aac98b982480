-- publication_walk, _read, _explain, timeout_count, log_claim, schedule_read, status_read, gauge_runs, fence_acquire: a
-- lease that ends later than any could is of a clock that was set back since, and holds nothing.
begin;
create extension if not exists pgtap;
select plan(17);

\set statement `cat sql/queries/publication_walk.sql`
prepare walk (timestamptz, timestamptz, bytea, text, bigint, text[]) as select lease_until from (:statement) as page;
\set statement `cat sql/queries/publication_read.sql`
prepare read (uuid[], text[], text[], boolean) as select lease_until from (:statement) as page;
\set statement `cat sql/queries/timeout_count.sql`
prepare timeouts (timestamptz, timestamptz, uuid, text, bigint, text[], timestamptz[], timestamptz[]) as :statement;
\set statement `cat sql/queries/publication_explain.sql`
prepare explained (uuid) as :statement;
\set statement `cat sql/queries/log_claim.sql`
prepare claim (text, text, bigint, text, bigint, text, text) as :statement;
\set statement `cat sql/queries/schedule_read.sql`
prepare schedule_read as select alive from (:statement) as jobs;
\set statement `cat sql/queries/status_read.sql`
prepare status_read (bigint, bigint) as :statement;
\set statement `cat sql/queries/gauge_runs.sql`
prepare gauge_runs as select held, left_behind
from (:statement) as g (name, ended, good, took, held, left_behind) where name = 'publications';
\set statement `cat sql/queries/fence_acquire.sql`
prepare fence_acquire (text, text, bigint) as :statement;
\set one '''0190a0a0-0000-7222-8333-444455556666'''

insert into settle.publish_logs (id, platform, user_id_str, status, updated_at)
values (:one, 'tiktok', 'u', 'retry', now() - interval '1 hour');
insert into settle.publish_leases (id, source, platform, worker_id, lease_until)
values (:one, 'default', 'tiktok', 'w', now());

create function pg_temp.ends_in(lease interval) returns void language sql as $$
  update settle.publish_leases set lease_until = now() + lease
$$;
-- What each statement says of it: when the lease ends, time-outs to come, rows that are handed out.
create function pg_temp.seen() returns table (walk interval, read interval, timeouts bigint) language plpgsql as $$
declare
  word timestamptz;
  n bigint;
begin
  execute 'execute walk(now(), null, null, null, 10, ''{}'')' into word;
  walk := word - now();
  execute 'execute read(array[''0190a0a0-0000-7222-8333-444455556666''::uuid], null, ''{}'', false)' into word;
  read := word - now();
  execute 'execute timeouts(now(), null, null, null, 10, ''{}'', ''{}'', ''{}'')' into n, timeouts;
  return next;
end
$$;
create function pg_temp.answer(statement text, path text[]) returns text language plpgsql as $$
declare
  found text;
begin
  execute statement into found;
  return found::jsonb #>> path;
end
$$;
create function pg_temp.handed_out() returns integer language plpgsql as $$
declare
  status integer;
  body text;
begin
  execute 'execute claim(''tiktok'', ''default'', 10, ''b'', 60, ''a'', ''[]'')' into status, body;
  return json_array_length(body::json -> 'items');
end
$$;

select pg_temp.ends_in('24 hours');
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (interval '24 hours', interval '24 hours', 0::bigint)$$,
  'a lease of a day holds: the publication waits');
select is(pg_temp.answer(format('execute explained(%L)', :one), '{lease,worker_id}'), 'w', 'and its worker is named');
set local role settle_operator;
select is(pg_temp.handed_out(), 0, 'nor is it handed out');
reset role;
select pg_temp.ends_in('-1 hour');
select results_eq('select * from pg_temp.seen()', $$values (interval '-1 hour', interval '-1 hour', 1::bigint)$$,
  'one that is over is known with its end');

select pg_temp.ends_in('26 hours');
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (null::interval, null::interval, 1::bigint)$$,
  'one that ends later than any could is none');
select is(pg_temp.answer(format('execute explained(%L)', :one), '{lease}'), null, 'for people as well');
reset role;
update settle.publish_logs set status = 'processing';
set local role settle_operator;
select is(pg_temp.handed_out(), 0, 'nobody is thought silent for it: what was sent without a lease is the reconciler''s');
reset role;
update settle.publish_logs set status = 'retry';
set local role settle_operator;
select is(pg_temp.handed_out(), 1, 'what waits for its next try is handed out');
select is((select lease_until - now() from settle.publish_leases), interval '1 minute', 'with a lease of today''s clock');
reset role;

-- The same of a job's runner.
insert into settle.job_runs (id, job_name, status, actor, trigger, holder, fencing_token, started_at)
values (:one, 'publications', 'running', 'a', 'schedule', 'h', 7, now());
insert into settle.job_schedule (job, cron, next_due, running, running_since)
values ('publications', '* * * * *', now(), :one, now());
create function pg_temp.held_for(lease interval) returns void language sql as $$
  update settle.job_fences set epoch = 7, holder = 'h', lease_until = now() + lease where name in ('publications', 'serve')
$$;
create function pg_temp.taken() returns bigint language plpgsql as $$
declare
  epoch bigint;
  watermark timestamptz;
begin
  execute 'execute fence_acquire(''publications'', ''other'', 30000)' into epoch, watermark;
  return epoch;
end
$$;
select pg_temp.held_for('30 seconds');
set local role settle_reconciler;
select results_eq('execute schedule_read', $$values (true)$$, 'a run whose lock holds is alive');
select is(pg_temp.answer('execute status_read(10, 10)', '{scheduler,leader}'), 'h', 'its holder is shown');
select is(pg_temp.taken(), null, 'and keeps its fence');
set local role settle_operator;
select results_eq('execute gauge_runs', $$values (1::float8, 0::float8)$$, 'and counted');
reset role;

select pg_temp.held_for('2 minutes');
set local role settle_reconciler;
select results_eq('execute schedule_read', $$values (false)$$, 'a lock that would hold for longer than any can holds nothing');
select is(pg_temp.answer('execute status_read(10, 10)', '{scheduler,leader}'), null, 'there is no leader');
set local role settle_operator;
select results_eq('execute gauge_runs', $$values (0::float8, 1::float8)$$, 'it is one that was left behind');
set local role settle_maintain;
select is(pg_temp.taken(), 8::bigint, 'and another takes its place');

select * from finish();
rollback;
