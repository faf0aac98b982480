-- receipt_publication: the publication that a receipt speaks of.
-- $1 dedup_key bytea
-- One row: id uuid, null if its post is no publication's; no row: there is no such receipt.
select (select p.id
        from settle.publish_logs as p
        where p.external_post_id = r.external_post_id
          and p.platform = r.platform
          and p.source = r.source
        limit 1)
from settle.webhook_receipts as r
where r.dedup_key = $1::bytea
order by r.source
limit 1
