-- publication_walk: one page of open publications that are older than the window, oldest first, each with the
-- strongest of its receipts and what other tools have written of webhooks. A pending row comes only if it may have
-- evidence: it was not sent, so nothing can be missing.
-- $1 older than timestamptz  $2 updated_at timestamptz, $3 id uuid the page begins behind (null: at the oldest)
-- $4 platform text (null: any)  $5 limit bigint
-- Columns: as enum column in reconciler/page.h; the place is the row's own in the walk.
select o.updated_at, null::bytea, null::bigint,
       p.id, p.source, p.platform, p.status, p.external_post_id, p.updated_at, p.next_retry_at,
       p.extra_metadata ->> 'reconciliation_reason',
       p.extra_metadata ->> 'evidence_at',
       p.extra_metadata ->> 'evidence_key',
       coalesce(p.extra_metadata -> 'webhook_received' = 'true', false),
       coalesce(p.extra_metadata ->> 'webhook_status',
                case p.extra_metadata ->> 'complete' when 'true' then 'published' end),
       p.extra_metadata ->> 'webhook_timestamp',
       p.receipt_key, p.receipt_status, p.receipt_decisive, p.receipt_time, p.receipt_received_at, p.receipt_url,
       left(p.receipt_reason, 1000), p.receipt_extras
from settle.publish_open as o
join settle.publication_evidence as p using (id, source)
where o.updated_at < $1::timestamptz
  and (o.updated_at, o.id) > (coalesce($2::timestamptz, '-infinity'),
                              coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
  and ($4::text is null or o.platform = $4)
  and (o.status <> 'pending' or p.external_post_id is not null or p.extra_metadata ? 'webhook_received')
order by o.updated_at, o.id
limit $5::bigint
