-- refused_list: one page of the requests that were turned away, newest first, with the cause.
-- $1 platform text  $2 source text  $3 cause text (each null: any)
-- $4 $5 received_at timestamptz and id uuid that the page begins behind (null: at the newest)  $6 limit int8
-- One row: HTTP status, JSON text, cursor of the next page or null.
with page as materialized (
  select id, platform, source, received_at, cause, detail, octet_length(body) as body_bytes
  from settle.refused_requests
  where ($1::text is null or platform = $1)
    and ($2::text is null or source = $2)
    and ($3::text is null or cause = $3)
    and ($4::timestamptz is null or (received_at, id) < ($4, $5::uuid))
  order by received_at desc, id desc
  limit $6::bigint + 1
), shown as (
  select *
  from page
  order by received_at desc, id desc
  limit $6
), next as (
  select case when (select count(*) from page) > $6
              then (select encode(convert_to((extract(epoch from received_at) * 1000000)::bigint || '.' || id, 'UTF8'), 'hex')
                    from shown
                    order by received_at, id
                    limit 1)
         end as cursor
)
select 200 as status,
       json_build_object('items', coalesce((select json_agg(shown order by received_at desc, id desc) from shown), '[]'),
                         'next_cursor', next.cursor)::text as body,
       next.cursor
from next
