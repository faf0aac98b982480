-- Deploy settle:closings to pg
begin;

alter table settle.breakers add column closings bigint not null default 0 check (closings >= 0);
comment on column settle.breakers.closings is
  'times it closed again: a breaker that flaps has many, one of a platform that is down has none';

insert into settle.schema_version (change) values ('closings');

commit;
