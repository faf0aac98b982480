-- Deploy settle:asking to pg
begin;

-- Whether a platform has any account that it can be asked with: seen once a run, so that without one no publication is
-- looked at for it.
create index platform_connections_platform on settle.platform_connections (platform) where connected;

insert into settle.schema_version (change) values ('asking');

commit;
