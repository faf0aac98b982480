-- log_claim: hands due publications of one source to a publishing worker, the longest registered first: pending ones,
-- retries whose time has come, and those whose worker has been silent beyond its lease: of its try no post is known; one that
-- was known when it took the publication is of an earlier try. None of them that decisive evidence speaks of: it was published
-- already. And none that a worker still has, though a run has sent it back.
-- $1 platform text  $2 source text  $3 limit int8  $4 worker_id text  $5 lease_s int8  $6 actor text
-- $7 statuses that decide on this platform, where another tool has noted a webhook: JSON array of text
-- One row: HTTP status, JSON text, null.
-- Two that ask at once get different ones: what the other has locked is skipped, and what it has changed since this
-- statement's snapshot fails the join on updated_at, or the lease's own column, when it is looked at again.
-- A tenant's are found by publish_open_tenant: the policy of publish_open compares a column of its own.
-- Read in the order of the index and no further than needed, however many wait: hence the limit within, which no plan knows,
-- and the two comparisons of updated_at, of which a plan expects more rows than of an equality: it would sort all, as if few.
with heard as not materialized ( -- whether something decisive was said of a publication: in place, wherever it is asked
  select id, source,
         coalesce(receipt_decisive <> 0, false)
         or noted and coalesce($7::text::jsonb ? noted_status, false)
         or exists (select
                    from settle.publication_reports as r
                    where r.log_id = e.id
                      and r.source = e.source
                      and r.external_post_id = e.external_post_id
                      and r.witness in ('poll', 'worker')
                      and r.decisive <> 0) as decided
  from settle.publication_evidence as e
), due as (
  select p.id, p.source, p.status, false as again
  from (
    select id, source, status, updated_at
    from settle.publish_open
    where platform = $1::text
      and source = $2::text
      and status in ('pending', 'retry')
      and not (status = 'retry' and exists (select from settle.platform_pauses where platform = $1))
    order by id
    limit (select 100000)
  ) as o
  join settle.publish_logs as p
    on p.id = o.id and p.source = o.source and p.status = o.status
    and p.updated_at >= o.updated_at and p.updated_at <= o.updated_at
  cross join lateral (select decided from heard where heard.id = o.id and heard.source = o.source limit 1) as evidence
  where coalesce(settle.next_try(p.next_retry_at, p.last_retry_at, p.extra_metadata ->> 'auto_retried_at'), now()) <= now()
    and not evidence.decided
    and not exists (select
                    from settle.publish_leases as l
                    where l.id = o.id
                      and l.source = o.source
                      and settle.worker_lease(l.lease_until) > now())
  order by o.id
  limit $3::bigint
  for update of p skip locked
), silent as (
  select p.id, p.source, p.status, true as again
  from settle.publish_leases as l
  join settle.publish_logs as p on p.id = l.id and p.source = l.source
  cross join lateral (select decided from heard where heard.id = l.id and heard.source = l.source limit 1) as evidence
  where l.platform = $1
    and l.source = $2
    and l.lease_until < now()
    and p.status = 'processing'
    and p.external_post_id is not distinct from l.external_post_id
    and p.retry_count + 1 < p.max_retries
    and not evidence.decided
    and not exists (select from settle.platform_pauses where platform = $1)
  order by l.lease_until
  limit $3
  for update of l, p skip locked
), first as materialized (
  select *
  from (select * from due union all select * from silent) as both_kinds
  order by again, id
  limit $3
), taken as (
  update settle.publish_logs as p
  set status = 'processing',
      retry_count = p.retry_count + first.again::integer,
      last_retry_at = case when first.again or first.status = 'retry' then now() else p.last_retry_at end,
      next_retry_at = null,
      updated_at = now()
  from first
  where p.id = first.id
    and p.source = first.source
  returning p.*, first.again
), leased as (
  insert into settle.publish_leases as l (id, source, platform, worker_id, external_post_id, taken_at, lease_until)
  select id, source, platform, $4::text, external_post_id, now(), now() + $5::bigint * interval '1 second'
  from taken
  on conflict (id, source) do update
    set worker_id = excluded.worker_id,
        external_post_id = excluded.external_post_id,
        taken_at = excluded.taken_at,
        lease_until = excluded.lease_until
), told as (
  insert into settle.social_sync_ledger (source, event_type, severity, entity_type, entity_id, metadata, actor, worker_id,
                                         clip_id)
  select source, 'publish_worker_log_taken', case when again then 'warn' else 'info' end, 'publish_log', id::text,
         jsonb_build_object('platform', platform, 'lease_s', $5, 'retry_count', retry_count,
                            'after_a_silent_worker', again),
         $6::text, $4, clip_id
  from taken
)
select 200 as status,
       json_build_object('items', coalesce(json_agg(to_jsonb(taken) - 'again' order by id), '[]'),
                         'lease_until', now() + $5 * interval '1 second')::text as body,
       null as cursor
from taken
