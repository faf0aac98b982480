-- refused_walk, refused_read, refused_take, refused_count, refused_forget, refused_excess, refused_trim: pages of one
-- source in order, what is taken leaves, what is old or too much is forgotten, each by the role that is for it.
begin;
create extension if not exists pgtap;
select plan(28);

\set statement `cat sql/queries/refused_walk.sql`
prepare refused_walk as :statement;
\set statement `cat sql/queries/refused_read.sql`
prepare refused_read as :statement;
\set statement `cat sql/queries/refused_excess.sql`
prepare refused_excess as :statement;
\set statement `cat sql/queries/refused_trim.sql`
prepare refused_trim as :statement;
\set statement `cat sql/queries/refused_trim_count.sql`
prepare refused_trim_count as :statement;
\set statement `cat sql/queries/refused_take.sql`
prepare refused_take as :statement;
\set statement `cat sql/queries/refused_count.sql`
prepare refused_count as :statement;
\set statement `cat sql/queries/refused_forget.sql`
prepare refused_forget as :statement;

create function pg_temp.id(n int) returns uuid language sql as $$
  select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid
$$;
create function pg_temp.walk_first(rows int) returns text language plpgsql as $$
declare
  found text := '';
  row record;
begin
  for row in execute format('execute refused_walk(%L, null, %L, null, %L, %s, 9999)', 'app', now(),
                            '00000000-0000-0000-0000-000000000000', rows)
  loop
    found := found || right(row.id::text, 1);
  end loop;
  return found;
end
$$;
-- What a page names: the last digits of its ids, one behind the other.
create function pg_temp.page(after int, rows int, bytes int, platform text default null, until interval default '0') returns text
language plpgsql as $$
declare
  found text := '';
  row record;
begin
  for row in execute format('execute refused_walk(%L, %L, %L, %L, %L, %s, %s)', 'app', platform, now() - until,
                            (select received_at from settle.refused_requests where id = pg_temp.id(after)),
                            pg_temp.id(after), rows, bytes)
  loop
    found := found || right(row.id::text, 1);
  end loop;
  return found;
end
$$;

-- The plan that a prepared statement gets when its values are not known, as one text.
create function pg_temp.plan_of(statement text) returns text language plpgsql as $$
declare
  lines text := '';
  line text;
begin
  for line in execute 'explain (costs off) execute ' || statement loop
    lines := lines || line || E'\n';
  end loop;
  return lines;
end
$$;

-- Five of one source, an hour apart, the larger number the newer; 100 bytes each. 4 is of another platform.
insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)
select pg_temp.id(n), 'app', case when n = 4 then 'youtube' else 'tiktok' end, now() - (10 - n) * interval '1 hour',
       'no_match', 'h', repeat('b', 100)::bytea
from generate_series(1, 5) as n;
insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)
values (pg_temp.id(6), 'other', 'tiktok', now() - interval '10 hours', 'no_match', 'h', 'b');

set local role settle_requarantine;
select is(pg_temp.page(0, 9, 9999), '12345', 'all of one source, oldest first');
select is(pg_temp.page(2, 9, 9999), '345', 'behind the last one seen');
select is(pg_temp.page(5, 9, 9999), '', 'nothing is behind the newest');
select is(pg_temp.page(0, 2, 9999), '12', 'at most so many rows');
select is(pg_temp.page(0, 9, 250), '123', 'bodies up to the bytes and the one that passes them');
select is(pg_temp.page(0, 9, 1), '1', 'one in any case: the walk always goes on');
select is(pg_temp.page(0, 9, 9999, 'youtube'), '4', 'of one platform');
select is(pg_temp.page(0, 9, 9999, null, '7 hours'), '123', 'what came later is not looked at');
select is(pg_temp.walk_first(3), '123', 'without a place it begins at the oldest');
select results_eq($$execute refused_read('00000000-0000-7000-8000-000000000004')$$,
  $$select 'youtube' collate "C", 'app' collate "C", received_at, 'no_match', null::text, 'h'::bytea, repeat('b', 100)::bytea
    from settle.refused_requests where id = pg_temp.id(4)$$, 'one of them, whole');
