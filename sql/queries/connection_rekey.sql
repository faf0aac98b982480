-- connection_rekey: replaces tokens by the same ones sealed with another key, if nobody has replaced them meanwhile.
-- $1 user_id_str text[]  $2 platform text[]  $3 account text[]  $4 token bytea[] as read  $5 token bytea[] as sealed again
-- $6 id of the new key text  $7 actor text
-- One row: how many int8.
with changed as (
  update settle.platform_connections as c
  set token = given.fresh, key_id = $6::text
  from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[])
    as given (user_id_str, platform, account, had, fresh)
  where c.user_id_str = given.user_id_str
    and c.platform = given.platform
    and c.account = given.account
    and c.token = given.had
  returning 1
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'platform_connections_rekeyed', 'platform_connection', $6::text, jsonb_build_object('rekeyed', count(*)), $7::text
  from changed
  having count(*) > 0
)
select count(*) from changed
