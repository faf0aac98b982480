-- session_set: the limits and habits of one connection; sent after connecting, since poolers refuse start-up options.
-- $1 statement_timeout_ms bigint  $2 lock_timeout_ms bigint  $3 idle_in_transaction_timeout_ms bigint
-- $4 read_only boolean
-- One row of no interest. The empty search_path makes every statement name its schema. synchronous_commit keeps what
-- it is: the check of the server, which comes next, would not see it change in a later reload.
select set_config('statement_timeout', $1::bigint::text, false),
       set_config('lock_timeout', $2::bigint::text, false),
       set_config('idle_in_transaction_session_timeout', $3::bigint::text, false),
       set_config('default_transaction_read_only',
                  case when $4::boolean then 'on' else current_setting('default_transaction_read_only') end, false),
       set_config('synchronous_commit', current_setting('synchronous_commit'), false),
       set_config('timezone', 'UTC', false),
       set_config('search_path', '', false)
