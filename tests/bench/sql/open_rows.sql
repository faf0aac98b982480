-- open_rows: what it costs to find and settle open publications, and to register them.
--   psql -X -d DB -v rows=5000000 -v every=5 -v candidate=side -f tests/bench/sql/open_rows.sql
-- DB: an empty database into which sql/ has been deployed, in a cluster of its own with shared_buffers of 2 GB or more and
-- a long checkpoint_timeout; as superuser (it reads its own CPU time from /proc). Throw the database away afterwards.
-- rows: publications, one a second, of 1,000 tenants. every: each so many-th is stale, on every page of the table (0: none);
-- besides, 10,000 are open and young.
-- candidate: side    publish_open, as deployed
--            index   a partial index (updated_at, id) on publish_logs instead
--            walk    nothing: the primary key is walked
-- A chunk does what the reconciler does: reads 1,000 rows into arrays, then one statement updates them, guarded, and notes
-- them in the ledger. Output: milliseconds by the wall, CPU microseconds and WAL bytes a row of this backend's cluster.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
set client_min_messages = warning;
select :'candidate' = 'index' as is_index, :'candidate' = 'side' as is_side \gset

create schema bench;
create function bench.cpu_us() returns bigint language sql volatile as $$
  select split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint / 1000
$$;
create function bench.uuid7(ms bigint, n bigint) returns uuid language sql immutable as $$
  select (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid
$$;

alter table settle.publish_logs disable trigger user;
alter table settle.publish_logs set (autovacuum_enabled = off);
alter table settle.publish_open set (autovacuum_enabled = off);
alter table settle.social_sync_ledger set (autovacuum_enabled = off);
insert into settle.publish_logs (
  id, platform, user_id_str, clip_id, social_account_id, status, external_post_id, external_url, published_at, settled_at,
  idempotency_key, extra_metadata, created_at, updated_at)
select bench.uuid7((extract(epoch from born) * 1000)::bigint, n), (array['instagram', 'tiktok', 'youtube'])[1 + n % 3],
       'user-' || n % 1000, gen_random_uuid(), gen_random_uuid(),
       case when stale or young then 'processing' else 'success' end, substr(md5('post' || n), 1, 20),
       case when not (stale or young) then 'https://media.example/' || md5('post' || n) end,
       case when not (stale or young) then born end, case when not (stale or young) then born end,
       case when n % 2 = 0 then md5('key' || n) end,
       case
         when stale or young then '{"campaign": "autumn"}'
         else '{"campaign": "autumn", "media_url": "https://media.example/x", "reconciled": true,
                "reconciled_at": "2026-11-21T22:05:00Z", "webhook_status": "published", "webhook_platform": "instagram",
                "webhook_received": true, "webhook_timestamp": "2026-11-21T22:05:00Z",
                "reconciliation_reason": "webhook_confirmed"}'
       end::jsonb,
       born, case when young then now() + interval '1 day' else born + random() * interval '10 minutes' end
from generate_series(1, :rows) as n
cross join lateral (select now() - (:rows - n) * interval '1 second' - interval '1 hour', n > :rows - 10000,
                           n <= :rows - 10000 and :every > 0 and n % greatest(:every, 1) = 0) as row (born, young, stale);
\if :is_side
insert into settle.publish_open
select id, source, platform, status, updated_at, user_id_str
from settle.publish_logs
where status in ('pending', 'processing', 'retry');
alter table settle.publish_logs enable trigger user;
\elif :is_index
create index on settle.publish_logs (updated_at, id) where status in ('pending', 'processing', 'retry');
\endif
vacuum (analyze) settle.publish_logs, settle.publish_open;
checkpoint;

create procedure bench.settle(candidate text, inout report text default null) language plpgsql as $$
declare
  cutoff constant timestamptz := now() - interval '10 minutes';
  run constant uuid := gen_random_uuid();
  ids uuid[]; sources text[]; statuses text[]; changed timestamptz[]; events uuid[];
  after_changed timestamptz := '-infinity';
  after_id uuid := '00000000-0000-0000-0000-000000000000';
  nrows bigint := 0; chunk interval; first interval; longest interval := '0';
  began timestamptz; chunk_began timestamptz; cpu bigint; wal pg_lsn;
