-- Revert settle:patience from pg
begin;

delete from settle.schema_version where change = 'patience';
comment on column settle.publish_polls.error_code is 'why it could not be asked; a word of missing_reason';
drop index settle.platform_connections_platform;
create index platform_connections_platform on settle.platform_connections (platform) where connected;
drop table settle.platform_resumes;

commit;
