-- poll_due: what can be asked about is found behind any number of rows that cannot, a page at a time.
begin;
create extension if not exists pgtap;
select plan(8);

\set statement `cat sql/queries/poll_due.sql`
prepare poll_due (timestamptz, timestamptz, bytea, text, bigint, text[], timestamptz) as :statement;

insert into settle.platform_connections (user_id_str, platform, account, token, key_id, connected)
values ('u', 'tiktok', 'default', decode(repeat('ab', 64), 'hex'), '0123456789abcdef', true);
insert into settle.publish_logs (id, platform, user_id_str, status, external_post_id, updated_at)
select lpad(n::text, 32, '0')::uuid, case when n <= 25 then 'x' else 'tiktok' end, 'u',
       case n when 26 then 'pending' else 'processing' end, 'post-' || n, now() - interval '1 hour' + n * interval '1 second'
from generate_series(1, 28) as n;

-- $1, $2: the row that the page begins behind.
create function pg_temp.behind(n int) returns text language sql as $$
  select format('execute poll_due(now(), now() - interval ''1 hour'' + %s * interval ''1 second'', %L, null, 1, ''{tiktok}'', now())',
                n, '\x' || lpad(n::text, 32, '0'))
$$;
create function pg_temp.page(n int) returns table (place interval, more boolean, post text) language plpgsql as $$
declare
  r record;
begin
  for r in execute pg_temp.behind(n) loop
    place := r.place_at - now() + interval '1 hour';
    more := r.more;
    post := r.external_post_id;
    return next;
  end loop;
end
$$;

select results_eq('select * from pg_temp.page(0)', $$values (interval '20 seconds', true, null::text)$$,
  'twenty times the limit is looked at, and no more');
select results_eq('select * from pg_temp.page(20)', $$values (interval '27 seconds', true, 'post-27')$$,
  'the next page goes on behind them; a pending one is not asked about');
select results_eq('select * from pg_temp.page(27)', $$values (interval '28 seconds', true, 'post-28')$$, 'one by one');
select is_empty('select * from pg_temp.page(28)', 'until none is left');
select results_eq('select * from pg_temp.page(7)', $$values (interval '27 seconds', true, 'post-27')$$,
  'a page that is full ends with its last row');
insert into settle.publish_polls (id, source, external_post_id, asked_at, next_at, outcome, tries)
select id, source, external_post_id, now(), now() + interval '1 day', 'working', 1 from settle.publish_logs where external_post_id = 'post-28';
select results_eq('select * from pg_temp.page(27)', $$values (interval '28 seconds', true, null::text)$$,
  'what is to be asked again later is not due');
update settle.publish_polls set next_at = now() + interval '26 hours';
select results_eq('select * from pg_temp.page(27)', $$values (interval '28 seconds', true, 'post-28')$$,
  'unless that is later than can be, by a clock that was set back since');
delete from settle.publish_logs where platform = 'tiktok';
select is_empty('select * from pg_temp.page(7)', 'nothing behind the last row, nothing more');

select * from finish();
rollback;
