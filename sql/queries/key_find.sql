-- key_find: the key of the API that key_name has named.
-- $1 id text
-- One row: hash bytea, user_id_str text or null, scopes text split by blanks, whether it is in force boolean. If there is no such key,
-- a hash that is no key's: the time of an answer is not to tell which ids there are.
select coalesce(k.hash, '\x0000000000000000000000000000000000000000000000000000000000000000') as hash,
       k.user_id_str,
       array_to_string(coalesce(k.scopes, array['read']), ' ') as scopes,
       coalesce(k.revoked_at is null and coalesce(k.expires_at > now(), true), false) as in_force
from (select) as asked
left join settle.api_keys as k on k.id = $1::text
