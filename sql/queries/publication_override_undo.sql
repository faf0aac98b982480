-- publication_override_undo: takes a person's verdict back: the publication is what it was before, and what has been said
-- since is weighed anew by whoever called this, in the same transaction.
-- $1 id uuid  $2 reason text  $3 now timestamptz  $4 actor text  $5 run_id uuid  $6 id of the report uuid
-- One row: source text, status before text (null: it does not rest on an override, and nothing was changed); none if there
-- is no such publication.
with log as (
  select *
  from settle.publish_logs
  where id = $1::uuid
  order by source
  limit 1
  for update
), overridden as (
  select log.*, r.before
  from log
  cross join lateral (
    select before
    from settle.publication_reports
    where log_id = log.id
      and source = log.source
      and witness = 'person'
      and status in ('success', 'failed')
    order by id desc
    limit 1
  ) as r
  where log.extra_metadata ->> 'reconciliation_reason' = 'manual_override'
    and log.status in ('success', 'failed')
), reported as (
  insert into settle.publication_reports (id, source, log_id, platform, external_post_id, witness, status, decisive,
                                          happened_at, reported_at, reason, actor, run_id)
  select $6::uuid, source, id, platform, external_post_id, 'person', 'undo', 0, $3::timestamptz, $3, $2::text, $4::text,
         $5::uuid
  from overridden
), written as (
  update settle.publish_logs as p
  set status = o.before ->> 'status',
      error_message = o.before ->> 'error_message',
      published_at = (o.before ->> 'published_at')::timestamptz,
      settled_at = (o.before ->> 'settled_at')::timestamptz,
      extra_metadata = p.extra_metadata
                       - array['reconciled', 'reconciled_at', 'reconciliation_reason', 'evidence_at', 'evidence_key']
                       || (o.before -> 'marks'),
      updated_at = $3
  from overridden as o
  where p.id = o.id
    and p.source = o.source
), told as (
  insert into settle.social_sync_ledger (source, timestamp, event_type, severity, entity_type, entity_id, metadata, actor,
                                         run_id, receipt_id, clip_id)
  select source, $3, 'publish_override_undone', 'warn', 'publish_log', id::text,
         jsonb_build_object('platform', platform, 'external_post_id', external_post_id, 'action', 'restored',
                            'reason', 'manual_override', 'why', $2, 'before', status, 'status', before ->> 'status'),
         $4, $5, uuid_send($6), clip_id
  from overridden
)
select log.source, overridden.status
from log
left join overridden using (id, source)
