-- publication_settle: writes the verdicts on one page and their ledger events: settled, or sent back to be tried again. A
-- row that changed since it was read keeps what it has.
-- $1 id uuid[]  $2 source text[]  $3 status text[], $4 updated_at timestamptz[] as read
-- $5 new status text[]  $6 error_message text[]  $7 external_url text[]
-- $8 published_at timestamptz[] (null: not published): of this and the URL an open row keeps what it has
-- $9 extras of the receipt text[]  $10 patch of extra_metadata jsonb[]  $11 id of the event uuid[]
-- $12 metadata of the event jsonb[]  $13 receipt_id bytea[]  $14 now timestamptz  $15 actor text  $16 run_id uuid
-- One row per publication that was written: its place in the arrays, from 1.
with decided as (
  select *
  from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
              $8::timestamptz[], $9::text[], $10::jsonb[], $11::uuid[], $12::jsonb[], $13::bytea[])
    with ordinality as d (id, source, old_status, old_updated_at, status, error_message, external_url,
                          published_at, extras, patch, event_id, event, receipt_id, place)
), written as (
  update settle.publish_logs as p
  set status = d.status,
      error_message = d.error_message,
      external_url = case
                       when p.status in ('success', 'failed') then coalesce(d.external_url, p.external_url)
                       else coalesce(nullif(p.external_url, ''), d.external_url)
                     end,
      published_at = case
                       when p.status in ('success', 'failed') or d.published_at is null then d.published_at
                       else coalesce(p.published_at, d.published_at)
                     end,
      settled_at = case when p.status = d.status or d.status = 'retry' then p.settled_at else $14::timestamptz end,
      next_retry_at = case d.status when 'retry' then $14 + settle.retry_wait(p.retry_count) else p.next_retry_at end,
      retry_count = p.retry_count + (d.status = 'retry')::integer,
      extra_metadata = case
                         when p.extra_metadata ? 'webhook_post_id'
                              and p.extra_metadata ->> 'webhook_post_id' is distinct from p.external_post_id
                         then settle.attempts_moved(p.extra_metadata)
                         else p.extra_metadata
                       end
                       || case when d.extras is null then '{}' else settle.extras_object(d.extras) end
                       || d.patch,
      updated_at = case when p.status = d.status then p.updated_at else $14 end -- not by a receipt alone
  from decided as d
  where p.id = d.id
    and p.source = d.source
    and p.status = d.old_status
    and p.updated_at = d.old_updated_at
  returning d.place, d.event_id, p.id, p.source, p.status, d.event, d.receipt_id
), told as (
  insert into settle.social_sync_ledger (
    id, source, timestamp, event_type, severity, entity_type, entity_id, metadata, actor, run_id, receipt_id)
  select event_id, source, $14, 'publish_reconciled', case status when 'failed' then 'warn' else 'info' end,
         'publish_log', id::text, event, $15::text, $16::uuid, receipt_id
  from written
)
select place
from written
