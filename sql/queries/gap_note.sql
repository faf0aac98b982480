-- gap_note: keeps which tenants of a range lack active tasks, and since when. A time of a clock that was ahead is now's.
-- $1 the range begins behind this tenant text  $2 and ends with this one text (null: with the last)
-- $3 those who lack some text[]  $4 how many platforms each has connected int2[]  $5 how many of these have an active task int2[]
with found as materialized (
  select user_id_str, connected, active
  from unnest($3::text[], $4::smallint[], $5::smallint[]) as f (user_id_str, connected, active)
), closed as (
  delete from settle.insights_gaps as g
  where g.user_id_str > $1::text
    and ($2::text is null or g.user_id_str <= $2)
    and not exists (select from found where found.user_id_str = g.user_id_str)
)
insert into settle.insights_gaps as g (user_id_str, connected, active, since, seen_at)
select user_id_str, connected, active, now(), now()
from found
on conflict (user_id_str) do update
set connected = excluded.connected,
    active = excluded.active,
    since = least(g.since, now()),
    seen_at = now()
