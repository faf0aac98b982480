-- alert_list: one page of alerts, newest first.
-- $1 status text  $2 type text  $3 severity text (each null: any)
-- $4 $5 created_at timestamptz and id uuid that the page begins behind (null: at the newest)  $6 limit int8
-- One row: HTTP status, JSON text, cursor of the next page or null.
with page as materialized (
  select id, source, type, category, severity, dedupe_key, subject_type, subject_id, user_id_str, title, message,
         payload, status, occurrences, created_at, last_seen_at, resolved_at, resolved_by, resolution_notes
  from settle.alerts
  where ($1::text is null or status = $1)
    and ($2::text is null or type = $2)
    and ($3::text is null or severity = $3)
    and ($4::timestamptz is null or (created_at, id) < ($4, $5::uuid))
  order by created_at desc, id desc
  limit $6::bigint + 1
), shown as (
  select *
  from page
  order by created_at desc, id desc
  limit $6
), next as (
  select case when (select count(*) from page) > $6
              then (select encode(convert_to((extract(epoch from created_at) * 1000000)::bigint || '.' || id, 'UTF8'), 'hex')
                    from shown
                    order by created_at, id
                    limit 1)
         end as cursor
)
select 200 as status,
       json_build_object('items', coalesce((select json_agg(shown order by created_at desc, id desc) from shown), '[]'),
                         'next_cursor', next.cursor)::text as body,
       next.cursor
from next
