-- Revert settle:publish_logs from pg
begin;

delete from settle.schema_version where change = 'publish_logs';
drop table settle.publish_logs;
drop table settle.publish_open;
drop function settle.publish_open_follow ();

commit;
