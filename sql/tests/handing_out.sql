-- log_claim, publication_walk, _read, timeout_count: what a tenant is handed is found among everybody's many; a time of the next
-- try by a clock that was set back is none.
begin;
create extension if not exists pgtap;
select plan(12);

\set statement `cat sql/queries/log_claim.sql`
prepare claim (text, text, bigint, text, bigint, text, text) as :statement;
\set statement `cat sql/queries/publication_walk.sql`
prepare walk (timestamptz, timestamptz, bytea, text, bigint, text[]) as select next_try from (:statement) as page;
\set statement `cat sql/queries/publication_read.sql`
prepare read (uuid[], text[], text[], boolean) as select next_try from (:statement) as page;
\set statement `cat sql/queries/timeout_count.sql`
prepare timeouts (timestamptz, timestamptz, uuid, text, bigint, text[], timestamptz[], timestamptz[]) as :statement;
\set one '''0190a0a0-0000-7222-8333-444455556666'''

-- How long until the next try, as each statement sees it, and time-outs to come.
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
create function pg_temp.handed_out(platform text) returns integer language plpgsql as $$
declare
  status integer;
  body text;
begin
  execute format('execute claim(%L, ''default'', 10, ''b'', 60, ''a'', ''["published"]'')', platform) into status, body;
  return json_array_length(body::json -> 'items');
end
$$;

insert into settle.publish_logs (id, platform, user_id_str, status, updated_at)
values (:one, 'tiktok', 'u', 'retry', now() - interval '1 hour');

create function pg_temp.is_tried(in_time interval, after_failure_in interval, by_us boolean) returns void language sql as $$
  update settle.publish_logs
  set next_retry_at = now() + in_time,
      last_retry_at = case when not by_us then now() + after_failure_in end,
      extra_metadata = case when by_us then jsonb_build_object('auto_retried_at', now() + after_failure_in) else '{}' end
$$;
select pg_temp.is_tried('1 hour', '59 minutes 58 seconds', false);
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (interval '1 hour', interval '1 hour', 0::bigint)$$,
  'within an hour it is waited for');
reset role;
select pg_temp.is_tried('2 hours', '119 minutes', false);
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (null::interval, null::interval, 1::bigint)$$,
  'behind a failure that lies in the future it is none');
reset role;
select pg_temp.is_tried('2 hours', '119 minutes', true);
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (null::interval, null::interval, 1::bigint)$$,
  'nor behind a time-out of ours');
reset role;
select pg_temp.is_tried('2 hours', '118 minutes', false);
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (interval '2 hours', interval '2 hours', 0::bigint)$$,
  'one that no failure of ours leads to is somebody''s choice');
reset role;
update settle.publish_logs set extra_metadata = '{"auto_retried_at": "soon"}';
set local role settle_reconciler;
select results_eq('select * from pg_temp.seen()', $$values (interval '2 hours', interval '2 hours', 0::bigint)$$,
  'whatever somebody has noted beside it');
reset role;
set local role settle_operator;
select is(pg_temp.handed_out('tiktok'), 0, 'nobody is handed it');
reset role;
select pg_temp.is_tried('2 hours', '119 minutes', false);
set local role settle_operator;
select is(pg_temp.handed_out('tiktok'), 1, 'of the other anybody is');
reset role;
select is((select next_retry_at from settle.publish_logs), null, 'and then no try is to come');

-- A tenant's few among everybody's many.
insert into settle.publish_logs (platform, user_id_str)
select 'youtube', case when n % 1000 = 0 then 'anna' else 'user-' || n % 50 end
from generate_series(1, 5000) as n;
insert into settle.publish_logs (platform, user_id_str, status)
select 'youtube', 'anna', 'success'
from generate_series(1, 5000) as n;
analyze settle.publish_open, settle.publish_logs, settle.publish_leases;
create function pg_temp.plan() returns text language plpgsql as $$
declare
  line text;
  lines text := '';
begin
  for line in execute 'explain execute claim(''youtube'', ''default'', 10, ''b'', 60, ''a'', ''["published"]'')' loop
    lines := lines || line || chr(10);
  end loop;
  return lines;
end
$$;
select set_config('settle.tenant', 'anna', true);
set local role settle_tenant;
select matches(pg_temp.plan(), 'publish_open_tenant', 'a tenant''s are found by an index of their own');
select is(pg_temp.handed_out('youtube'), 5, 'and are these alone');
reset role;
set local role settle_operator;
select doesnt_match(pg_temp.plan(), 'Seq Scan on publish_(open|logs)', 'an operator''s in the order of one of all');
select is(pg_temp.handed_out('youtube'), 10, 'from the longest registered on');
reset role;

select * from finish();
rollback;
