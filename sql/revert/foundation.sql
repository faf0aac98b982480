-- Revert settle:foundation from pg
-- The roles stay: they belong to the whole cluster, another database may use them, and their passwords are the
-- operator's. Without the schema they can do nothing here.
begin;

drop table settle.schema_version;
drop schema settle;

commit;
