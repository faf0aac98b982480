-- Fills a fresh schema with the raw rows of :days days up to yesterday: of :rows two fifths are settled publications, two fifths their
-- webhooks, a fifth costs; 40 tenants on two platforms, so 80 aggregates a day.
\set ON_ERROR_STOP on
set synchronous_commit = off;
set maintenance_work_mem = '1GB';
set session_replication_role = replica; -- no marks, nothing open: what is here is older than all aggregates

create temp table index_to_build as
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
from pg_index
where indrelid in ('settle.publish_logs'::regclass, 'settle.webhook_receipts'::regclass, 'settle.cost_records'::regclass)
  and not indisprimary
  and not exists (select from pg_constraint where conindid = indexrelid);
select format('drop index %s', name) from index_to_build \gexec

create temp view planned as
select n, 'user_' || n % 40 as tenant, (array['instagram', 'tiktok'])[n / 40 % 2 + 1] as platform,
       date_trunc('day', now(), 'UTC') + (n::float8 / (:rows * 2 / 5) - 1) * :days * interval '1 day' as at
from generate_series(0, :rows * 2 / 5 - 1) as n;

insert into settle.publish_logs (id, platform, user_id_str, status, external_post_id, requested_at, settled_at, created_at, updated_at)
select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
         || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
       platform, tenant, case when n % 13 = 0 then 'failed' else 'success' end, 'post-' || n, at, at + interval '40 seconds', at,
       at + interval '40 seconds'
from planned
order by n;

insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive,
                                     received_at, stored_at, headers, body)
select int8send(n) || substr(sha256(n::text::bytea), 1, 24), 'default', platform, gen_random_uuid(), 'post-' || n, 'published', 1, at + interval '30 seconds',
       at + interval '30.02 seconds', 'content-type: application/json'::bytea, convert_to(rpad('{}', 400, ' '), 'UTF8')
from planned
order by n;

insert into settle.cost_records (user_id_str, platform, provider, model, input_tokens, output_tokens, cost, timestamp, idempotency_key)
select tenant, platform, 'provider', 'model', n % 2000, n % 300, (n % 9973) / 100000.0, at, 'key-' || n
from planned
where n % 2 = 0
order by n;

select definition from index_to_build \gexec
vacuum analyze;
checkpoint;
