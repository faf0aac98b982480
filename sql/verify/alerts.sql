-- Verify settle:alerts on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'alerts';
select id, source, type, category, severity, dedupe_key, subject_type, subject_id, user_id_str, title, message, payload,
       status, occurrences, created_at, last_seen_at, resolved_at, resolved_by, resolution_notes
from settle.alerts
where false;
select 1 / has_table_privilege('settle_reconciler', 'settle.alerts', 'insert')::int;

rollback;
