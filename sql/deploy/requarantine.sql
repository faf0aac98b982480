-- Deploy settle:requarantine to pg
-- Who takes in refused requests again, after their secret was mended, may read and delete them, which the gateway may not.
begin;

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'settle_requarantine') then
    create role settle_requarantine login;
  end if;
exception
  when duplicate_object or unique_violation then -- roles belong to the whole cluster: another database of it makes them too
    null;
end
$$;

grant usage on schema settle to settle_requarantine;
grant select on settle.schema_version to settle_requarantine;
grant select, delete on settle.refused_requests to settle_requarantine;
grant insert on settle.webhook_receipts, settle.webhook_deliveries to settle_requarantine;
grant select (dedup_key, source, delivery_id) on settle.webhook_receipts to settle_requarantine;

-- In the order in which one source's are verified again.
create index refused_requests_source on settle.refused_requests (source, received_at, id);

insert into settle.schema_version (change) values ('requarantine');

commit;
