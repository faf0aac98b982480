-- Verify settle:live_views on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'live_views';
select receipt_key, receipt_status, receipt_decisive, receipt_time, receipt_received_at, receipt_url, receipt_reason,
       receipt_extras, reason, evidence_at, evidence_key, noted, noted_status, noted_at
from settle.publication_evidence
where false;
select id, extra_metadata from settle.publish_logs_live where false;
select 1 / (
  has_table_privilege('settle_reconciler', 'settle.publish_logs_live', 'select')
  and has_function_privilege('settle_reconciler', 'settle.extras_object(text)', 'execute')
  and has_function_privilege('settle_reconciler', 'settle.webhook_noted(jsonb, text)', 'execute')
  and has_function_privilege('settle_reconciler', 'settle.attempts_moved(jsonb)', 'execute'))::int;

rollback;
