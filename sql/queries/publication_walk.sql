-- publication_walk: one page of open publications that are older than the window, oldest first, each with the
-- strongest of its receipts, or a decisive report about the same post that is stronger (its row may have changed while the
-- platform was asked), and what other tools have written of webhooks. A pending row comes only if it may have evidence: it
-- was not sent, so nothing can be missing. The limit counts what is read, so that no page is long however
-- few of its rows are wanted; the lateral join with a limit keeps the planner from reading all receipts for one page. Reports
-- and leases are few and looked up for the page as a whole: by each of its rows reports would cost a quarter of the walk, and
-- leases, were they not materialized, twenty times the rest: the planner then looks for all ids of the page with each row.
-- $1 older than timestamptz  $2 updated_at timestamptz, $3 id bytea the page begins behind (null: at the oldest)
-- $4 platform text (null: any)  $5 limit bigint  $6 platforms that can be asked text[]
-- Columns: as enum column in reconciler/page.h, the place being where the page of open rows ends; no row if none is
-- left, one without publication if none is wanted.
with page as materialized (
  select id, source, platform, updated_at
  from settle.publish_open
  where updated_at < $1::timestamptz
    and (updated_at, id) > (coalesce($2::timestamptz, '-infinity'),
                            coalesce(encode($3::bytea, 'hex')::uuid, '00000000-0000-0000-0000-000000000000'))
  order by updated_at, id
  limit $5::bigint
), page_end as (
  select updated_at as place_at, uuid_send(id) as place_key, (select count(*) from page) as nread
  from page
  order by updated_at desc, id desc
  limit 1
), told as (
  select distinct on (log_id, source, external_post_id)
         log_id, source, external_post_id as post, uuid_send(id) as told_key, status as told_status,
         decisive as told_decisive, coalesce(happened_at, reported_at) as told_time, reported_at as told_at,
         url as told_url, reason as told_reason, extras as told_extras, witness as told_witness
  from settle.publication_reports
  where log_id = any (array(select id from page))
    and witness in ('poll', 'worker')
    and decisive <> 0
  order by log_id, source, external_post_id, coalesce(happened_at, reported_at) desc, uuid_send(id) desc
), leased as materialized (
  select id as leased_id, source as leased_source, settle.worker_lease(lease_until) as lease_until
  from settle.publish_leases
  where id = any (array(select id from page))
), wanted as (
  select p.*, lease_until,
         told_key, told_status, told_decisive, told_time, told_at, told_url, told_reason, told_extras, told_witness
  from page as o
  cross join lateral (
    select *,
           platform = any ($6::text[])
           and external_post_id is not null
           and exists (select
                       from settle.platform_connections as c
                       where c.user_id_str = evidence.user_id_str
                         and c.platform = evidence.platform
                         and c.account = coalesce(evidence.social_account_id::text, 'default')
                         and c.connected
                         and c.token is not null) as can_be_asked
    from settle.publication_evidence as evidence
    where id = o.id
      and source = o.source
    limit 1
  ) as p
  left join leased
    on leased_id = p.id
    and leased_source = p.source
  left join told
    on told.log_id = p.id
    and told.source = p.source
    and told.post = p.external_post_id
    and (coalesce(p.receipt_decisive, 0) = 0 or (told_time, told_key) > (p.receipt_time, p.receipt_key))
  where ($4::text is null or o.platform = $4)
    and (p.status <> 'pending' or p.external_post_id is not null or p.noted)
)
select place_at, place_key, nread,
       id, source, platform, status, external_post_id, updated_at,
       settle.next_try(next_retry_at, last_retry_at, extra_metadata ->> 'auto_retried_at'), lease_until, reason, evidence_at,
       evidence_key, noted, noted_status, noted_at,
       case when told_key is null then receipt_key else told_key end,
       case when told_key is null then receipt_status else told_status end,
       case when told_key is null then receipt_decisive else told_decisive end,
       case when told_key is null then receipt_time else told_time end,
       case when told_key is null then receipt_received_at else told_at end,
       case when told_key is null then receipt_url else told_url end,
       left(case when told_key is null then receipt_reason else told_reason end, 1000),
       case when told_key is null then receipt_extras else told_extras end,
       retry_count, max_retries, extra_metadata -> 'auto_retries', can_be_asked,
       coalesce(told_witness, 'webhook')
from page_end
left join wanted on true
order by updated_at, id
