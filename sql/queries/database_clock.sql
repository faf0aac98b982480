-- database_clock: what time the database has.
-- Without parameters.
-- One row: clock timestamptz.
select clock_timestamp()
