-- key_find: the key of the API that key_name has named.
-- $1 id text
-- One row: hash bytea, user_id_str text or null, scopes text split by blanks, whether it is in force boolean; none if there
-- is no such key.
select hash, user_id_str, array_to_string(scopes, ' ') as scopes,
       revoked_at is null and coalesce(expires_at > now(), true) as in_force
from settle.api_keys
where id = $1::text
