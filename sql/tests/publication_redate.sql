-- publication_redate: what a clock that was ahead has dated into the future counts from now; nothing else is touched.
begin;
create extension if not exists pgtap;
select plan(13);

\set statement `cat sql/queries/publication_redate.sql`
prepare redate (text, bigint, bigint) as :statement;
\set statement `cat sql/queries/redate_due.sql`
prepare due (text) as :statement;

create function pg_temp.dated() returns table (post text, updated_in interval, next_in interval) language sql as $$
  select external_post_id, updated_at - now(), next_retry_at - now()
  from settle.publish_logs
  order by external_post_id
$$;
create function pg_temp.redated(platform text, most bigint, leave bigint default 0) returns bigint language plpgsql as $$
declare
  n bigint;
begin
  execute format('execute redate(%L, %L, %L)', platform, most, leave) into n;
  return n;
end
$$;

insert into settle.publish_logs (platform, user_id_str, external_post_id, status, updated_at, next_retry_at)
select platform, 'u', post, status, now() + updated_in, now() + next_in
from (values
  ('tiktok', 'a long ago', 'processing', interval '-1 day', interval '-1 day'),
  ('tiktok', 'b an hour', 'processing', interval '1 hour', interval '1 hour'),
  ('tiktok', 'c a retry of then', 'retry', interval '2 hours', interval '2 hours 60 seconds'),
  ('tiktok', 'd an earlier retry', 'processing', interval '2 days', interval '47 hours'),
  ('tiktok', 'e a chosen time', 'retry', interval '2 days', interval '9 days'),
  ('tiktok', 'f of today', 'retry', interval '-1 minute', interval '9 days'),
  ('tiktok', 'g settled', 'success', interval '2 days', null),
  ('tiktok', 'h scheduled', 'scheduled', interval '2 days', interval '2 days'),
  ('youtube', 'i another', 'pending', interval '3 days', null)
) as row (platform, post, status, updated_in, next_in);
create temporary table before as select * from pg_temp.dated();

set local role settle_reconciler;
select results_eq($$execute due('youtube')$$, 'values (1::bigint)', 'there are some');
select results_eq($$execute due('x')$$, 'values (0::bigint)', 'of another platform there is none');
select is(pg_temp.redated('youtube', 10), 1::bigint, 'those of one platform');
select is(pg_temp.redated(null, 10, 3), 0::bigint, 'but not so many of the first');
select is(pg_temp.redated(null, 2), 2::bigint, 'at most so many at once');
select is(pg_temp.redated(null, 2), 1::bigint, 'the rest');
select is(pg_temp.redated(null, 2), 0::bigint, 'and none a second time');
select results_eq('execute due(null)', 'values (0::bigint)', 'nor is there any left');
reset role;
select results_eq($$select * from pg_temp.dated() where post ~ '^[cdei]'$$,
  $$values ('c a retry of then', interval '0', interval '60 seconds'), ('d an earlier retry', '0', '-1 hour'),
           ('e a chosen time', '0', '9 days'), ('i another', '0', null)$$,
  'they count from now; the next try moves with them, unless its time was somebody''s choice');
select results_eq($$select * from pg_temp.dated() where post !~ '^[cdei]'$$,
  $$select * from before where post !~ '^[cdei]'$$, 'what is right, settled or scheduled stays');
select set_eq('select id, updated_at from settle.publish_open',
  $$select id, updated_at from settle.publish_logs where status in ('pending', 'processing', 'retry')$$,
  'the side table follows');

insert into settle.publish_logs (platform, user_id_str, status, updated_at)
select 'tiktok', 'u', 'processing', now() - n * interval '1 second'
from generate_series(1, 5000) as n;
analyze settle.publish_open, settle.publish_logs;
create function pg_temp.plan() returns text language plpgsql as $$
declare
  line text;
  lines text := '';
begin
  for line in execute 'explain execute redate(null, 100, 0)' loop
    lines := lines || line || chr(10);
  end loop;
  return lines;
end
$$;
select matches(pg_temp.plan(), 'publish_open_walk', 'it reads the far end of the walk''s index');
select doesnt_match(pg_temp.plan(), 'Seq Scan', 'and nothing as a whole');

select * from finish();
rollback;