begin
  commit;
  began := clock_timestamp();
  cpu := bench.cpu_us();
  wal := pg_current_wal_insert_lsn();
  loop
    chunk_began := clock_timestamp();
    if candidate = 'side' then
      select array_agg(id), array_agg(source), array_agg(status), array_agg(updated_at)
      into ids, sources, statuses, changed
      from (
        select p.id, p.source, p.status, p.updated_at
        from settle.publish_open as open
        join settle.publish_logs as p using (id, source)
        where open.updated_at < cutoff and (open.updated_at, open.id) > (after_changed, after_id)
        order by open.updated_at, open.id
        limit 1000) as page;
    elsif candidate = 'index' then
      select array_agg(id), array_agg(source), array_agg(status), array_agg(updated_at)
      into ids, sources, statuses, changed
      from (
        select id, source, status, updated_at
        from settle.publish_logs
        where status in ('pending', 'processing', 'retry')
          and updated_at < cutoff and (updated_at, id) > (after_changed, after_id)
        order by updated_at, id
        limit 1000) as page;
    else
      select array_agg(id), array_agg(source), array_agg(status), array_agg(updated_at)
      into ids, sources, statuses, changed
      from (
        select id, source, status, updated_at
        from settle.publish_logs
        where status in ('pending', 'processing', 'retry') and updated_at < cutoff and id > after_id
        order by id
        limit 1000) as page;
    end if;
    if ids is not null then
      -- The programs bring these ids; made here they stand for any UUIDv7.
      select array_agg(bench.uuid7((extract(epoch from clock_timestamp()) * 1000)::bigint, (random() * 1e12)::bigint))
      into events
      from unnest(ids);
      with page as (
        select * from unnest(ids, sources, statuses, changed, events) as page (id, source, status, updated_at, event)
      ), written as (
        update settle.publish_logs as p
        set status = 'success',
            external_url = 'https://media.example/' || p.external_post_id,
            published_at = now(),
            settled_at = now(),
            updated_at = now(),
            extra_metadata = p.extra_metadata || jsonb_build_object(
              'media_url', 'https://media.example/x', 'webhook_received', true, 'webhook_platform', p.platform,
              'webhook_timestamp', '2026-11-21T22:05:00Z', 'webhook_status', 'published', 'reconciled', true,
              'reconciled_at', '2026-11-21T22:05:00Z', 'reconciliation_reason', 'webhook_confirmed')
        from page
        where p.id = page.id and p.source = page.source and p.status = page.status and p.updated_at = page.updated_at
        returning page.event, p.id, p.source, p.platform, p.external_post_id)
      insert into settle.social_sync_ledger (id, source, event_type, entity_type, entity_id, metadata, actor, run_id)
      select event, source, 'publish_reconciled', 'publish_log', id::text,
             jsonb_build_object('platform', platform, 'action', 'marked_success', 'reason', 'webhook_confirmed',
                                'external_post_id', external_post_id),
             'bench', run
      from written;
      nrows := nrows + cardinality(ids);
      after_id := ids[cardinality(ids)];
      after_changed := changed[cardinality(ids)];
    end if;
    commit;
    chunk := clock_timestamp() - chunk_began;
    first := coalesce(first, chunk);
    longest := greatest(longest, chunk);
    exit when ids is null or cardinality(ids) < 1000;
  end loop;
  report := format('%s rows, %s/s, first chunk %s ms, longest %s ms, %s us and %s B WAL a row', nrows,
    round(nrows / extract(epoch from clock_timestamp() - began)), round(1000 * extract(epoch from first), 1),
    round(1000 * extract(epoch from longest), 1), round((bench.cpu_us() - cpu)::numeric / greatest(nrows, 1), 1),
    round(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), wal) / greatest(nrows, 1)));
end
$$;

create procedure bench.register(nrows int, inout report text default null) language plpgsql as $$
declare
  ids uuid[]; cpu bigint; wal pg_lsn;
begin
  commit;
  select array_agg(bench.uuid7((extract(epoch from now()) * 1000)::bigint + n / 10, n) order by n) into ids
  from generate_series(1, nrows) as n;
  cpu := bench.cpu_us();
  wal := pg_current_wal_insert_lsn();
  for n in 1 .. nrows loop
    insert into settle.publish_logs (id, platform, user_id_str, status, external_post_id, idempotency_key, extra_metadata)
    values (ids[n], 'tiktok', 'user-' || n % 1000, 'processing', md5('bench' || ids[n]), md5('key' || ids[n]), '{"a": 1}');
  end loop;
  commit;
  report := format('%s rows, %s us and %s B WAL a row', nrows, round((bench.cpu_us() - cpu)::numeric / nrows, 1),
                   round(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), wal) / nrows));
end
$$;

\echo candidate :candidate, :rows rows, each :every-th stale
\echo register
call bench.register(20000);
call bench.register(20000);
\echo settle
call bench.settle(:'candidate');
\echo again, with nothing to do: at once, again, after a vacuum
call bench.settle(:'candidate');
call bench.settle(:'candidate');
vacuum (analyze) settle.publish_logs, settle.publish_open;
call bench.settle(:'candidate');
call bench.settle(:'candidate');
select format('HOT %s %% of %s updates', round(100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1), 1), n_tup_upd)
from pg_stat_user_tables
where relid = 'settle.publish_logs'::regclass;
