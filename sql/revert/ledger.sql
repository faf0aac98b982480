-- Revert settle:ledger from pg
begin;

delete from settle.schema_version where change = 'ledger';
drop table settle.social_sync_ledger;

commit;
