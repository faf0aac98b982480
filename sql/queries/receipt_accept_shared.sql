-- receipt_accept_shared: as receipt_accept, for a batch with deliveries that hold several receipts. Their bytes are
-- stored once, with the first statement that stores a receipt of theirs; the receipts come with null headers and body.
-- $1 to $16 as receipt_accept
-- $17 id uuid[]  $18 source text[]  $19 platform text[]  $20 received_at timestamptz[]  $21 headers bytea[]  $22 body bytea[]
-- One row a receipt that was new: dedup_key, in no promised order. All receipts are inserted before the first delivery, and
-- each in key order: so two workers wait for each other and never deadlock. A delivery whose receipts were all known is
-- not stored: nothing would lead to it.
with stored as (
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
  returning dedup_key, delivery_id
), kept as (
  -- Another statement may have stored it with other receipts of it. Without a target, because a target would have to be read.
  insert into settle.webhook_deliveries (id, source, platform, received_at, headers, body)
  select id, source, platform, received_at, headers, body
  from unnest($17::uuid[], $18::text[], $19::text[], $20::timestamptz[], $21::bytea[], $22::bytea[])
    as new (id, source, platform, received_at, headers, body)
  where id in (select delivery_id from stored)
  order by id, source
  on conflict do nothing
)
select dedup_key
from stored
