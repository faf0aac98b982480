-- publication_settle: writes the verdicts on one page and their ledger events. A row that changed since it was read
-- keeps what it has.
-- $1 id uuid[]  $2 source text[]  $3 status text[], $4 updated_at timestamptz[] as read
-- $5 new status text[]  $6 error_message text[]  $7 external_url text[] (if it has none)
-- $8 published_at timestamptz[] (if it has none; null: not published)  $9 patch of extra_metadata jsonb[]
-- $10 id of the event uuid[]  $11 metadata of the event jsonb[]  $12 receipt_id bytea[]
-- $13 now timestamptz  $14 actor text  $15 run_id uuid
-- One row per publication that was written: its place in the arrays, from 1.
with decided as (
  select *
  from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
              $8::timestamptz[], $9::jsonb[], $10::uuid[], $11::jsonb[], $12::bytea[])
    with ordinality as d (id, source, old_status, old_updated_at, status, error_message, external_url,
                          published_at, patch, event_id, event, receipt_id, place)
), written as (
  update settle.publish_logs as p
  set status = d.status,
      error_message = d.error_message,
      external_url = coalesce(nullif(p.external_url, ''), d.external_url),
      published_at = case when d.published_at is not null then coalesce(p.published_at, d.published_at) end,
      settled_at = $13::timestamptz,
      extra_metadata = p.extra_metadata || d.patch,
      updated_at = $13
  from decided as d
  where p.id = d.id
    and p.source = d.source
    and p.status = d.old_status
    and p.updated_at = d.old_updated_at
  returning d.place, d.event_id, p.id, p.source, p.status, d.event, d.receipt_id
), told as (
  insert into settle.social_sync_ledger (
    id, source, timestamp, event_type, severity, entity_type, entity_id, metadata, actor, run_id, receipt_id)
  select event_id, source, $13, 'publish_reconciled', case status when 'success' then 'info' else 'warn' end,
         'publish_log', id::text, event, $14::text, $15::uuid, receipt_id
  from written
)
select place
from written
