-- caller_set: as whom this transaction goes on.
-- $1 user_id_str text (null: no tenant)  $2 role text: settle_tenant, settle_operator
-- One row of no interest. Both end with the transaction.
select set_config('settle.tenant', coalesce($1::text, ''), true),
       set_config('role', $2::text, true)
