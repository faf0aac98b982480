-- alert_resolve: closes an alert; one that is closed, or is being closed by another, stays as that closes it.
-- $1 id uuid  $2 notes text  $3 actor text
-- One row: HTTP status, JSON text, null; none if there is no such alert.
with alert as materialized (
  select *
  from settle.alerts
  where id = $1::uuid
  for update
), resolved as (
  update settle.alerts
  set status = 'RESOLVED', resolved_at = now(), resolved_by = $3::text, resolution_notes = $2::text
  where id = (select id from alert where status = 'OPEN')
    and status = 'OPEN'
  returning *
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'alert_resolved', 'alert', id::text, jsonb_build_object('type', type, 'dedupe_key', dedupe_key, 'notes', $2), $3
  from resolved
)
select 200 as status, row_to_json(resolved)::text as body, null as cursor
from resolved
union all
select 200, row_to_json(alert)::text, null
from alert
where not exists (select from resolved)
