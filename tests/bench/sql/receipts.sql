-- receipts: what it costs to store receipts in batches and to forget old ones, at a given number stored.
--   psql -X -d DB -v rows=10000000 -f tests/bench/sql/receipts.sql          (from the root of the checkout)
-- DB: an empty database into which sql/ has been deployed, in a cluster of its own with shared_buffers of 2 GB or more and
-- a long checkpoint_timeout; as superuser (it reads its own CPU time from /proc). Throw the database away afterwards.
-- rows: receipts stored before, over 34 days; 1 kB each (600 bytes of body). The statement is sql/queries/receipt_accept.sql
-- itself. Output: CPU microseconds and WAL bytes a row, milliseconds a batch by the wall, commit included.
-- "cold": right after a checkpoint, when each page touched for the first time goes to the WAL whole.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
set client_min_messages = warning;
\set statement `cat sql/queries/receipt_accept.sql`

create schema bench;
create function bench.cpu_us() returns bigint language sql volatile as $$
  select split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint / 1000
$$;
create function bench.body(n bigint) returns bytea language sql immutable parallel safe as $$
  select convert_to(
    rpad('{"external_post_id": "' || md5('post' || n) || '", "status": "published", "pad": "', 598, md5(n::text)) || '"}', 'UTF8')
$$;
create function bench.headers(n bigint) returns bytea language sql immutable parallel safe as $$
  select convert_to('content-type: application/json' || chr(10) || 'x-hub-signature-256: sha256=' || repeat(md5(n::text), 2), 'UTF8')
$$;
select format($$
  create function bench.accept(
    bytea[], text[], text[], uuid[], text[], text[], int2[], timestamptz[], timestamptz[], text[], text[], text[], text[], text[],
    bytea[], bytea[]) returns setof bytea language plpgsql as
  %L$$, 'begin return query ' || :'statement' || '; end') \gexec

alter table settle.webhook_receipts set (autovacuum_enabled = off);
insert into settle.webhook_receipts (
  dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at, stored_at,
  url, extras, key_id, headers, body)
select sha256(n::text::bytea), 'default', 'instagram', gen_random_uuid(), md5('post' || n), 'published', 1, at, at, at,
       'https://media.example/' || md5(n::text), '{"media_url": "https://media.example/x"}', '0',
       bench.headers(n), bench.body(n)
from generate_series(1, :rows) as n
cross join lateral (select now() - interval '34 days' + n * (interval '34 days' / :rows)) as moment (at);
vacuum (analyze) settle.webhook_receipts;

-- Batches ready to be sent, uncompressed.
create unlogged table bench.batches as
select size, no, array_agg(sha256(n::text::bytea)) as dedup_key, array_agg('default'::text) as source,
       array_agg('instagram'::text) as platform, array_agg(gen_random_uuid()) as delivery_id,
       array_agg(md5('post' || n)) as external_post_id, array_agg('published'::text) as event_status,
       array_agg(1::int2) as decisive, array_agg(now()) as at, array_agg('https://media.example/' || md5(n::text)) as url,
       array_agg(null::text) as nothing, array_agg('{"media_url": "https://media.example/x"}'::text) as extras,
       array_agg('0'::text) as key_id, array_agg(bench.headers(n)) as headers, array_agg(bench.body(n)) as body
from (values (32), (64)) as sizes (size)
cross join lateral generate_series(0, 256000 / size - 1) as no
cross join lateral (select -(size * 10000000::bigint + no * size + k) as n from generate_series(1, size) as k) as row
group by size, no
order by size, no;
create index on bench.batches (size, no);
analyze bench.batches;

create procedure bench.ingest(batch_size int, from_no int, to_no int, inout report text default null) language plpgsql as $$
declare
  b bench.batches; nrows bigint := 0; took float8[] := '{}'; began timestamptz; cpu bigint; wal pg_lsn;
begin
  commit;
  cpu := bench.cpu_us();
  wal := pg_current_wal_insert_lsn();
  for i in from_no .. to_no loop
    select * into b from bench.batches where size = batch_size and no = i;
    began := clock_timestamp();
    nrows := nrows + (
      select count(*)
      from bench.accept(
        b.dedup_key, b.source, b.platform, b.delivery_id, b.external_post_id, b.event_status, b.decisive, b.at, b.at, b.url,
        b.nothing, b.extras, b.nothing, b.key_id, b.headers, b.body));
    commit;
    took := took || (1000 * extract(epoch from clock_timestamp() - began))::float8;
  end loop;
  select format('%s rows in batches of %s: %s us and %s B WAL a row, batch p50 %s ms, p99 %s ms, longest %s ms',
           nrows, batch_size, round((bench.cpu_us() - cpu)::numeric / greatest(nrows, 1), 1),
           round(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), wal) / greatest(nrows, 1)),
           round((percentile_cont(0.5) within group (order by ms))::numeric, 1),
           round((percentile_cont(0.99) within group (order by ms))::numeric, 1), round(max(ms)::numeric, 1))
  into report
  from unnest(took) as ms;
end
$$;

-- The chunk of retention: the oldest first, found by stored_at, deleted by their place; never of an open publication.
create procedure bench.forget(before timestamptz, chunk int, inout report text default null) language plpgsql as $$
declare
  nrows bigint := 0; n bigint; began timestamptz; longest interval := '0'; cpu bigint; wal pg_lsn;
begin
  commit;
  cpu := bench.cpu_us();
  wal := pg_current_wal_insert_lsn();
  loop
    began := clock_timestamp();
    delete from settle.webhook_receipts
    where ctid = any (array(
      select r.ctid
      from settle.webhook_receipts as r
      where r.stored_at < before
        and not exists (
          select
          from settle.publish_logs as p
          join settle.publish_open as open using (id, source)
          where p.external_post_id = r.external_post_id and p.platform = r.platform and p.source = r.source)
      order by r.stored_at
      limit chunk));
    get diagnostics n = row_count;
    commit;
    nrows := nrows + n;
    longest := greatest(longest, clock_timestamp() - began);
    exit when n < chunk;
  end loop;
  report := format('%s rows in chunks of %s: %s us and %s B WAL a row, longest %s ms', nrows, chunk,
                   round((bench.cpu_us() - cpu)::numeric / greatest(nrows, 1), 1),
                   round(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), wal) / greatest(nrows, 1)),
                   round(1000 * extract(epoch from longest), 1));
end
$$;

\echo :rows receipts stored
checkpoint;
\echo cold
call bench.ingest(32, 0, 1999);
\echo then
call bench.ingest(32, 2000, 7999);
call bench.ingest(64, 0, 3999);
\echo forgetting a day
checkpoint;
call bench.forget(now() - interval '33 days', 5000);
select format('%s: %s bytes a receipt', relname, pg_relation_size(pg_class.oid) / (:rows + 512000))
from pg_class
where oid = 'settle.webhook_receipts'::regclass
   or oid in (select indexrelid from pg_index where indrelid = 'settle.webhook_receipts'::regclass)
order by relkind desc, relname;
