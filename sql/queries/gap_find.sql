-- gap_find: tenants with insights platforms connected, and how many of these have an active task.
-- $1 those behind this tenant text  $2 at most so many int8
-- Rows in the order of the tenant: user_id_str text, connected int8, active int8.
select tenant.user_id_str, tenant.connected,
       (select count(*)
        from settle.platform_insights_tasks as t
        where t.user_id = tenant.user_id_str
          and t.status = 'active'
          and exists (select
                      from settle.platform_connections as c
                      where c.user_id_str = t.user_id
                        and c.platform = t.platform
                        and c.connected)) as active
from (
  select user_id_str, count(distinct platform) as connected
  from settle.platform_connections
  where connected
    and platform in (select platform from settle.insights_platforms)
    and user_id_str > $1::text
  group by user_id_str
  order by user_id_str
  limit $2::bigint
) as tenant
order by tenant.user_id_str
