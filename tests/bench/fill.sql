-- Fills a fresh schema with publications of the last 30 days, one in :every of them stale, spread over all pages.
-- psql variables: rows, every. Of 100 stale ones 70 have evidence: 60 success, 9 failure, 1 unclear; 5 of the
-- successes have an earlier unclear receipt too. The rest of all rows is settled, as a healthy table is.
-- Ids, times and most post ids grow together, as they do in life; YouTube's post ids are random.
\set ON_ERROR_STOP on
set synchronous_commit = off;
set maintenance_work_mem = '1GB';

create temp table index_to_build as
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
from pg_index
where indrelid in ('settle.publish_logs'::regclass, 'settle.webhook_receipts'::regclass)
  and not indisprimary;
select format('drop index %s', name) from index_to_build \gexec

create temp view planned as
select n,
       n % :every = 0 as stale,
       n / :every % 100 as kind,
       (array['instagram', 'tiktok', 'youtube'])[n % 3 + 1] as platform,
       case n % 3
         when 0 then '18' || lpad(n::text, 15, '0')
         when 1 then 'v_pub_url~v2.7' || lpad(n::text, 18, '0')
         else left(md5(n::text), 11)
       end as post,
       now() - interval '30 days' + (interval '30 days' - interval '2 hours') * (n::float8 / :rows) as requested_at
from generate_series(0, :rows - 1) as n;

insert into settle.publish_logs (
  id, platform, user_id_str, status, external_post_id, external_url, requested_at, published_at, settled_at,
  extra_metadata, created_at, updated_at)
select (lpad(to_hex((extract(epoch from requested_at) * 1000)::bigint), 12, '0')
         || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
       platform, 'user_' || n % 20000, case when stale then 'processing' else 'success' end, post,
       case when not stale then 'https://example.test/' || post end, requested_at,
       case when not stale then requested_at + interval '1 minute' end,
       case when not stale then requested_at + interval '1 minute' end,
       case when stale then '{"campaign": "spring", "worker": "w-7"}'::jsonb
            else '{"campaign": "spring", "worker": "w-7", "webhook_received": true, "webhook_status": "published",
                   "reconciled": true, "reconciliation_reason": "webhook_confirmed"}' end,
       requested_at, requested_at + interval '5 minutes' * random()
from planned
order by n;

insert into settle.webhook_receipts (
  dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at,
  stored_at, url, reason, extras, key_id, headers, body)
select sha256((n || '/' || turn)::bytea), 'default', platform, gen_random_uuid(), post,
       case when turn = 2 or kind = 69 then 'processing' when kind < 60 then 'published' else 'failed' end,
       case when turn = 2 or kind = 69 then 0 when kind < 60 then 1 else -1 end,
       requested_at + interval '1 minute' / turn, requested_at + interval '1 minute' / turn,
       requested_at + interval '1 minute' / turn,
       case when turn = 1 and kind < 60 then 'https://media.example/' || post end,
       case when turn = 1 and kind between 60 and 68 then 'the video is too long' end,
       case platform
         when 'tiktok' then '{"task_id": "t-' || n || '", "complete": ' || (turn = 1 and kind < 60) || '}'
         when 'youtube' then '{"videoId": "' || post || '"}'
       end,
       '0123456789abcdef', 'content-type: application/json'::bytea,
       convert_to(rpad('{"external_post_id": "' || post || '"', 399, ' ') || '}', 'UTF8')
from planned
cross join generate_series(1, 2) as turn
where stale
  and kind < case turn when 1 then 70 else 5 end
order by requested_at, turn;

select definition from index_to_build \gexec
vacuum analyze;
checkpoint;
