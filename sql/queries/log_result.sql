-- log_result: what a publishing worker says became of a publication. Sent (processing): its platform is still at it, and
-- a webhook or a poll decides. Done (success, failed): evidence, which counts from when it happened. A failure that is not
-- permanent goes back to the workers as long as it may be tried again. Told again, nothing changes.
-- $1 id uuid  $2 worker_id text  $3 status text: processing, success, failed  $4 external_post_id text
-- $5 external_url text  $6 error text  $7 permanent bool  $8 happened_at timestamptz (null: now)  $9 actor text
-- $10 id of the report uuid
-- One row: HTTP status, JSON text or the cause of a refusal, null; none if there is no such publication. -1: it has changed while
-- this waited for it, and of its lease nothing newer is seen: ask again.
-- What gives way to it is decided as in verdict_of of shared/domain/verdict.c; a test proves that they agree. What
-- outweighs it, a webhook or the platform's answer when asked, may have been looked at while the publication was too young to be
-- settled, and would not be again. What is told while a person's word stands is kept for when that is taken back; the post that it
-- names is the publication's at once, so that webhooks about it are found then, and nobody sends it again. What a time-out has
-- failed is sent all the same when its worker names the post only then: it waits anew, for that post. So it does when what has
-- failed is the post of an earlier try, and its worker names that of this one.
-- A publication is its last worker's: what one says that took it before another did is of an earlier try, and refused unless
-- it names the very post that is known. Which of two takes was the later one says seq: of the same row they wait for each other,
-- while the clock may have been set back in between. Whoever never took it may speak: it may be that worker, started anew. The
-- ledger keeps each post that was named and is not the publication's.
with log as (
  select p.*,
         coalesce($4::text, p.external_post_id) as post,
         least($8::timestamptz, now()) as at, -- of a clock that is ahead it would be later than all webhooks
         p.id::text as entity, -- cast here: a policy keeps a comparison with a cast from the index
         $3::text = 'failed' and not coalesce($7::boolean, false) and p.retry_count + 1 < p.max_retries as may_try_again,
         p.status in ('pending', 'processing', 'retry') as open,
         p.status in ('success', 'failed')
         and coalesce(p.extra_metadata ->> 'reconciliation_reason' = 'manual_override', false) as overridden,
         (select worker_id from settle.publish_leases as l where l.id = p.id and l.source = p.source) as leased_to,
         -- p is as it is now that it is locked, all else as it was when this statement began
         (select s.updated_at from settle.publish_logs as s where s.id = p.id and s.source = p.source)
         is distinct from p.updated_at as has_moved
  from settle.publish_logs as p
  where p.id = $1::uuid
  order by p.source
  limit 1
  for update of p
), weighed as (
  select *,
         -- Of what is settled a time-out gives way, evidence to what is later; an override and other tools' words do not.
         case
           when extra_metadata ->> 'reconciliation_reason' = 'webhook_timeout' then status = 'failed'
           when extra_metadata ->> 'reconciliation_reason'
                ~ '^(webhook_confirmed$|webhook_reported_failure$|late_webhook$|poll_|worker_reported_)'
           then (coalesce(settle.time_noted(extra_metadata ->> 'evidence_at'), '-infinity'),
                 coalesce(extra_metadata ->> 'evidence_key', '') collate "C")
                < (at, encode(uuid_send($10::uuid), 'hex') collate "C")
           else false
         end as gives_way,
         leased_to is null
         and (status = 'processing' and ($3 = 'processing' or outweighed and on_record)
              and post is not distinct from external_post_id
              or status = 'retry' and $3 = 'failed' and not coalesce($7, false)) as told_before,
         $3 = 'processing'
         and status = 'failed'
         and post is not null
         and case
               when extra_metadata ->> 'reconciliation_reason' = 'webhook_timeout'
               then leased_to = $2::text or post is distinct from external_post_id
               when extra_metadata ->> 'reconciliation_reason'
                    ~ '^(webhook_reported_failure$|late_webhook$|poll_|worker_reported_)'
               then leased_to = $2 and post is distinct from external_post_id
               else false
             end as may_reopen,
         ($4::text = external_post_id) is not true
         and leased_to is distinct from $2
         and (select l.worker_id
              from settle.social_sync_ledger as l
              where l.entity_id = log.entity
                and l.entity_type = 'publish_log'
                and l.source = log.source
                and l.event_type = 'publish_worker_log_taken'
              order by l.seq desc
              limit 1) <> $2
         and exists (select
                     from settle.social_sync_ledger as l
                     where l.entity_id = log.entity
                       and l.entity_type = 'publish_log'
                       and l.source = log.source
                       and l.event_type = 'publish_worker_log_taken'
                       and l.worker_id = $2) as is_overtaken
  from log
  cross join lateral (select set_config('settle.post', coalesce(post, ''), true) as post_named) as named
  cross join lateral (
    -- A tenant sees what came for a post that it names: named, which cannot be left out, comes first.
    select exists (select
                   from settle.webhook_receipts as r
                   where r.external_post_id = post_named
                     and r.platform = log.platform
                     and r.source = log.source
                     and r.parse_error is null
                     and r.decisive <> 0
                     and (may_try_again
                          or (coalesce(r.happened_at, r.received_at), r.dedup_key) > (at, uuid_send($10::uuid))))
           or exists (select
                      from settle.publication_reports as r
                      where r.log_id = log.id
                        and r.source = log.source
                        and r.external_post_id = log.post
                        and r.witness in ('poll', 'worker')
                        and r.decisive <> 0
                        and (may_try_again
                             or (coalesce(r.happened_at, r.reported_at), uuid_send(r.id)) > (at, uuid_send($10))))
           as outweighed,
           exists (select
                   from settle.publication_reports as r
                   where r.log_id = log.id
                     and r.source = log.source
                     and r.witness = 'worker'
                     and r.external_post_id is not distinct from post
                     and r.status = $3
                     and r.actor = $2) as on_record,
           exists (select
                   from settle.publication_reports as r
                   where r.log_id = log.id
                     and r.source = log.source
                     and r.witness = 'worker'
                     and r.external_post_id is not distinct from post
                     and r.status = $3
                     and (r.decisive <> 0 or encode(uuid_send(r.id), 'hex') = log.extra_metadata ->> 'evidence_key')
                     and r.actor = $2
                     and ($8 is null or r.happened_at = at)) as has_decided
  ) as heard
  where not has_moved
), judged as (
  select *,
         case
           when (open or may_reopen) and leased_to <> $2 or coalesce(is_overtaken, false) then 'lease_lost'
           when exists (select
                        from settle.publish_logs as other
                        where other.external_post_id = weighed.post
                          and other.platform = weighed.platform
                          and other.source = weighed.source
                          and other.id <> weighed.id) then 'post_taken'
         end as refusal,
         case
           when may_reopen then 'processing'
           when open and told_before then null -- nothing changes
           when not open and (not gives_way or $3 = 'processing' or has_decided) then null
           when open and outweighed then 'processing' -- the reconciler settles it by that
           when open and may_try_again then 'retry'
           else $3
         end as new_status
  from weighed
), acted as materialized (
  select *, new_status in ('success', 'failed') as settles
  from judged
  where refusal is null
    and new_status is not null
), reported as (
  insert into settle.publication_reports (id, source, log_id, platform, external_post_id, witness, status, decisive,
                                          happened_at, url, reason, actor)
  select $10, source, id, platform, post, 'worker', $3,
         case
           when $3 = 'processing' or may_try_again then 0
           when $3 = 'success' then 1
           else -1
         end, at, $5::text, $6::text, $2
  from acted
), kept as (
  insert into settle.publication_reports (id, source, log_id, platform, external_post_id, witness, status, decisive,
                                          happened_at, url, reason, actor)
  select $10, source, id, platform, post, 'worker', $3,
         case
           when $3 = 'success' then 1
           when may_try_again then 0
           else -1
         end, at, $5, $6, $2
  from judged as j
  where refusal is null
    and overridden
    and $3 <> 'processing'
    and not on_record
), named as (
  update settle.publish_logs as p
  set external_post_id = j.post,
      extra_metadata = case
                         when p.extra_metadata ? 'webhook_post_id' then settle.attempts_moved(p.extra_metadata)
                         else p.extra_metadata
                       end
  from judged as j
  where p.id = j.id
    and p.source = j.source
    and j.refusal is null
    and j.overridden
    and j.post is distinct from j.external_post_id
    and coalesce(j.leased_to = $2, true)
  returning p.*
), written as (
  update settle.publish_logs as p
  set status = a.new_status,
      external_post_id = a.post,
      external_url = coalesce($5, p.external_url),
      error_message = case
                        when a.new_status in ('retry', 'failed') then coalesce($6, 'The worker reported a failure')
                      end,
      published_at = case when a.new_status = 'success' then coalesce(p.published_at, a.at) end,
      settled_at = case when p.status = a.new_status then p.settled_at when a.settles then now() end,
      retry_count = p.retry_count + (a.open and $3 = 'failed')::integer,
      last_retry_at = case when a.open and $3 = 'failed' then now() else p.last_retry_at end,
      next_retry_at = case
                        when a.new_status = 'retry' then now() + settle.retry_wait(p.retry_count)
                      end,
      extra_metadata = case
                         when p.extra_metadata ? 'webhook_post_id' and p.external_post_id is distinct from a.post
                         then settle.attempts_moved(p.extra_metadata)
                         else p.extra_metadata
                       end
                       - case when a.may_reopen then array['reconciled', 'reconciled_at', 'reconciliation_reason',
                                                               'evidence_at', 'evidence_key'] else '{}' end
                       || case
                            when a.settles
                            then jsonb_build_object(
                                   'reconciled', true,
                                   'reconciled_at', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                   'reconciliation_reason',
                                   case $3 when 'success' then 'worker_reported_success' else 'worker_reported_failure' end,
                                   'evidence_at', to_char(a.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                   'evidence_key', encode(uuid_send($10), 'hex'))
                            else '{}'
                          end,
      updated_at = now() -- also of what only rests on something else from now: a run may have read it before
  from acted as a
  where p.id = a.id
    and p.source = a.source
  returning p.*
), freed as (
  -- While a person's word stands too: once that is taken back, what its worker has sent is not handed out again.
  delete from settle.publish_leases as l
  using judged as j
  where l.id = j.id
    and l.source = j.source
    and j.refusal is null
    and (j.new_status is not null or j.overridden and l.worker_id = $2 and not j.may_try_again)
), told as (
  insert into settle.social_sync_ledger (source, event_type, severity, entity_type, entity_id, metadata, actor, worker_id,
                                         clip_id)
  select j.source,
         case
           when refusal is not null then 'publish_worker_log_refused'
           when new_status is null and named.id is null then 'publish_worker_log_unused'
           when new_status is null then 'publish_worker_log_named'
           when new_status = 'processing' then 'publish_worker_log_sent'
           else 'publish_worker_log_' || new_status
         end,
         case when refusal is not null or new_status in ('retry', 'failed') then 'warn' else 'info' end,
         'publish_log', j.id::text,
         jsonb_build_object('platform', j.platform, 'external_post_id', post, 'told', $3,
                            'status', coalesce(w.status, named.status),
                            'refusal', refusal, 'error', $6, 'retry_count', w.retry_count,
                            'next_retry_at', w.next_retry_at),
         $9::text, $2, j.clip_id
  from judged as j
  left join written as w using (id, source)
  left join named using (id, source)
  where refusal is not null
     or new_status is not null
     or named.id is not null
     or $4 is not null and $4 is distinct from j.external_post_id
)
select 409 as status, refusal as body, null as cursor
from judged
where refusal is not null
union all
select 200, row_to_json(written)::text, null
from written
union all
select 200, row_to_json(named)::text, null
from named
union all
select 200,
       (select row_to_json(live)::text
        from settle.publish_logs_live as live
        where live.id = j.id
          and live.source = j.source),
       null
from judged as j
where refusal is null
  and new_status is null
  and not exists (select from named)
union all
select -1, null, null
from log
where has_moved
