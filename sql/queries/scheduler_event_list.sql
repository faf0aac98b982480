-- scheduler_event_list: one page of what the scheduler did, newest first.
-- $1 user_id text (null: all): that tenant's events and those that are nobody's  $2 event_type text (null: any)
-- $3 days int8 (null: since ever)  $4 limit int8  $5 offset int8
-- One row: HTTP status, JSON text, null.
-- Planned with its values: of the three ways one or two are left, and each walks an index in the order of time. Details are
-- read of the page alone.
with cutoff as materialized (
  select case when $3::bigint is not null then now() - $3 * interval '1 day' else '-infinity' end as since
), newest as materialized (
  select id
  from ((select id, event_date
         from settle.scheduler_event_logs
         where $1::text is null
           and ($2::text is null or event_type = $2)
           and event_date >= (select since from cutoff)
         order by event_date desc, id desc
         limit $5::bigint + $4::bigint)
        union all
        (select id, event_date
         from settle.scheduler_event_logs
         where user_id = $1
           and ($2 is null or event_type = $2)
           and event_date >= (select since from cutoff)
         order by event_date desc, id desc
         limit $5 + $4)
        union all
        (select id, event_date
         from settle.scheduler_event_logs
         where $1 is not null
           and user_id is null
           and ($2 is null or event_type = $2)
           and event_date >= (select since from cutoff)
         order by event_date desc, id desc
         limit $5 + $4)) as way
  order by event_date desc, id desc
  limit $4
  offset $5
), page as (
  select e.*
  from settle.scheduler_events as e
  where e.id = any (array(select id from newest))
), total as (
  select count(*) as n
  from settle.scheduler_event_logs
  where ($1 is null or user_id = $1)
    and ($2 is null or event_type = $2)
    and event_date >= (select since from cutoff)
), nobodys as (
  select count(*) as n
  from settle.scheduler_event_logs
  where $1 is not null
    and user_id is null
    and ($2 is null or event_type = $2)
    and event_date >= (select since from cutoff)
)
select 200 as status,
       (jsonb_build_object(
          'events', coalesce((select jsonb_agg(to_jsonb(page) order by event_date desc, id desc) from page), '[]'),
          'total_count', total.n + nobodys.n,
          'limit', $4,
          'offset', $5,
          'has_more', $5 + $4 < total.n + nobodys.n)
        || case when $3 is null then '{}'
                else jsonb_build_object('date_filter', jsonb_build_object('days', $3, 'cutoff_date', cutoff.since,
                                                                          'showing_events_since', cutoff.since))
           end)::text as body,
       null as cursor
from total, nobodys, cutoff
