-- pause_end: a platform goes on.
-- $1 platform text  $2 reason text  $3 actor text
-- One row if it was paused.
with ended as (
  delete from settle.platform_pauses
  where platform = $1::text
  returning *
)
insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor)
select 'platform_resumed', 'info', 'platform', platform,
       jsonb_build_object('why', $2::text, 'paused_at', paused_at, 'paused_by', ended.actor),
       $3::text
from ended
returning id
