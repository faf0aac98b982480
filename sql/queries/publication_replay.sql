-- publication_replay: publications to be decided anew, each with the strongest of all that is said of it, webhooks as their
-- words are understood today: by id, or one page of receipts in the order of their storing. A publication comes with the
-- last of its receipts in the range, so once. The lateral joins with a limit keep the planner from reading a whole table.
-- $1 id uuid[] (null: by receipts)  $2 stored_at timestamptz, $3 dedup_key bytea the page begins behind (null: at the
-- oldest)  $4 stored before timestamptz  $5 platform text, $6 source text (null: any)  $7 limit bigint
-- $8 platform text[], $9 word text[], $10 decisive int2[]: what the words mean; others are unclear
-- $11 platforms that have such words text[]: of others a receipt keeps the meaning that it was stored with
-- Columns: as enum column in reconciler/page.h; then whether what the row rests on is stored boolean, and of the receipt that
-- is the strongest by the meaning it was stored with: time timestamptz, dedup_key bytea. The place is where the page of
-- receipts ends; no row if none is left, one without publication if none is wanted.
with word as materialized (
  select *
  from unnest($8::text[], $9::text[], $10::smallint[]) as w (platform, word, decisive)
), page as materialized (
  select stored_at, dedup_key, external_post_id, platform, source
  from settle.webhook_receipts
  where $1::uuid[] is null
    and (stored_at, dedup_key) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::bytea, ''))
    and stored_at < $4::timestamptz
  order by stored_at, dedup_key
  limit $7::bigint
), page_end as (
  (select stored_at as place_at, dedup_key as place_key, (select count(*) from page) as nread
   from page
   order by stored_at desc, dedup_key desc
   limit 1)
  union all
  select null, null, cardinality($1)
  where $1 is not null
), named as (
  select log.id, log.source
  from page
  left join lateral (
    select true as there
    from settle.webhook_receipts as r
    where r.external_post_id = page.external_post_id
      and r.platform = page.platform
      and r.source = page.source
      and (r.stored_at, r.dedup_key) > (page.stored_at, page.dedup_key)
      and r.stored_at < $4
    limit 1
  ) as later on true
  cross join lateral (
    select id, source
    from settle.publish_logs
    where external_post_id = page.external_post_id
      and platform = page.platform
      and source = page.source
    limit 1
  ) as log
  where later.there is null
    and ($5::text is null or page.platform = $5)
    and ($6::text is null or page.source = $6)
  union all
  select id, source
  from settle.publish_logs
  where id = any ($1)
    and ($5 is null or platform = $5)
    and ($6 is null or source = $6)
), wanted as (
  select e.*, s.*,
         exists (select
                 from settle.webhook_receipts as r
                 where r.external_post_id = e.external_post_id
                   and r.platform = e.platform
                   and r.source = e.source
                   and r.parse_error is null
                   and encode(r.dedup_key, 'hex') = e.evidence_key)
         or exists (select
                    from settle.publication_reports as r
                    where r.log_id = e.id
                      and r.source = e.source
                      and encode(uuid_send(r.id), 'hex') = e.evidence_key) as rests_on_known
  from named
  cross join lateral (
    select *
    from settle.publication_evidence as p
    where p.id = named.id
      and p.source = named.source
    limit 1
  ) as e
  left join lateral (
    select *
    from (
      (select r.dedup_key as said_key, r.event_status as said_status, today.decisive as said_decisive,
              coalesce(r.happened_at, r.received_at) as said_at, r.received_at as said_told_at, r.url as said_url,
              r.reason as said_reason, r.extras as said_extras, 'webhook' as said_witness
       from settle.webhook_receipts as r
       cross join lateral (
         select case
                  when r.platform = any ($11::text[]) then
                    coalesce((select w.decisive from word as w where w.platform = r.platform and w.word = r.event_status), 0)
                  else r.decisive
                end as decisive) as today
       where r.external_post_id = e.external_post_id
         and r.platform = e.platform
         and r.source = e.source
         and r.parse_error is null
       order by today.decisive <> 0 desc, coalesce(r.happened_at, r.received_at) desc, r.dedup_key desc
       limit 1)
      union all
      (select uuid_send(r.id), r.status, r.decisive, coalesce(r.happened_at, r.reported_at), r.reported_at, r.url, r.reason,
              r.extras, r.witness
       from settle.publication_reports as r
       where r.log_id = e.id
         and r.source = e.source
         and r.witness in ('poll', 'worker')
         and r.external_post_id is not distinct from e.external_post_id
       order by r.decisive <> 0 desc, coalesce(r.happened_at, r.reported_at) desc, uuid_send(r.id) desc
       limit 1)
    ) as said
    order by said_decisive <> 0 desc, said_at desc, said_key desc
    limit 1
  ) as s on true
)
select place_at, place_key, nread,
       id, source, platform, status, external_post_id, updated_at, next_retry_at, null::timestamptz, reason,
       evidence_at, evidence_key, noted, noted_status, noted_at,
       said_key, said_status, said_decisive, said_at, said_told_at, said_url, left(said_reason, 1000), said_extras,
       retry_count, max_retries, extra_metadata -> 'auto_retries', false, said_witness,
       rests_on_known,
       case when receipt_decisive <> 0 then receipt_time end,
       case when receipt_decisive <> 0 then receipt_key end
from page_end
left join wanted on true
order by source, id
