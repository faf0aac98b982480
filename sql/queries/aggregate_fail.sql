-- aggregate_fail: an attempt on a day failed: it is tried again later, each time later still, and after the third no more.
-- $1 date text  $2 attempt bigint, from 1  $3 error_code text  $4 error_message text  $5 run_id uuid
-- One row: next_attempt_at timestamptz (null: dead).
insert into settle.aggregate_days as d (date, attempts, next_attempt_at, failed_at, error_code, error_message, last_run_id)
select $1::text::date, $2::bigint, case when $2 < 3 then now() + interval '1 hour' * power(2, $2 - 1) end, clock_timestamp(),
       $3::text, $4::text, $5::uuid
on conflict (date) do update
  set attempts = excluded.attempts,
      next_attempt_at = excluded.next_attempt_at,
      failed_at = excluded.failed_at,
      error_code = excluded.error_code,
      error_message = excluded.error_message,
      last_run_id = excluded.last_run_id
returning next_attempt_at
