-- Deploy settle:websub to pg
-- What we have asked WebSub hubs to send, so that it is asked for again before the lease ends.
begin;

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'settle_subscribe') then
    create role settle_subscribe login;
  end if;
exception
  when duplicate_object or unique_violation then -- roles belong to the whole cluster: another database of it makes them too
    null;
end
$$;

create table settle.websub_subscriptions (
  platform text collate "C" not null,
  source text collate "C" not null,
  topic text collate "C" not null,
  requested_at timestamptz not null,
  accepted_at timestamptz,
  lease_s integer not null check (lease_s > 0),
  hub_status smallint,
  error text,
  primary key (platform, source, topic)
);
comment on column settle.websub_subscriptions.requested_at is 'when the hub was asked last, whatever it said';
comment on column settle.websub_subscriptions.accepted_at is 'when the hub last took a request; null: never';
comment on column settle.websub_subscriptions.hub_status is 'its last HTTP answer; null: none came';

grant usage on schema settle to settle_subscribe;
grant select on settle.schema_version to settle_subscribe;
grant select, insert, update, delete on settle.websub_subscriptions to settle_subscribe;
grant select on settle.websub_subscriptions to settle_api, settle_readonly;

insert into settle.schema_version (change) values ('websub');

commit;
