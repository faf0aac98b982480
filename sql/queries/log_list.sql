-- log_list: one page of publications, newest first: ids are UUIDv7 and sort by the time of registration.
-- $1 user_id_str text  $2 status text  $3 platform text  $4 source text  $5 older_than_minutes int8 (each null: any)
-- $6 $7 id uuid and source text that the page begins behind (null: at the newest)  $8 limit int8
-- One row: HTTP status, JSON text, cursor of the next page or null.
-- Planned with its values, so that only one of the three ways is left: open and scheduled rows are few and have tables of
-- their own.
with page as materialized (
  (select id, source
   from settle.publish_open
   where $1::text is null
     and $2::text in ('pending', 'processing', 'retry')
     and status = $2
     and ($3::text is null or platform = $3)
     and ($4::text is null or source = $4)
     and ($5::bigint is null or updated_at < now() - $5 * interval '1 minute')
     and ($6::uuid is null or (id, source) < ($6, $7::text))
   order by id desc, source desc
   limit $8::bigint + 1) -- one more tells whether there is a next page
  union all
  (select id, source
   from settle.publish_scheduled as s
   where $1 is null
     and $2 = 'scheduled'
     and ($3 is null or platform = $3)
     and ($4 is null or source = $4)
     and ($5 is null or exists (select
                                from settle.publish_logs as p
                                where p.id = s.id
                                  and p.source = s.source
                                  and p.updated_at < now() - $5 * interval '1 minute'))
     and ($6 is null or (id, source) < ($6, $7))
   order by id desc, source desc
   limit $8 + 1)
  union all
  (select id, source
   from settle.publish_logs
   where ($1 is not null or $2 is null or $2 not in ('scheduled', 'pending', 'processing', 'retry'))
     and ($1 is null or user_id_str = $1)
     and ($2 is null or status = $2)
     and ($3 is null or platform = $3)
     and ($4 is null or source = $4)
     and ($5 is null or updated_at < now() - $5 * interval '1 minute')
     and ($6 is null or (id, source) < ($6, $7))
   order by id desc, source desc
   limit $8 + 1)
), shown as (
  select live.*
  from (select id, source from page order by id desc, source desc limit $8) as first
  join settle.publish_logs_live as live using (id, source)
), next as (
  select case when (select count(*) from page) > $8
              then (select encode(convert_to(id || '.' || source, 'UTF8'), 'hex') from shown order by id, source limit 1)
         end as cursor
)
select 200 as status,
       json_build_object('items', coalesce((select json_agg(shown order by id desc, source desc) from shown), '[]'),
                         'next_cursor', next.cursor)::text as body,
       next.cursor
from next
