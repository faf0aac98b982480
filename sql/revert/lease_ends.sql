-- Revert settle:lease_ends from pg
begin;

delete from settle.schema_version where change = 'lease_ends';
drop function settle.job_lease (timestamptz);
drop function settle.worker_lease (timestamptz);

commit;
