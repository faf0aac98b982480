-- publication_explain: what is on record of a publication, for people.
-- $1 id uuid
-- One row of JSON text; none if there is no such publication.
with log as (
  select *
  from settle.publish_logs
  where id = $1::uuid
  order by source
  limit 1
), decision as (
  select l.timestamp, l.event_type, l.actor, l.run_id, l.metadata
  from log
  join settle.social_sync_ledger as l
    on l.entity_id = log.id::text and l.entity_type = 'publish_log' and l.source = log.source
  where l.event_type in ('publish_reconciled', 'publish_overridden', 'publish_override_undone', 'publish_worker_log_success',
                         'publish_worker_log_failed', 'publish_worker_log_retry')
  order by l.seq desc
  limit 1
), said as (
  (select received_at as at, 'webhook' as witness, event_status as status, decisive, happened_at, reason,
          null as worker_id, null as refusal, external_post_id
   from log
   join settle.webhook_receipts as r using (external_post_id, platform, source)
   where r.parse_error is null
   order by received_at desc
   limit 20)
  union all
  (select reported_at, witness, r.status, r.decisive, happened_at, r.reason,
          case witness when 'worker' then r.actor end, null, r.external_post_id
   from log
   join settle.publication_reports as r on r.log_id = log.id and r.source = log.source
   order by reported_at desc
   limit 20)
  union all
  (select l.timestamp, 'worker', l.metadata ->> 'told', 0, null, l.metadata ->> 'error', l.worker_id,
          l.metadata ->> 'refusal', l.metadata ->> 'external_post_id'
   from log
   join settle.social_sync_ledger as l
     on l.entity_id = log.id::text and l.entity_type = 'publish_log' and l.source = log.source
   where l.event_type = 'publish_worker_log_refused'
   order by l.timestamp desc, l.seq desc
   limit 20)
)
select json_build_object(
         'id', log.id, 'platform', log.platform, 'source', log.source, 'user_id_str', log.user_id_str,
         'external_post_id', log.external_post_id, 'status', log.status, 'updated_at', log.updated_at,
         'settled_at', log.settled_at, 'requested_at', log.requested_at, 'error_message', log.error_message,
         'retry_count', log.retry_count, 'max_retries', log.max_retries, 'next_retry_at', log.next_retry_at,
         'reason', log.extra_metadata ->> 'reconciliation_reason',
         'decision', (select row_to_json(decision) from decision),
         'said', coalesce((select json_agg(said order by at) from said), '[]'),
         'lease', (select row_to_json(l)
                   from settle.publish_leases as l
                   where l.id = log.id
                     and l.source = log.source
                     and settle.worker_lease(l.lease_until) is not null),
         'poll', (select row_to_json(p) from settle.publish_polls as p where p.id = log.id and p.source = log.source),
         'pause', (select row_to_json(p) from settle.platform_pauses as p where p.platform = log.platform),
         'connection', (select json_build_object('account', c.account, 'connected', c.connected,
                                                 'has_token', c.token is not null,
                                                 'expires_at', c.expires_at)
                        from settle.platform_connections as c
                        where c.user_id_str = log.user_id_str
                          and c.platform = log.platform
                          and c.account = coalesce(log.social_account_id::text, 'default')))::text
from log
