-- pause_set: pauses a platform; one that is paused stays as it was.
-- $1 platform text  $2 reason text  $3 actor text
-- One row if it was not paused before.
with paused as (
  insert into settle.platform_pauses (platform, reason, actor)
  values ($1::text, $2::text, $3::text)
  on conflict do nothing
  returning *
)
insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor)
select 'platform_paused', 'warn', 'platform', platform, jsonb_build_object('reason', 'platform_disabled', 'why', reason),
       actor
from paused
returning id
