-- Verify settle:ledger on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'ledger';
select id, source, seq, timestamp, event_type, severity, entity_type, entity_id, metadata, actor, run_id, receipt_id,
       worker_id, job_id, clip_id
from settle.social_sync_ledger
where false;
select 1 / (
  has_table_privilege('settle_reconciler', 'settle.social_sync_ledger', 'insert')
  and not has_table_privilege('settle_reconciler', 'settle.social_sync_ledger', 'update')
  and not has_table_privilege('settle_reconciler', 'settle.social_sync_ledger', 'delete'))::int;

rollback;
