-- log_get: one publication with what its receipts say, and what happened to it in order of time.
-- $1 id uuid
-- One row: HTTP status, JSON text, null; none if there is no such publication.
with log as (
  select *
  from settle.publish_logs_live
  where id = $1::uuid
  order by source
  limit 1
), came as (
  select r.*
  from log
  join settle.webhook_receipts as r using (external_post_id, platform, source)
  order by r.received_at desc, r.dedup_key desc
  limit 500
), named as materialized (
  -- A cast of a column in the join would keep it behind the policy of a tenant, and so away from the index.
  select id::text as entity_id, source
  from log
), done as (
  select l.*
  from named
  join settle.social_sync_ledger as l
    on l.entity_id = named.entity_id and l.entity_type = 'publish_log' and l.source = named.source
  order by l.timestamp desc, l.seq desc
  limit 500
), timeline as (
  select received_at as at, 0 as place,
         json_build_object('at', received_at, 'kind', 'receipt', 'receipt_id', encode(dedup_key, 'hex'),
                           'status', event_status, 'decisive', decisive, 'happened_at', happened_at,
                           'stored_at', stored_at, 'url', url, 'reason', reason, 'parse_error', parse_error,
                           'delivery_id', delivery_id, 'key_id', key_id) as entry
  from came
  union all
  select timestamp, seq,
         json_build_object('at', timestamp, 'kind', 'ledger', 'event_type', event_type, 'severity', severity,
                           'actor', actor, 'run_id', run_id, 'receipt_id', encode(receipt_id, 'hex'),
                           'metadata', metadata)
  from done
)
select 200 as status,
       json_build_object('publication', row_to_json(log),
                         'timeline', coalesce((select json_agg(entry order by at, place) from timeline), '[]'),
                         'timeline_truncated', (select count(*) from came) = 500 or (select count(*) from done) = 500)::text
         as body,
       null as cursor
from log
