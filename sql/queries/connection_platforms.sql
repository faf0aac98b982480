-- connection_platforms: which of these platforms have an account that is connected and has a token.
-- $1 platform text[]
-- One row each: platform text.
select platform
from unnest($1::text[]) as asked (platform)
where exists (select
              from settle.platform_connections as c
              where c.platform = asked.platform
                and c.connected
                and c.token is not null)
