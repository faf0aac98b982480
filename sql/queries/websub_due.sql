-- websub_due: which of these topics must be asked for (again): never taken by the hub, or past half of their lease.
-- $1 platform text[]  $2 source text[]  $3 topic text[]
-- One row a topic: its place in the arrays, from 1, int8; in that order.
select wanted.place
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as wanted (platform, source, topic, place)
left join settle.websub_subscriptions as had using (platform, source, topic)
where had.accepted_at is null
   or had.accepted_at + had.lease_s * interval '0.5 seconds' <= now()
order by wanted.place
