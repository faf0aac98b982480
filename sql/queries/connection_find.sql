-- connection_find: the tokens of these accounts, for a pass that asks platforms.
-- $1 user_id_str text[]  $2 platform text[]  $3 account text[]
-- One row an account that is there, in no order: its place in the arrays, from 1, int8; token bytea, sealed (null: none is
-- set); key_id text; connected bool; whether it has expired bool.
select wanted.place, c.token, c.key_id, c.connected, coalesce(c.expires_at <= now(), false)
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as wanted (user_id_str, platform, account, place)
join settle.platform_connections as c using (user_id_str, platform, account)
