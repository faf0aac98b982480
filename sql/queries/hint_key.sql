-- hint_key: what a Redis hint is bound to: our key, this database cluster, this start of its server.
-- Without parameters.
-- One row: key bytea, system_identifier bigint, postmaster_started timestamptz.
select hint.key, control.system_identifier, pg_postmaster_start_time()
from settle.hint_key as hint,
     pg_control_system() as control
