-- publication_override: a person's verdict on a publication. The strongest word there is: it stays until it is taken back.
-- $1 id uuid  $2 status text: success, failed  $3 reason text  $4 now timestamptz  $5 actor text  $6 run_id uuid
-- $7 id of the report uuid
-- One row: source text, status before text; none if there is no such publication. What it was before is kept in the report.
with log as (
  select *
  from settle.publish_logs
  where id = $1::uuid
  order by source
  limit 1
  for update
), reported as (
  insert into settle.publication_reports (id, source, log_id, platform, external_post_id, witness, status, decisive,
                                          happened_at, reported_at, reason, before, actor, run_id)
  select $7::uuid, source, id, platform, external_post_id, 'person', $2::text, case $2 when 'success' then 1 else -1 end,
         $4::timestamptz, $4, $3::text,
         -- An override over an override: what an undo brings back is what was before the first.
         case
           when extra_metadata ->> 'reconciliation_reason' = 'manual_override' then
             (select r.before
              from settle.publication_reports as r
              where r.log_id = log.id
                and r.source = log.source
                and r.witness = 'person'
                and r.status in ('success', 'failed')
              order by r.id desc
              limit 1)
           else jsonb_build_object(
                  'status', status, 'error_message', error_message, 'published_at', published_at, 'settled_at', settled_at,
                  'marks', (select coalesce(jsonb_object_agg(key, value), '{}')
                            from jsonb_each(extra_metadata)
                            where key in ('reconciled', 'reconciled_at', 'reconciliation_reason', 'evidence_at',
                                          'evidence_key')))
         end,
         $5::text, $6::uuid
  from log
), written as (
  update settle.publish_logs as p
  set status = $2,
      error_message = case $2 when 'failed' then 'Marked as failed by ' || $5 || ': ' || $3 end,
      published_at = case $2 when 'success' then coalesce(p.published_at, $4) end,
      settled_at = case when p.status = $2 then p.settled_at else $4 end,
      extra_metadata = p.extra_metadata - array['evidence_at', 'evidence_key']
                       || jsonb_build_object(
                            'reconciled', true,
                            'reconciled_at', to_char($4 at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                            'reconciliation_reason', 'manual_override'),
      updated_at = $4
  from log
  where p.id = log.id
    and p.source = log.source
), told as (
  insert into settle.social_sync_ledger (source, timestamp, event_type, severity, entity_type, entity_id, metadata, actor,
                                         run_id, receipt_id, clip_id)
  select source, $4, 'publish_overridden', 'warn', 'publish_log', id::text,
         jsonb_build_object('platform', platform, 'external_post_id', external_post_id, 'action', 'marked_' || $2,
                            'reason', 'manual_override', 'why', $3, 'before', status),
         $5, $6, uuid_send($7), clip_id
  from log
)
select source, status
from log
