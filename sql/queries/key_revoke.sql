-- key_revoke: ends a key of the API at once; one that was revoked stays as it was.
-- $1 id text  $2 actor text
-- One row: whether it was good before boolean; none if there is no such key.
with known as (
  select id, revoked_at is null and coalesce(expires_at > now(), true) as was_good, revoked_at
  from settle.api_keys
  where id = $1::text
  for update
), revoked as (
  update settle.api_keys as k
  set revoked_at = now(), revoked_by = $2::text
  from known
  where k.id = known.id
    and known.revoked_at is null
  returning k.*
), noted as (
  insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor)
  select 'api_key_revoked', 'warn', 'api_key', id, jsonb_build_object('name', name, 'user_id_str', user_id_str), revoked_by
  from revoked
)
select was_good
from known
