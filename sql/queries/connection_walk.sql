-- connection_walk: one page of the connections, to be shown, or to be sealed again with the newest key.
-- $1 $2 $3 user_id_str, platform, account text that the page begins behind (null: at the first)
-- $4 user_id_str text (null: all)  $5 id of a key text: only what is sealed with another (null: all)
-- One row each, at most 500, in that order: user_id_str, platform, account, key_id text; connected bool; expires_at,
-- updated_at timestamptz; token bytea, sealed, null unless $5 is given.
select c.user_id_str, c.platform, c.account, c.key_id, c.connected, c.expires_at, c.updated_at,
       case when $5::text is not null then c.token end
from settle.platform_connections as c
where (c.user_id_str, c.platform, c.account) > (coalesce($1::text, ''), coalesce($2::text, ''), coalesce($3::text, ''))
  and ($4::text is null or c.user_id_str = $4)
  and ($5::text is null or c.key_id <> $5)
order by c.user_id_str, c.platform, c.account
limit 500
