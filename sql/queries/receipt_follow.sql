-- receipt_follow: one page of receipts in the order of their storing, and the publications that they may move:
-- settled ones, and open ones old enough to be settled by evidence. Each publication once, with the strongest of all
-- its receipts, or a decisive report about the same post that is stronger. The lateral joins with a limit keep the planner
-- from reading a whole table for one page.
-- $1 stored_at timestamptz, $2 dedup_key bytea that the page begins behind  $3 up to timestamptz
-- $4 open rows older than timestamptz  $5 platform text (null: any)  $6 limit bigint
-- Columns: as enum column in reconciler/page.h, the place being where the page of receipts ends; no row if no receipt is
-- left, one without publication if none may move.
with page as materialized (
  select stored_at, dedup_key, external_post_id, platform, source,
         decisive <> 0 and parse_error is null and ($5::text is null or platform = $5) as speaks
  from settle.webhook_receipts
  where (stored_at, dedup_key) > ($1::timestamptz, $2::bytea)
    and stored_at <= $3::timestamptz
  order by stored_at, dedup_key
  limit $6::bigint
), page_end as (
  select stored_at, dedup_key, (select count(*) from page) as nreceipts
  from page
  order by stored_at desc, dedup_key desc
  limit 1
), moved as (
  select p.*
  from (
    select distinct external_post_id, platform, source
    from page
    where speaks and external_post_id is not null
  ) as named
  cross join lateral (
    select *
    from settle.publication_evidence
    where external_post_id = named.external_post_id
      and platform = named.platform
      and source = named.source
      and case
            when status in ('pending', 'processing', 'retry') then updated_at < $4::timestamptz
            else status in ('success', 'failed') and extra_metadata ? 'reconciliation_reason'
          end
    limit 1
  ) as p
), told as (
  select distinct on (log_id, source, external_post_id)
         log_id, source, external_post_id as post, uuid_send(id) as told_key, status as told_status,
         decisive as told_decisive, coalesce(happened_at, reported_at) as told_time, reported_at as told_at,
         url as told_url, reason as told_reason, extras as told_extras, witness as told_witness
  from settle.publication_reports
  where log_id = any (array(select id from moved))
    and witness in ('poll', 'worker')
    and decisive <> 0
  order by log_id, source, external_post_id, coalesce(happened_at, reported_at) desc, uuid_send(id) desc
)
select page_end.stored_at, page_end.dedup_key, page_end.nreceipts,
       id, moved.source, platform, status, external_post_id, updated_at, next_retry_at, null::timestamptz, reason,
       evidence_at, evidence_key, noted, noted_status, noted_at,
       case when told_key is null then receipt_key else told_key end,
       case when told_key is null then receipt_status else told_status end,
       case when told_key is null then receipt_decisive else told_decisive end,
       case when told_key is null then receipt_time else told_time end,
       case when told_key is null then receipt_received_at else told_at end,
       case when told_key is null then receipt_url else told_url end,
       left(case when told_key is null then receipt_reason else told_reason end, 1000),
       case when told_key is null then receipt_extras else told_extras end,
       retry_count, max_retries, null::jsonb, false, -- this pass sends nothing back and asks nobody
       coalesce(told_witness, 'webhook')
from page_end
left join moved on true
left join told
  on told.log_id = id
  and told.source = moved.source
  and told.post = external_post_id
  and (coalesce(receipt_decisive, 0) = 0 or (told_time, told_key) > (receipt_time, receipt_key))
