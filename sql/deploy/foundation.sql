-- Deploy settle:foundation to pg
-- The schema, one role a program, and the table by which programs know what has been deployed.
begin;

create schema settle;

-- Roles belong to the whole cluster: another database of it may have made them, or be making them right now.
do $$
declare
  role text;
begin
  foreach role in array array['settle_gateway', 'settle_reconciler', 'settle_api', 'settle_maintain', 'settle_readonly']
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = role) then
      begin
        execute format('create role %I login', role);
      exception
        when duplicate_object or unique_violation then
          null;
      end;
    end if;
  end loop;
end
$$;

grant usage on schema settle to settle_gateway, settle_reconciler, settle_api, settle_maintain, settle_readonly;

create table settle.schema_version (
  change text collate "C" primary key,
  deployed_at timestamptz not null default now()
);
comment on table settle.schema_version is 'one row a deployed change; programs refuse to start without the ones they need';
grant select on settle.schema_version to settle_gateway, settle_reconciler, settle_api, settle_maintain, settle_readonly;

insert into settle.schema_version (change) values ('foundation');

commit;
