-- Verify settle:publish_logs on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'publish_logs';
select id, source, platform, user_id_str, clip_id, social_account_id, status, external_post_id, external_url, error_message,
       requested_at, published_at, settled_at, retry_count, max_retries, last_retry_at, next_retry_at, schedule_type,
       scheduled_for, scheduled_window_end, scheduled_by, idempotency_key, extra_metadata, created_at, updated_at
from settle.publish_logs
where false;
select id, source, platform, status, updated_at from settle.publish_open where false;
select 1 / (
  has_table_privilege('settle_reconciler', 'settle.publish_logs', 'select')
  and has_table_privilege('settle_reconciler', 'settle.publish_logs', 'select')
  and has_column_privilege('settle_reconciler', 'settle.publish_logs', 'status', 'update')
  and has_table_privilege('settle_reconciler', 'settle.publish_open', 'delete'))::int;

rollback;
