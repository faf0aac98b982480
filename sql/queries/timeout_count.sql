-- timeout_count: how many of one page of stale open publications a run would fail by time-out. The limit counts what
-- is read; the lateral joins with a limit keep the planner from reading all receipts for one page.
-- $1 older than timestamptz  $2 updated_at timestamptz, $3 id uuid the page begins behind (null: at the oldest)
-- $4 platform text (null: any)  $5 limit bigint
-- $6 platform text[], $7 timestamptz[]: the cut-off of those that wait longer than $1, $8 timestamptz[]: the one of their
-- publications whose platform can be asked (null: cannot be)
-- One row: rows of the page bigint, to be failed bigint, updated_at timestamptz and id uuid of the last.
with page as materialized (
  select id, source, platform, status, updated_at
  from settle.publish_open
  where updated_at < $1::timestamptz
    and (updated_at, id) > (coalesce($2::timestamptz, '-infinity'),
                            coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
  order by updated_at, id
  limit $5::bigint
), leased as materialized (
  select id, source, settle.worker_lease(lease_until) as lease_until
  from settle.publish_leases
  where id = any (array(select id from page))
), page_end as (
  select updated_at, id
  from page
  order by updated_at desc, id desc
  limit 1
)
select (select count(*) from page),
       (select count(*)
        from page as o
        left join unnest($6::text[], $7::timestamptz[], $8::timestamptz[])
          as patient (platform, before, give_up_before) using (platform)
        left join leased on leased.id = o.id and leased.source = o.source
        cross join lateral (
          select greatest(p.updated_at,
                          settle.next_try(p.next_retry_at, p.last_retry_at, p.extra_metadata ->> 'auto_retried_at'),
                          leased.lease_until) as waits_since,
                 patient.give_up_before is not null
                 and p.external_post_id is not null
                 and exists (select
                             from settle.platform_connections as c
                             where c.user_id_str = p.user_id_str
                               and c.platform = p.platform
                               and c.account = coalesce(p.social_account_id::text, 'default')
                               and c.connected
                               and c.token is not null) as can_be_asked
          from settle.publish_logs as p
          left join lateral (
            select true as came
            from settle.webhook_receipts as r
            where r.external_post_id = p.external_post_id
              and r.platform = p.platform
              and r.source = p.source
              and r.parse_error is null
            limit 1
          ) as receipt on true
          left join lateral (
            select true as decided
            from settle.publication_reports as r
            where r.log_id = p.id
              and r.source = p.source
              and r.external_post_id = p.external_post_id
              and r.witness in ('poll', 'worker')
              and r.decisive <> 0
            limit 1
          ) as reported on true
          where p.id = o.id
            and p.source = o.source
            and receipt.came is null
            and reported.decided is null
            and not settle.webhook_noted(p.extra_metadata, p.external_post_id)
          limit 1
        ) as silent
        where o.status <> 'pending'
          and ($4::text is null or o.platform = $4)
          and silent.waits_since < coalesce(patient.before, $1)
          and (not silent.can_be_asked or silent.waits_since < patient.give_up_before)),
       (select updated_at from page_end),
       (select id from page_end)
