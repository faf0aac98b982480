-- key_list: one page of the API's keys, by id.
-- $1 user_id_str text (null: of all)  $2 id text that the page begins behind (null: at the first)  $3 limit int8
-- Rows: id, name, user_id_str or null, scopes split by blanks, created_at, created_by, expires_at or null, revoked_at or null,
-- the id of the key it replaces or null, whether it is in force.
select id, name, user_id_str, array_to_string(scopes, ' ') as scopes, created_at, created_by, expires_at, revoked_at,
       replaces, revoked_at is null and coalesce(expires_at > now(), true) as in_force
from settle.api_keys
where ($1::text is null or user_id_str = $1)
  and ($2::text is null or id > $2)
order by id
limit $3::bigint
