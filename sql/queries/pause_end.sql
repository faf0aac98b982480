-- pause_end: a platform goes on. What waits is given its time again from now: nobody was allowed to take or ask about it.
-- $1 platform text  $2 reason text  $3 actor text
-- One row if it was paused.
with ended as (
  delete from settle.platform_pauses
  where platform = $1::text
  returning *
), resumed as (
  insert into settle.platform_resumes (platform, resumed_at)
  select platform, now()
  from ended
  on conflict (platform) do update
    set resumed_at = excluded.resumed_at
)
insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor)
select 'platform_resumed', 'info', 'platform', platform,
       jsonb_build_object('why', $2::text, 'paused_at', paused_at, 'paused_by', ended.actor),
       $3::text
from ended
returning id
