-- Nobody who serves can change history: the ledger and what came in are only ever added to. Tried, not looked up.
begin;
create extension if not exists pgtap;
select plan(63);

insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'anna');
insert into settle.social_sync_ledger (event_type, entity_type, entity_id) values ('publish_reconciled', 'publish_log', '1');
insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, decisive, received_at)
values (decode(repeat('ab', 32), 'hex'), 'default', 'tiktok', gen_random_uuid(), 0, now());
insert into settle.webhook_deliveries (id, source, platform, received_at, headers, body)
values (gen_random_uuid(), 'default', 'tiktok', now(), '', '');
insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)
values (gen_random_uuid(), 'default', 'tiktok', now(), 'signature', '', '');

create function pg_temp.refused(role text, statement text) returns text language plpgsql as $$
begin
  perform set_config('role', role, true);
  return throws_ok(statement, '42501', null, role || ' is refused: ' || statement);
end
$$;

select pg_temp.refused(role, format(statement, relation))
from unnest(array['settle_gateway', 'settle_reconciler', 'settle_api', 'settle_maintain', 'settle_readonly']) as role,
     unnest(array['social_sync_ledger', 'webhook_receipts', 'webhook_deliveries', 'refused_requests']) as relation,
     unnest(array['update settle.%I set source = source', 'delete from settle.%I', 'truncate settle.%I']) as statement
where not (role = 'settle_maintain' and statement like 'delete%');
reset role;

-- Retention is the one way out, and the one role's.
set local role settle_maintain;
select lives_ok(format('delete from settle.%I', relation), 'settle_maintain forgets ' || relation)
from unnest(array['social_sync_ledger', 'webhook_receipts', 'webhook_deliveries', 'refused_requests', 'job_runs', 'alerts'])
  as relation;
select throws_ok('delete from settle.publish_logs', '42501', null, 'but never a publication');
reset role;

select * from finish();
rollback;
