-- sql/queries/receipt_accept_shared.sql, as the gateway runs it: the bytes of a delivery with several receipts stand in a
-- row of their own, once, in whatever pieces the receipts come. The last part uses connections of its own and removes
-- what they left.
begin;
create extension if not exists pgtap;
create extension if not exists dblink;
select plan(17);

\set statement `cat sql/queries/receipt_accept_shared.sql`
prepare receipt_accept_shared as :statement;

create function pg_temp.key(n int) returns bytea language sql as $$
  select decode(lpad(to_hex(n), 64, '0'), 'hex')
$$;
create function pg_temp.delivery(n int) returns uuid language sql as $$
  select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid
$$;
-- A batch as text of an execute: the receipts' numbers, the delivery of each, and which deliveries come with their bytes.
-- The receipts of the others bring their bytes themselves.
create function pg_temp.batch(numbers int[], deliveries int[], shared int[], source text default 'default') returns text language sql as $$
  select format('execute receipt_accept_shared(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L',
                array_agg(pg_temp.key(n)), array_agg(source), array_agg('tiktok'::text),
                array_agg(pg_temp.delivery(d)), array_agg('post-' || n),
                array_agg('published'::text), array_agg(1), array_agg(now()), array_agg(now()),
                array_agg(null::text), array_agg(null::text), array_agg(null::text), array_agg(null::text),
                array_agg('0'::text), array_agg(case when d <> all (shared) then '\x00'::bytea end),
                array_agg(case when d <> all (shared) then '\x00ff'::bytea end))
         || (select format(', %L, %L, %L, %L, %L, %L)',
                           array_agg(pg_temp.delivery(s)), array_agg(source), array_agg('tiktok'::text), array_agg(now()),
                           array_agg(convert_to('head: ' || s, 'UTF8')), array_agg(convert_to('body ' || s, 'UTF8')))
             from unnest(shared) as s)
  from unnest(numbers, deliveries) as new (n, d)
$$;

set local role settle_gateway;
select results_eq(pg_temp.batch('{3,1,2}', '{1,1,1}', '{1}'), 'select pg_temp.key(n) from generate_series(1, 3) as n',
                  'three receipts of one delivery are new');
select is_empty(pg_temp.batch('{3,1,2}', '{2,2,2}', '{2}'), 'sent once more: nothing is new');
select results_eq(pg_temp.batch('{4,5,6}', '{3,3,4}', '{3}'), 'select pg_temp.key(n) from generate_series(4, 6) as n',
                  'one with its bytes and a plain one in the same batch');
select results_eq(pg_temp.batch('{7}', '{3}', '{3}'), 'select pg_temp.key(7)', 'the rest of a delivery comes in another batch');
select results_eq(pg_temp.batch('{2,8}', '{5,5}', '{5}'), 'select pg_temp.key(8)', 'one known and one new receipt');
select results_eq(pg_temp.batch('{9,9}', '{6,7}', '{6,7}'), 'select pg_temp.key(9)',
                  'the same delivery twice in one batch: its receipt is new once');
select results_eq(pg_temp.batch('{10,11}', '{8,8}', '{8,8}'), 'select pg_temp.key(n) from generate_series(10, 11) as n',
                  'a delivery may be named twice');
select results_eq(pg_temp.batch('{1,12}', '{1,1}', '{1}', 'other-app'),
                  $$select pg_temp.key(n) from unnest('{1,12}'::int[]) as n$$, 'another source has its own');
select throws_ok('select body from settle.webhook_deliveries', '42501', null, 'the gateway cannot read them back');
select throws_ok('select body from settle.webhook_receipts', '42501', null, 'nor the plain ones');
reset role;

select results_eq(
  $$select source collate "default", right(id::text, 1)::int, platform collate "default", convert_from(headers, 'UTF8') collate "default",
           convert_from(body, 'UTF8') collate "default", received_at = now()
    from settle.webhook_deliveries
    where source <> 'other-app' and id <> all (select pg_temp.delivery(d) from generate_series(6, 7) as d)
    order by id$$,
  $$select 'default', d, 'tiktok', 'head: ' || d, 'body ' || d, true from unnest('{1,3,5,8}'::int[]) as d$$,
  'a delivery with a new receipt has one row, one whose receipts were known has none');
select is((select count(*) from settle.webhook_deliveries where id in (pg_temp.delivery(6), pg_temp.delivery(7))), 1::bigint,
          'of two with the same receipt the one that stored it');
select results_eq(
  'select source collate "default" from settle.webhook_deliveries where id = pg_temp.delivery(1) order by 1',
  $$values ('default'), ('other-app')$$, 'each source keeps its own bytes');
select is_empty(
  $$select r.dedup_key
    from settle.webhook_receipts as r
    left join settle.webhook_deliveries as d on d.id = r.delivery_id and d.source = r.source
    where (r.body is null) <> (d.body is not null) or (r.body is null) <> (r.headers is null)$$,
  'each receipt leads to bytes, and none has them twice');
select is((select count(*) from settle.webhook_receipts where body is not null), 1::bigint, 'the plain one keeps its own');

-- Two connections with the same 64 receipts of 16 deliveries in opposite order; in even rounds with a half of each
-- delivery, as two flights of one worker hold them.
create procedure pg_temp.connect(name text, statement text) language plpgsql as $$
begin
  perform dblink_connect(name, format('host=%s port=%s dbname=%s user=%s',
    split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), session_user));
  perform dblink_exec(name, 'prepare receipt_accept_shared as ' || statement);
end
$$;
create function pg_temp.race(one text, two text) returns bigint language plpgsql as $$
declare
  stored bigint := 0;
begin
  perform dblink_send_query('one', one), dblink_send_query('two', two);
  for name in 1 .. 2 loop
    stored := stored + (select count(*) from dblink_get_result((array['one', 'two'])[name]) as r (dedup_key bytea));
    perform from dblink_get_result((array['one', 'two'])[name]) as r (dedup_key bytea); -- the end, so that it can send again
  end loop;
  return stored;
end
$$;
create function pg_temp.half(round int, second bool) returns text language sql as $$
  select pg_temp.batch(array_agg(n order by case when second then -n else n end),
                       array_agg(n / 4 order by case when second then -n else n end),
                       (select array_agg(d order by case when second then -d else d end)
                        from generate_series(round * 1000 / 4, round * 1000 / 4 + 15) as d), 'test')
  from generate_series(round * 1000, round * 1000 + 63) as n
  where round % 2 = 1 or n % 2 = second::int
$$;

call pg_temp.connect('one', :'statement');
call pg_temp.connect('two', :'statement');
select is(
  (select array_agg(distinct pg_temp.race(pg_temp.half(round, false), pg_temp.half(round, true)))
   from generate_series(1, 100) as round),
  array[64::bigint], 'two workers with the same receipts or with halves of the same deliveries, 100 rounds: no deadlock, each stored once');
select is(dblink_exec('one', $$delete from settle.webhook_deliveries where source = 'test'$$), 'DELETE 1600', 'each delivery once; cleaned up');
select dblink_exec('one', $$delete from settle.webhook_receipts where source = 'test'$$);
select dblink_disconnect('one'), dblink_disconnect('two');

select * from finish();
rollback;
