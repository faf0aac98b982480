-- open_count: counts the publications that wait for a webhook and are older than a time, oldest first, a part at a
-- time. A pending one waits for none.
-- $1 older than timestamptz  $2 updated_at timestamptz, $3 id uuid the part begins behind (null: at the oldest)
-- $4 limit bigint
-- One row: rows of the part bigint, of those waiting bigint, updated_at timestamptz and id uuid of the last.
with part as materialized (
  select updated_at, id, status
  from settle.publish_open
  where updated_at < $1::timestamptz
    and (updated_at, id) > (coalesce($2::timestamptz, '-infinity'),
                            coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
  order by updated_at, id
  limit $4::bigint
), part_end as (
  select updated_at, id
  from part
  order by updated_at desc, id desc
  limit 1
)
select (select count(*) from part),
       (select count(*) from part where status <> 'pending'),
       (select updated_at from part_end),
       (select id from part_end)
