-- Deploy settle:breakers to pg
-- Whether each platform may be asked, or is left alone for a while because it keeps failing; shared by all runners. What
-- the columns may become is decided by shared/domain/breaker.c alone, and written if version is still what was read.
begin;

create table settle.breakers (
  platform text collate "C" primary key check (octet_length(platform) between 1 and 50),
  state text collate "C" not null check (state in ('closed', 'open', 'half_open')),
  failures integer not null check (failures >= 0),
  opened_at timestamptz,
  transitions bigint not null check (transitions >= 0),
  probes_until timestamptz[] not null check (cardinality(probes_until) <= 100),
  version bigint not null default 1,
  changed_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((opened_at is null) = (state = 'closed'))
);
comment on column settle.breakers.failures is 'in a row';
comment on column settle.breakers.transitions is 'changes of state so far: a breaker that flaps has many';
comment on column settle.breakers.probes_until is 'when each permit in use of a half-open breaker is over';
comment on column settle.breakers.changed_at is 'when the state last changed';

grant select, insert, update on settle.breakers to settle_reconciler;
grant select on settle.breakers to settle_api, settle_readonly;

insert into settle.schema_version (change) values ('breakers');

commit;
