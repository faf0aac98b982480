-- Revert settle:tenants from pg
-- The roles stay: they belong to the whole cluster.
begin;

delete from settle.schema_version where change = 'tenants';

do $$
declare
  policy record;
begin
  for policy in select tablename, policyname from pg_catalog.pg_policies where schemaname = 'settle'
  loop
    execute format('drop policy %I on settle.%I', policy.policyname, policy.tablename);
    execute format('alter table settle.%I disable row level security, no force row level security', policy.tablename);
  end loop;
end
$$;
drop table settle.api_keys;
revoke all on all tables in schema settle from settle_tenant, settle_operator, settle_keys;
revoke all on all functions in schema settle from settle_tenant, settle_operator;
drop function settle.tenant ();
revoke usage on schema settle from settle_tenant, settle_operator, settle_keys;
revoke settle_tenant, settle_operator from settle_api;
alter role settle_api inherit;

grant select, insert on settle.publish_logs to settle_api;
grant update (status, external_post_id, external_url, error_message, published_at, settled_at, retry_count, last_retry_at,
              next_retry_at, extra_metadata, updated_at) on settle.publish_logs to settle_api;
grant select, insert, update, delete on settle.publish_open, settle.publish_leases to settle_api;
grant select, insert, delete on settle.publish_scheduled to settle_api;
grant select, insert on settle.publication_reports, settle.social_sync_ledger to settle_api;
grant insert, update (token, key_id, expires_at, connected, updated_at),
  select (user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at)
  on settle.platform_connections to settle_api;
grant select, update (status, resolved_at, resolved_by, resolution_notes) on settle.alerts to settle_api;
grant select on settle.webhook_receipts, settle.webhook_deliveries, settle.refused_requests, settle.publish_polls,
  settle.platform_pauses, settle.publication_evidence, settle.publish_logs_live, settle.job_runs, settle.job_fences,
  settle.job_schedule, settle.scheduler_event_logs, settle.breakers, settle.websub_subscriptions, settle.run_totals
  to settle_api;
grant execute on function settle.extras_object (text), settle.webhook_noted (jsonb, text), settle.time_noted (text),
  settle.attempts_moved (jsonb), settle.retry_wait (integer)
  to settle_api;

commit;
