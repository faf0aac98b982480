-- Verify settle:aggregates on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'aggregates';
select date, user_id_str, platform, publication_count, success_count, failed_count, settled_count, avg_settle_ms, webhook_count,
       cost_total, source_count, source_hash, hash_version, verification_status, verified_at, verify_diff, is_partial,
       last_run_id, created_at, updated_at
from settle.daily_aggregates
where false;
select date, aggregated_at, is_partial, verification_status, verified_at, drift_rows, attempts, next_attempt_at, failed_at,
       error_code, error_message, last_run_id
from settle.aggregate_days
where false;
select date, marked_at from settle.dirty_days where false;
select date, user_id_str, platform, n from settle.forgotten_webhooks where false;
select id, user_id_str, platform, log_id, provider, model, input_tokens, output_tokens, cost, timestamp, idempotency_key, created_at
from settle.cost_records
where false;
select * from settle.daily_totals where false;
select 1 / (count(*) = 8)::int from pg_trigger where tgname ~ '^(publish_logs|cost_records)_mark';
select 1 / count(*) from settle.job_fences where name = 'aggregates_verify';

rollback;
