-- run_list: one page of runs, newest first (ids are UUIDv7).
-- $1 job_name text  $2 status text (each null: any)  $3 id uuid that the page begins behind  $4 limit int8
-- One row: HTTP status, JSON text, cursor of the next page or null.
with page as materialized (
  select id, job_name, target_date, scope, actor, trigger, status, outcome, attempt, started_at, finished_at,
         records_read, error_code, error_message
  from settle.job_runs
  where ($1::text is null or job_name = $1)
    and ($2::text is null or status = $2)
    and ($3::uuid is null or id < $3)
  order by id desc
  limit $4::bigint + 1
), shown as (
  select *
  from page
  order by id desc
  limit $4
), next as (
  select case when (select count(*) from page) > $4
              then (select encode(convert_to(id::text, 'UTF8'), 'hex') from shown order by id limit 1)
         end as cursor
)
select 200 as status,
       json_build_object('items', coalesce((select json_agg(shown order by id desc) from shown), '[]'),
                         'next_cursor', next.cursor)::text as body,
       next.cursor
from next
