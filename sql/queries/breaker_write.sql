-- breaker_write: writes a platform's breaker if it is still as it was read.
-- $1 platform text  $2 version that was read int8 (null: there was none)  $3 state text  $4 failures int8
-- $5 opened_at timestamptz  $6 transitions int8  $7 probes_until timestamptz[]
-- One row, 1, if it was written; none if somebody else has written meanwhile.
insert into settle.breakers as had (platform, state, failures, opened_at, transitions, probes_until)
values ($1::text, $3::text, $4::bigint::integer, $5::timestamptz, $6::bigint, $7::timestamptz[])
on conflict (platform) do update
  set state = excluded.state,
      failures = excluded.failures,
      opened_at = excluded.opened_at,
      transitions = excluded.transitions,
      closings = had.closings + (had.state <> 'closed' and excluded.state = 'closed')::int,
      probes_until = excluded.probes_until,
      version = had.version + 1,
      changed_at = case when had.transitions = excluded.transitions then had.changed_at else now() end,
      updated_at = now()
  where had.version = $2::bigint
returning 1
