-- Revert settle:live_views from pg
begin;

delete from settle.schema_version where change = 'live_views';
drop view settle.publish_logs_live;
drop view settle.publication_evidence;
drop function settle.extras_object (text);
drop function settle.webhook_noted (jsonb, text);
drop function settle.attempts_moved (jsonb);

commit;
