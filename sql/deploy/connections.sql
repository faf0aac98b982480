-- Deploy settle:connections to pg
-- Tokens of the tenants' accounts, with which platforms are asked about their posts. Sealed before they come here; the API
-- may set one and never read one back.
begin;

create table settle.platform_connections (
  user_id_str text collate "C" not null check (octet_length(user_id_str) between 1 and 255),
  platform text collate "C" not null check (octet_length(platform) between 1 and 50),
  account text collate "C" not null check (octet_length(account) between 1 and 255),
  token bytea check (octet_length(token) between 42 and 8233),
  key_id text collate "C" check (key_id ~ '^[0-9a-f]{16}$'),
  expires_at timestamptz,
  connected boolean not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (user_id_str, platform, account),
  check ((token is null) = (key_id is null))
);
comment on column settle.platform_connections.account is 'publish_logs.social_account_id as text; default where there is none';
comment on column settle.platform_connections.token is
  '1 to 8192 bytes, sealed (shared/domain/seal.c) for this user, platform and account; null: none is set';
comment on column settle.platform_connections.key_id is 'which key of connections.key_file sealed it';

grant select, insert, update, delete on settle.platform_connections to settle_reconciler;
grant insert, update (token, key_id, expires_at, connected, updated_at),
  select (user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at)
  on settle.platform_connections to settle_api;
grant select (user_id_str, platform, account, key_id, expires_at, connected, created_at, updated_at)
  on settle.platform_connections to settle_readonly;

insert into settle.schema_version (change) values ('connections');

commit;
