-- connection_set: stores an account's token, or changes what is known of the one that is there.
-- $1 user_id_str text  $2 platform text  $3 account text  $4 token bytea, sealed (null: the present one stays, and with it
-- its end if $6 is null)  $5 id of the key that sealed it text  $6 expires_at timestamptz (null: never)  $7 connected bool
-- $8 actor text
-- One row: HTTP status, JSON text, text (null; of 404, which accounts there are). Status 0: another request is storing it just
-- now; ask again. 422: of a platform whose insights are looked at the account says whose, so it must be a site. 404: an account
-- that is not there has nothing to disconnect; a row made for it would hide that the one that was meant is still asked with.
with refused as materialized (
  select 1
  from settle.insights_platforms
  where platform = $2::text
    and $7::boolean
    and not settle.is_site($3::text)
), changed as (
  update settle.platform_connections as c
  set expires_at = coalesce($6::timestamptz, c.expires_at), connected = $7::boolean, updated_at = now()
  where c.user_id_str = $1::text
    and c.platform = $2::text
    and c.account = $3::text
    and $4::bytea is null
    and not exists (select from refused)
  returning c.user_id_str, c.platform, c.account, c.key_id, c.expires_at, c.connected, c.updated_at
), absent as materialized (
  select 1
  where $4::bytea is null
    and not $7::boolean
    and not exists (select from changed)
), stored as (
  insert into settle.platform_connections (user_id_str, platform, account, token, key_id, expires_at, connected)
  select $1::text, $2::text, $3::text, $4::bytea, $5::text, $6::timestamptz, $7::boolean
  where not exists (select from changed)
    and not exists (select from refused)
    and not exists (select from absent)
  on conflict (user_id_str, platform, account) do update
    set token = $4::bytea, key_id = $5::text, expires_at = $6::timestamptz, connected = $7::boolean, updated_at = now()
    where $4::bytea is not null
  returning user_id_str, platform, account, key_id, expires_at, connected, updated_at
), done as (
  select * from changed
  union all
  select * from stored
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'platform_connection_set', 'platform_connection', user_id_str,
         jsonb_build_object('platform', platform, 'account', account, 'connected', connected, 'expires_at', expires_at,
                            'token_replaced', $4::bytea is not null, 'key_id', key_id),
         $8::text
  from done
)
select 200 as status,
       json_build_object('user_id', user_id_str, 'platform', platform, 'account', account, 'connected', connected,
                         'token_stored', key_id is not null, 'expires_at', expires_at, 'updated_at', updated_at)::text as body,
       null as cursor
from done
union all
select 422, 'account_is_no_site', null
from refused
union all
select 404, 'unknown_account',
       json_build_array(json_build_object('field', 'account', 'message', coalesce('there are: ' || others, 'there is none')))::text
from (select string_agg(account, ', ' order by account) filter (where nth <= 10)
               || case when max(nth) > 10 then ' and others' else '' end as others
      from (select account, row_number() over (order by account) as nth
            from settle.platform_connections
            where user_id_str = $1::text
              and platform = $2::text
              and account <> $3::text
            order by account
            limit 11) as first) as told
where exists (select from absent)
union all
select 0, null, null
where not exists (select from done)
  and not exists (select from refused)
  and not exists (select from absent)
