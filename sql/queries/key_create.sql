-- key_create: a new key of the API. Its text is nowhere but with whoever asked for it.
-- $1 id text  $2 name text  $3 hash bytea  $4 user_id_str text (null: an operator's)  $5 scopes text split by blanks
-- $6 expires_at timestamptz (null: never)  $7 actor text
-- One row.
with made as (
  insert into settle.api_keys (id, name, hash, user_id_str, scopes, expires_at, created_by)
  values ($1::text, $2::text, $3::bytea, $4::text, string_to_array($5::text, ' '), $6::timestamptz, $7::text)
  returning *
)
insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
select 'api_key_created', 'api_key', id,
       jsonb_build_object('name', name, 'user_id_str', user_id_str, 'scopes', scopes, 'expires_at', expires_at),
       created_by
from made
