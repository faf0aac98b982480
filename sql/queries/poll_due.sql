-- poll_due: one page of stale open publications whose platform can be asked about them and is due to be: those of which
-- nothing decisive is known and whose account has credentials. The limit counts what is read of these platforms; where
-- others' rows lie in between, no more than 20 times as many are looked at, so that no page is long.
-- $1 older than timestamptz  $2 updated_at timestamptz, $3 id bytea the page begins behind (null: at the oldest)
-- $4 platform text (null: any)  $5 limit bigint  $6 platforms that can be asked text[]  $7 now timestamptz
-- Columns: place timestamptz and bytea, bool whether more may follow; then of each: id, source, platform,
-- external_post_id, user_id_str, account, tries bigint. No row if none is left, one without publication if none is due.
with page as materialized (
  select *
  from (
    select id, source, platform, status, updated_at
    from settle.publish_open
    where updated_at < $1::timestamptz
      and (updated_at, id) > (coalesce($2::timestamptz, '-infinity'),
                              coalesce(encode($3::bytea, 'hex')::uuid, '00000000-0000-0000-0000-000000000000'))
    order by updated_at, id
    limit 20 * $5::bigint
  ) as seen
  where platform = any ($6::text[])
    and ($4::text is null or platform = $4)
    and status <> 'pending'
  order by updated_at, id
  limit $5
), seen_end as (
  select updated_at, id
  from settle.publish_open
  where (select count(*) from page) < $5
    and updated_at < $1
    and (updated_at, id) > (coalesce($2, '-infinity'),
                            coalesce(encode($3, 'hex')::uuid, '00000000-0000-0000-0000-000000000000'))
  order by updated_at, id
  offset 20 * $5 - 1
  limit 1
), page_end as (
  select updated_at as place_at, uuid_send(id) as place_key,
         (select count(*) from page) = $5 or exists (select from seen_end) as more
  from (select updated_at, id from page union all select updated_at, id from seen_end) as either
  order by updated_at desc, id desc
  limit 1
), due as (
  select p.id, p.source, p.platform, p.external_post_id, p.user_id_str, c.account, p.updated_at,
         coalesce(asked.tries, 0)::bigint as tries
  from page as o
  join settle.publish_logs as p on p.id = o.id and p.source = o.source
  join settle.platform_connections as c
    on c.user_id_str = p.user_id_str
    and c.platform = p.platform
    and c.account = coalesce(p.social_account_id::text, 'default')
    and c.connected
    and c.token is not null
  left join settle.publish_polls as asked
    on asked.id = p.id and asked.source = p.source and asked.external_post_id = p.external_post_id
  left join lateral (
    select true as decided
    from settle.webhook_receipts as r
    where r.external_post_id = p.external_post_id
      and r.platform = p.platform
      and r.source = p.source
      and r.decisive <> 0
      and r.parse_error is null
    limit 1
  ) as receipt on true
  where p.external_post_id is not null
    and receipt.decided is null
    and (asked.next_at is null or asked.next_at <= $7::timestamptz
         or asked.next_at > $7 + interval '25 hours') -- at most a day: of a clock that was set back since
)
select place_at, place_key, more,
       id, source, platform, external_post_id, user_id_str, account, tries
from page_end
left join due on true
order by updated_at, id
