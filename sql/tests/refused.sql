-- refused_walk, refused_take, refused_count, refused_forget: pages of one source in order, what is taken leaves, what is
-- old is forgotten, each by the role that is for it.
begin;
create extension if not exists pgtap;
select plan(15);

\set statement `cat sql/queries/refused_walk.sql`
prepare refused_walk as :statement;
\set statement `cat sql/queries/refused_take.sql`
prepare refused_take as :statement;
\set statement `cat sql/queries/refused_count.sql`
prepare refused_count as :statement;
\set statement `cat sql/queries/refused_forget.sql`
prepare refused_forget as :statement;

create function pg_temp.id(n int) returns uuid language sql as $$
  select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid
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

select * from finish();
rollback;
