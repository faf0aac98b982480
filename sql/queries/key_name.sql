-- key_name: which key of the API this transaction may look at.
-- $1 id text
-- One row of no interest.
select set_config('settle.key', $1::text, true)
