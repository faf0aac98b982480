-- publication_read: publications by id, each with the strongest of all that is said of it: by webhooks, and by poll
-- answers and workers' results about the same post that decide.
-- $1 id uuid[]  $2 source text[] (null: whichever has the id)  $3 platforms that can be asked text[]
-- $4 whether what was said while no post was known counts as long as none is boolean: not of a new attempt
-- Columns: as enum column in reconciler/page.h, without a place.
select null::timestamptz, null::bytea, 0::bigint,
       e.id, e.source, e.platform, e.status, e.external_post_id, e.updated_at,
       settle.next_try(e.next_retry_at, e.last_retry_at, e.extra_metadata ->> 'auto_retried_at'), l.lease_until, e.reason,
       e.evidence_at, e.evidence_key, e.noted, e.noted_status, e.noted_at,
       s.key, s.status, s.decisive, s.at, s.told_at, s.url, left(s.reason, 1000), s.extras,
       e.retry_count, e.max_retries, e.extra_metadata -> 'auto_retries',
       e.platform = any ($3::text[])
       and e.external_post_id is not null
       and exists (select
                   from settle.platform_connections as c
                   where c.user_id_str = e.user_id_str
                     and c.platform = e.platform
                     and c.account = coalesce(e.social_account_id::text, 'default')
                     and c.connected
                     and c.token is not null),
       s.witness
from unnest($1::uuid[], $2::text[]) with ordinality as asked (id, source, place)
cross join lateral (
  select *
  from settle.publication_evidence as p
  where p.id = asked.id
    and (asked.source is null or p.source = asked.source)
  limit 1
) as e
left join lateral (
  select settle.worker_lease(lease_until) as lease_until
  from settle.publish_leases
  where id = e.id
    and source = e.source
  limit 1
) as l on true
left join lateral (
  select *
  from (
    select e.receipt_key as key, e.receipt_status as status, e.receipt_decisive as decisive, e.receipt_time as at,
           e.receipt_received_at as told_at, e.receipt_url as url, e.receipt_reason as reason, e.receipt_extras as extras,
           'webhook' as witness
    where e.receipt_key is not null
    union all
    (select uuid_send(r.id), r.status, r.decisive, coalesce(r.happened_at, r.reported_at), r.reported_at, r.url, r.reason,
            r.extras, r.witness
     from settle.publication_reports as r
     where r.log_id = e.id
       and r.source = e.source
       and r.witness in ('poll', 'worker')
       and r.decisive <> 0
       and (r.external_post_id = e.external_post_id
            or $4::boolean and r.external_post_id is null and e.external_post_id is null)
     order by coalesce(r.happened_at, r.reported_at) desc, uuid_send(r.id) desc
     limit 1)
  ) as said
  order by decisive <> 0 desc, at desc, key desc
  limit 1
) as s on true
order by asked.place
