-- sql/queries/receipt_accept.sql, as the gateway runs it: each receipt once, facts as they came, no deadlock.
-- The last part uses connections of its own and removes what they left.
begin;
create extension if not exists pgtap;
create extension if not exists dblink;
select plan(8);

\set statement `cat sql/queries/receipt_accept.sql`
prepare receipt_accept as :statement;

create function pg_temp.key(n int) returns bytea language sql as $$
  select decode(lpad(to_hex(n), 64, '0'), 'hex')
$$;
-- A batch of receipts as text of an execute: their numbers in the order given.
create function pg_temp.batch(numbers int[], source text default 'default') returns text language sql as $$
  select format('execute receipt_accept(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L)',
                array_agg(pg_temp.key(n)), array_agg(source), array_agg('tiktok'::text),
                array_agg(('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid), array_agg('post-' || n),
                array_agg('published'::text), array_agg(1), array_agg(case when n % 2 = 0 then now() end), array_agg(now()),
                array_agg(null::text), array_agg(null::text), array_agg('{"n": ' || n || '}'), array_agg(null::text),
                array_agg('0'::text), array_agg('\x00'::bytea), array_agg('\x00ff'::bytea))
  from unnest(numbers) as n
$$;

set local role settle_gateway;
select results_eq(pg_temp.batch('{3,1,2}'), 'select pg_temp.key(n) from generate_series(1, 3) as n', 'new receipts are named');
select results_eq(pg_temp.batch('{4,2,4,3}'), 'select pg_temp.key(4)', 'one stored already is not, nor one twice in a batch');
select results_eq(pg_temp.batch('{1}', 'other-app'), 'select pg_temp.key(1)', 'another source has its own');
select is_empty(pg_temp.batch('{1,2,3,4}'), 'a batch of known ones is nothing new');
reset role;
select is((select count(*) from settle.webhook_receipts), 5::bigint, 'each is stored once');
select results_eq(
  $$select source collate "default", platform collate "default", delivery_id, external_post_id collate "default",
           event_status, decisive::int, happened_at, received_at = now(), stored_at = now(),
           url, reason, extras, parse_error, key_id, headers, body
    from settle.webhook_receipts
    where dedup_key = pg_temp.key(4)$$,
  $$values ('default', 'tiktok', '00000000-0000-7000-8000-000000000004'::uuid, 'post-4', 'published', 1, now(), true, true,
            null::text, null::text, '{"n": 4}', null::text, '0', '\x00'::bytea, '\x00ff'::bytea)$$, 'as it came');

-- Two workers with the same 64 receipts in opposite order, 100 times.
create procedure pg_temp.connect(name text, statement text) language plpgsql as $$
begin
  perform dblink_connect(name, format('host=%s port=%s dbname=%s user=%s',
    split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), session_user));
  perform dblink_exec(name, 'prepare receipt_accept as ' || statement);
end
$$;
-- Sends one batch on each connection at once and counts what both call new.
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

call pg_temp.connect('one', :'statement');
call pg_temp.connect('two', :'statement');
select is(
  (select array_agg(distinct pg_temp.race(
            pg_temp.batch((select array_agg(n order by n) from generate_series(round * 1000, round * 1000 + 63) as n), 'test'),
            pg_temp.batch((select array_agg(n order by n desc) from generate_series(round * 1000, round * 1000 + 63) as n), 'test')))
   from generate_series(1, 100) as round),
  array[64::bigint], 'two workers with the same 64 receipts in opposite order, 100 rounds: no deadlock, each stored once');
select is(dblink_exec('one', $$delete from settle.webhook_receipts where source = 'test'$$), 'DELETE 6400', 'cleaned up');
select dblink_disconnect('one'), dblink_disconnect('two');

select * from finish();
rollback;
