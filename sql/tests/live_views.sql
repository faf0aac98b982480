-- publish_logs_live: extra_metadata with the word of the strongest receipt, whatever came in and in whatever order.
begin;
create extension if not exists pgtap;
select plan(24);

create function pg_temp.key(n int) returns bytea language sql as $$
  select decode(lpad(to_hex(n), 64, '0'), 'hex')
$$;

-- p1 .. p9 of tiktok; times are minutes after midnight.
create procedure pg_temp.receive(post text, n int, decisive int, event_status text, happened int, received int,
                                 extras text default null, parse_error text default null, platform text default 'tiktok',
                                 source text default 'default')
language sql as $$
  insert into settle.webhook_receipts (
    dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at, extras,
    parse_error)
  values (pg_temp.key(n), source, platform, gen_random_uuid(), post, event_status, decisive,
          timestamptz '2026-11-21 00:00+00' + happened * interval '1 minute',
          timestamptz '2026-11-21 00:00+00' + received * interval '1 minute', extras, parse_error)
$$;
create function pg_temp.live(post text) returns jsonb language sql stable as $$
  select extra_metadata from settle.publish_logs_live where external_post_id = post
$$;
create function pg_temp.speaks(post text) returns bytea language sql stable as $$
  select receipt_key from settle.publication_evidence where external_post_id = post
$$;

insert into settle.publish_logs (platform, user_id_str, external_post_id, extra_metadata)
select 'tiktok', 'anna', 'p' || n, '{"campaign": "autumn", "task_id": "old"}'
from generate_series(1, 20) as n;

select is(pg_temp.live('p1'), '{"campaign": "autumn", "task_id": "old"}'::jsonb, 'no receipt: as stored');
select is((select receipt_key from settle.publication_evidence where external_post_id = 'p1'), null, 'and no evidence');

call pg_temp.receive('p2', 200, 1, 'published', 1, 2, '{"task_id": "new", "complete": true}');
select is(
  pg_temp.live('p2'),
  '{"campaign": "autumn", "task_id": "new", "complete": true, "webhook_received": true, "webhook_status": "published",
    "webhook_post_id": "p2", "webhook_platform": "tiktok", "webhook_timestamp": "2026-11-21T00:02:00.000000Z"}'::jsonb,
  'one receipt: its fields are merged, what the row had besides stays');
select is((select extra_metadata from settle.publish_logs where external_post_id = 'p2'),
          '{"campaign": "autumn", "task_id": "old"}'::jsonb, 'the row itself is untouched');

-- decisive before unclear, later time, larger key
call pg_temp.receive('p3', 301, 1, 'published', 1, 1);
call pg_temp.receive('p3', 302, 0, 'processing', 5, 5);
select is(pg_temp.speaks('p3'), pg_temp.key(301), 'a decisive receipt before a later unclear one');
call pg_temp.receive('p4', 401, -1, 'failed', 7, 7);
call pg_temp.receive('p4', 402, 1, 'published', 6, 9);
select is(pg_temp.speaks('p4'), pg_temp.key(401), 'of two decisive ones the later platform time, not the later arrival');
call pg_temp.receive('p5', 501, -1, 'failed', 5, 5);
call pg_temp.receive('p5', 502, 1, 'published', null, 6);
select is(pg_temp.speaks('p5'), pg_temp.key(502), 'an event without its own time counts by its arrival');
call pg_temp.receive('p6', 602, 1, 'published', 5, 5);
call pg_temp.receive('p6', 601, -1, 'failed', 5, 6);
select is(pg_temp.speaks('p6'), pg_temp.key(602), 'at the same time the larger key');
call pg_temp.receive('p7', 701, 0, 'a', 5, 5);
call pg_temp.receive('p7', 702, 0, 'b', 4, 6);
select is(pg_temp.speaks('p7'), pg_temp.key(701), 'among unclear ones the later time too');

-- what must not speak
call pg_temp.receive('p8', 801, 1, 'published', 9, 9, null, 'not JSON');
select is(pg_temp.speaks('p8'), null, 'a receipt that could not be parsed says nothing');
call pg_temp.receive('p8', 802, 0, 'processing', 1, 1);
select is(pg_temp.speaks('p8'), pg_temp.key(802), 'nor does it hide one that could');
call pg_temp.receive('p9', 901, 1, 'published', 1, 1, platform => 'instagram');
call pg_temp.receive('p9', 902, 1, 'published', 1, 1, source => 'other-app');
select is(pg_temp.speaks('p9'), null, 'another platform or source never speaks');
insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'nopost');
call pg_temp.receive(null, 1000, 1, 'published', 1, 1);
select is((select receipt_key from settle.publication_evidence where user_id_str = 'nopost'), null,
          'a row without a post and a receipt without one are strangers');

-- a receipt without a status word
call pg_temp.receive('p10', 1001, 0, null, 1, 1);
select is(pg_temp.live('p10') ->> 'webhook_received', 'true', 'a receipt without a status is received');
select is(pg_temp.live('p10') -> 'webhook_status', 'null', 'and has none');

-- extras that are no JSON object, or that jsonb refuses, count as empty and hide nothing
do $$
declare
  bad text[] := array['{"media_url": "\u0000"}', '{"a": "\ud800"}', '{', '[1]', 'null', '1', repeat('[', 100000)];
begin
  for n in 1 .. cardinality(bad) loop
    call pg_temp.receive('p' || 10 + n, 1100 + n, 1, 'published', 1, 1, bad[n]);
  end loop;
end
$$;
select is(pg_temp.live('p' || 10 + n) - array['webhook_timestamp', 'webhook_post_id'],
          '{"campaign": "autumn", "task_id": "old", "webhook_received": true, "webhook_status": "published",
            "webhook_platform": "tiktok"}'::jsonb,
          'bad extras count as empty: ' || what)
from unnest(array['a null character', 'half a surrogate', 'cut short', 'an array', 'null', 'a number', 'too deep'])
  with ordinality as cases (what, n);

select is((select count(*) from settle.publish_logs_live), 21::bigint, 'each publication is shown once');
select is((select count(*) from settle.publish_logs_live where extra_metadata @> '{"webhook_status": "published"}'), 11::bigint,
          'and the view can be searched whatever it holds');

select * from finish();
rollback;