select is_empty($$execute refused_read('00000000-0000-7000-8000-000000000009')$$, 'one that is not there');
select lives_ok($$execute refused_take('app', array[pg_temp.id(2), pg_temp.id(6)])$$, 'what was taken in leaves');
reset role;
select results_eq('select id from settle.refused_requests order by id',
  'select pg_temp.id(n) from unnest(array[1, 3, 4, 5, 6]) as n', 'but nothing of another source');

set local role settle_maintain;
select results_eq('execute refused_count(7)', 'values (2::bigint)', 'older than seven hours are two; one is as old to the moment');
select lives_ok('execute refused_forget(7, 1)', 'a chunk is forgotten');
reset role;
select results_eq('select id from settle.refused_requests order by id',
  'select pg_temp.id(n) from unnest(array[1, 3, 4, 5]) as n', 'the oldest first');
set local role settle_maintain;
select lives_ok('execute refused_forget(7, 9)', 'and the rest');
reset role;
select results_eq('select id from settle.refused_requests order by id',
  'select pg_temp.id(n) from unnest(array[3, 4, 5]) as n', 'what is younger stays');

-- A page, a chunk costs what it reads, wherever it begins: the place is a bound of the index, no filter.
set local plan_cache_mode = force_generic_plan;
set local enable_seqscan = off;
set local enable_bitmapscan = off;
select matches(pg_temp.plan_of($$refused_walk('app', null, now(), null, '00000000-0000-0000-0000-000000000000', 9, 9)$$),
  'using refused_requests_source on refused_requests.*Index Cond: [^\n]*ROW\(received_at, id\) > ROW', 'a page begins at its place');
select matches(pg_temp.plan_of($$refused_trim('tiktok', 'app', 1, 9)$$),
  'Limit *\n *->  Index Scan using refused_requests_source on refused_requests', 'a chunk is read in the order of the index');
reset plan_cache_mode;
reset enable_seqscan;
reset enable_bitmapscan;

-- 512 bytes each beside headers and body: 4 of 256 KiB are a megabyte, to the byte.
delete from settle.refused_requests;
insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)
select pg_temp.id(n), 'app', platform, now() - (10 - n) * interval '1 hour', 'no_match', repeat('h', 100)::bytea,
       repeat('b', 262144 - 612)::bytea
from (values ('tiktok', 1, 4), ('youtube', 5, 9)) as sender (platform, first, last)
cross join lateral generate_series(first, last) as n;
insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)
values (pg_temp.id(10), 'more', 'tiktok', now(), 'no_match', '', repeat('b', 1048577)::bytea);
set local role settle_maintain;
select results_eq('execute refused_excess(1)',
  $$values ('tiktok' collate "C", 'more' collate "C", 513::bigint), ('youtube', 'app', 262144)$$, 'who has too much, and by how much');
select is_empty('execute refused_excess(2)', 'with more room, nobody');
select results_eq($$execute refused_trim_count('youtube', 'app', 262145)$$, 'values (2::bigint)', 'what would go');
select results_eq($$execute refused_trim('youtube', 'app', 262145, 1)$$, 'values (1::bigint, 262144::bigint)', 'a chunk');
reset role;
select results_eq('select id from settle.refused_requests order by id',
  'select pg_temp.id(n) from unnest(array[1, 2, 3, 4, 6, 7, 8, 9, 10]) as n', 'the oldest first');
set local role settle_maintain;
select results_eq($$execute refused_trim('youtube', 'app', 1, 9)$$, 'values (1::bigint, 262144::bigint)', 'and the rest');
select results_eq($$execute refused_trim('youtube', 'app', 0, 9)$$, 'values (0::bigint, 0::bigint)', 'no more than that');
reset role;
select results_eq('select id from settle.refused_requests order by id',
  'select pg_temp.id(n) from unnest(array[1, 2, 3, 4, 7, 8, 9, 10]) as n', 'of that sender alone');

select * from finish();
rollback;
