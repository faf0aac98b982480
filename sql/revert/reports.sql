-- Revert settle:reports from pg
begin;

delete from settle.schema_version where change = 'reports';
revoke execute on function settle.attempts_moved (jsonb) from settle_api;
revoke delete on settle.publish_open from settle_api;
revoke update (status, external_post_id, external_url, error_message, published_at, settled_at, retry_count, last_retry_at,
               next_retry_at, extra_metadata, updated_at) on settle.publish_logs from settle_api;
revoke update (retry_count, next_retry_at) on settle.publish_logs from settle_reconciler;
comment on column settle.social_sync_ledger.receipt_id is 'dedup_key of the receipt a decision rests on';
drop table settle.platform_pauses, settle.poll_budgets, settle.publish_polls, settle.publish_leases, settle.publication_reports;
drop function settle.time_noted (text);
drop index settle.publish_open_claim;

commit;
