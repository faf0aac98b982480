-- receipt_get: one receipt with the exact bytes that came, as base64 and, where they are UTF-8, as text.
-- $1 dedup_key bytea
-- One row: HTTP status, JSON text, null; none if there is no such receipt.
with receipt as (
  select r.dedup_key, r.source, r.platform, r.delivery_id, r.external_post_id, r.event_status, r.decisive,
         r.happened_at, r.received_at, r.stored_at, r.url, r.reason, r.extras, r.parse_error, r.key_id,
         coalesce(r.headers, d.headers) as headers,
         coalesce(r.body, d.body) as body
  from settle.webhook_receipts as r
  left join settle.webhook_deliveries as d on d.id = r.delivery_id and d.source = r.source
  where r.dedup_key = $1::bytea
  order by r.source
  limit 1
)
select 200 as status,
       json_build_object(
         'id', encode(r.dedup_key, 'hex'),
         'state', case
                    when r.parse_error is not null then 'unparsed'
                    when p.id is null then 'unmatched'
                    when r.received_at > p.settled_at then 'late'
                    else 'matched'
                  end,
         'platform', r.platform, 'source', r.source, 'external_post_id', r.external_post_id, 'publication_id', p.id,
         'status', r.event_status, 'decisive', r.decisive, 'happened_at', r.happened_at,
         'received_at', r.received_at, 'stored_at', r.stored_at, 'url', r.url, 'reason', r.reason,
         'extras', r.extras::json, 'parse_error', r.parse_error, 'delivery_id', r.delivery_id, 'key_id', r.key_id,
         'headers_text', convert_from(r.headers, 'LATIN1'), 'body_base64', translate(encode(r.body, 'base64'), E'\n', ''),
         'body_text', case
                        when bytes.are_utf8 then convert_from(r.body, 'UTF8')
                      end)::text as body,
       null as cursor
from receipt as r
cross join lateral (
  -- convert_from raises an error for bytes that are not UTF-8 and Postgres has no way to ask before: so the bytes,
  -- taken as Latin-1 (a character a byte), are held against the grammar of UTF-8 without NUL (RFC 3629, 4).
  select case
           when position('\x00'::bytea in r.body) > 0 then false
           else convert_from(r.body, 'LATIN1') ~ ('^(?:[\u0001-\u007f]|[\u00c2-\u00df][\u0080-\u00bf]'
             || '|\u00e0[\u00a0-\u00bf][\u0080-\u00bf]|[\u00e1-\u00ec\u00ee\u00ef][\u0080-\u00bf]{2}|\u00ed[\u0080-\u009f][\u0080-\u00bf]'
             || '|\u00f0[\u0090-\u00bf][\u0080-\u00bf]{2}|[\u00f1-\u00f3][\u0080-\u00bf]{3}|\u00f4[\u0080-\u008f][\u0080-\u00bf]{2})*$')
         end as are_utf8
) as bytes
left join settle.publish_logs as p using (external_post_id, platform, source)
