-- breaker_read: a platform's breaker, for the pure rules to decide by.
-- $1 platform text
-- At least one row: now timestamptz, version int8 (null: there is no breaker yet), state text, failures int4, opened_at
-- timestamptz, transitions int8, and when one of its permits is over timestamptz (null: there is none); a row each, in the
-- order in which they are kept.
select clock_timestamp(), b.version, b.state, b.failures, b.opened_at, b.transitions, permit.until
from (values ($1::text)) as wanted (platform)
left join settle.breakers as b on b.platform = wanted.platform
left join lateral unnest(b.probes_until) with ordinality as permit (until, place) on true
order by permit.place
