-- connection_remove: forgets an account and its token.
-- $1 user_id_str text  $2 platform text  $3 account text  $4 actor text
-- One row, 1, if it was there.
with gone as (
  delete from settle.platform_connections
  where user_id_str = $1::text
    and platform = $2::text
    and account = $3::text
  returning user_id_str, platform, account
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'platform_connection_removed', 'platform_connection', user_id_str,
         jsonb_build_object('platform', platform, 'account', account), $4::text
  from gone
)
select 1 from gone
