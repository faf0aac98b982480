-- poll_spend: takes one request of an account's budget of this minute.
-- $1 user_id_str text  $2 platform text  $3 account text  $4 now timestamptz  $5 requests a minute int8
-- One row if there was one left.
insert into settle.poll_budgets as b (user_id_str, platform, account, minute, used)
values ($1::text, $2::text, $3::text, date_trunc('minute', $4::timestamptz), 1)
on conflict (user_id_str, platform, account) do update
  set minute = excluded.minute,
      used = case when b.minute = excluded.minute then b.used + 1 else 1 end
  where b.minute <> excluded.minute
     or b.used < $5::bigint
returning used
