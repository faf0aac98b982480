-- receipt_accept: stores one batch of receipts; a receipt already stored stays as it is.
-- $1 dedup_key bytea[]  $2 source text[]  $3 platform text[]  $4 delivery_id uuid[]  $5 external_post_id text[]
-- $6 event_status text[]  $7 decisive int2[]  $8 happened_at timestamptz[]  $9 received_at timestamptz[]  $10 url text[]
-- $11 reason text[]  $12 extras text[]  $13 parse_error text[]  $14 key_id text[]  $15 headers bytea[]  $16 body bytea[]
-- One row a receipt that was new: dedup_key, in no promised order. Inserted in key order, so that two workers with
-- the same receipts wait for each other and never deadlock.
insert into settle.webhook_receipts (
  dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at,
  url, reason, extras, parse_error, key_id, headers, body)
select
  dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at,
  url, reason, extras, parse_error, key_id, headers, body
from unnest(
    $1::bytea[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::int2[], $8::timestamptz[],
    $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[], $16::bytea[])
  as new (
    dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at,
    url, reason, extras, parse_error, key_id, headers, body)
order by dedup_key, source
on conflict (dedup_key, source) do nothing
returning dedup_key
