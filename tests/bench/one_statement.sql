-- The rival of ops/bench reconcile: the whole job as one statement, as a database person would write it.
-- The same rows, decisions, columns and ledger events as settle-reconciler's; without its fence, guard, report,
-- resumption after a kill and flat memory.
set work_mem = '256MB';

with stale as (
  select id, source, platform, external_post_id, external_url, published_at, extra_metadata,
         greatest(updated_at, next_retry_at) < now() - interval '10 minutes' as due
  from settle.publish_logs
  where status in ('processing', 'retry')
    and updated_at < now() - interval '10 minutes'
), strongest as (
  select distinct on (r.external_post_id, r.platform, r.source)
         external_post_id, platform, source, r.dedup_key, r.event_status, r.decisive, r.happened_at, r.received_at,
         r.url, r.reason, r.extras
  from settle.webhook_receipts as r
  join stale using (external_post_id, platform, source)
  where r.parse_error is null
  order by r.external_post_id, r.platform, r.source,
           r.decisive <> 0 desc, coalesce(r.happened_at, r.received_at) desc, r.dedup_key desc
), decided as (
  select stale.id, stale.source, stale.platform, stale.external_post_id, r.dedup_key,
         case when r.decisive = 1 then 'success' else 'failed' end as status,
         case r.decisive when 1 then 'webhook_confirmed' when -1 then 'webhook_reported_failure'
                         else 'webhook_timeout' end as reason,
         case when r.decisive = -1 then coalesce(r.reason, 'The platform reported a failure')
              when r.dedup_key is null then 'No webhook received after 10 minutes' end as error_message,
         case when r.decisive = 1 then r.url end as url,
         case when r.decisive = 1 then coalesce(r.happened_at, r.received_at) end as published_at,
         case when r.dedup_key is null then '{}'
              else coalesce(r.extras::jsonb, '{}') || jsonb_build_object(
                     'webhook_received', true, 'webhook_timestamp', r.received_at,
                     'webhook_platform', r.platform, 'webhook_status', r.event_status,
                     'evidence_at', coalesce(r.happened_at, r.received_at),
                     'evidence_key', encode(r.dedup_key, 'hex')) end as word
  from stale
  left join strongest as r using (external_post_id, platform, source)
  where r.decisive <> 0
     or (r.dedup_key is null and stale.due and coalesce(stale.extra_metadata -> 'webhook_received' <> 'true', true))
), written as (
  update settle.publish_logs as p
  set status = d.status,
      error_message = d.error_message,
      external_url = coalesce(nullif(p.external_url, ''), d.url),
      published_at = case when d.published_at is not null then coalesce(p.published_at, d.published_at) end,
      settled_at = now(),
      extra_metadata = p.extra_metadata || d.word || jsonb_build_object(
        'reconciled', true, 'reconciled_at', now(), 'reconciliation_reason', d.reason),
      updated_at = now()
  from decided as d
  where p.id = d.id
    and p.source = d.source
  returning p.id, p.source, p.platform, p.external_post_id, p.status, d.reason, d.dedup_key
), told as (
  insert into settle.social_sync_ledger (
    source, timestamp, event_type, severity, entity_type, entity_id, metadata, actor, run_id, receipt_id)
  select source, now(), 'publish_reconciled', case status when 'success' then 'info' else 'warn' end, 'publish_log',
         id::text,
         jsonb_build_object('platform', platform, 'action', 'marked_' || status, 'reason', reason,
                            'external_post_id', external_post_id)
           || case reason when 'webhook_timeout' then '{"timeout_minutes": 10}'::jsonb else '{}' end,
         'one statement', :'run_id', dedup_key
  from written
)
select status, count(*) from written group by status order by status;
