-- insights_lease: takes due tasks for a runner that is about to ask about them. One at which somebody works is left to him
-- until his lease is over; of two that take at once each task is one's.
-- $1 at most so many int8  $2 holder text  $3 run id uuid  $4 seconds int8  $5 id of the only one int8, due or not, unless it is
-- paused (null: whatever is due)  $6 platforms text[] of which nothing is taken that is merely due
-- One row each: id int8, user_id, platform, site_url text, account text (null: no connection), token int8.
with due as materialized (
  select id, user_id, platform, site_url
  from settle.platform_insights_tasks as t
  where $5::bigint is null
    and status in ('active', 'failed')
    and (next_check is null or next_check <= now())
    and platform not in (select platform from settle.platform_pauses)
    and platform <> all ($6::text[])
    and not exists (select
                    from settle.task_leases as l
                    where l.task_key = 'platform_insights_' || t.id
                      and l.expires_at > now())
  order by next_check nulls first
  limit $1::bigint
  for update of t skip locked
), one as materialized (
  select id, user_id, platform, site_url
  from settle.platform_insights_tasks
  where id = $5
    and status <> 'paused'
  for update skip locked
), wanted as (
  select * from due
  union all
  select * from one
), leased as (
  insert into settle.task_leases as l (task_key, holder, run_id, expires_at)
  select 'platform_insights_' || id, $2::text, $3::uuid, now() + $4::bigint * interval '1 second'
  from wanted
  on conflict (task_key) do update
    set token = excluded.token, holder = excluded.holder, run_id = excluded.run_id, taken_at = excluded.taken_at,
        expires_at = excluded.expires_at
    where l.expires_at <= now()
  returning task_key, token
)
select w.id, w.user_id, w.platform, coalesce(w.site_url, case when settle.is_site(c.account) then c.account end), c.account,
       l.token
from leased as l
join wanted as w on l.task_key = 'platform_insights_' || w.id
left join lateral (
  select account
  from settle.platform_connections
  where user_id_str = w.user_id
    and platform = w.platform
    and connected
  order by account = w.site_url desc nulls last, (w.site_url is null and settle.is_site(account)) desc,
           coalesce(expires_at > now(), true) desc, account = 'default' desc, account
  limit 1) as c on true
