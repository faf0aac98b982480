-- key_rotate: another key for whoever has this one, which goes on for a while.
-- $1 id text of the present one  $2 id text of the next  $3 hash bytea of the next  $4 seconds int8 that the present one is
-- still good for  $5 actor text
-- One row: name text, user_id_str text or null, scopes text; none if the present key is not known or no longer good.
with present as (
  update settle.api_keys
  set expires_at = least(expires_at, now() + $4::bigint * interval '1 second')
  where id = $1::text
    and revoked_at is null
    and coalesce(expires_at > now(), true)
  returning *
), next as (
  -- It ends when the present one would have: no later than it was given out for.
  insert into settle.api_keys (id, name, hash, user_id_str, scopes, expires_at, created_by, replaces)
  select $2::text, name, $3::bytea, user_id_str, scopes,
         (select expires_at from settle.api_keys where id = $1), $5::text, id
  from present
  returning *
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'api_key_rotated', 'api_key', present.id,
         jsonb_build_object('next', next.id, 'name', next.name, 'user_id_str', next.user_id_str,
                            'good_until', present.expires_at),
         $5
  from present, next
)
select name, user_id_str, array_to_string(scopes, ' ')
from next
