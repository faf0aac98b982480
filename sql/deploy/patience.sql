-- Deploy settle:patience to pg
-- Before a publication is failed by time-out: what was not to be had during a pause gets its time again, and an account
-- without a token is nobody to ask with.
begin;

create table settle.platform_resumes (
  platform text collate "C" primary key,
  resumed_at timestamptz not null
);
comment on table settle.platform_resumes is 'when each platform went on after its last pause: no wait began before that';

drop index settle.platform_connections_platform;
create index platform_connections_platform on settle.platform_connections (platform) where connected and token is not null;

comment on column settle.publish_polls.error_code is
  'why it could not be asked: a word of missing_reason, not_found or invalid_post_id';

grant select, insert, update on settle.platform_resumes to settle_reconciler;
grant select on settle.platform_resumes to settle_readonly;

insert into settle.schema_version (change) values ('patience');

commit;
