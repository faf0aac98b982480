-- Deploy settle:scheduled to pg
-- The publications whose time has not come, for the API's list of them: they may be few among many, and an index on
-- publish_logs would have to name status (publish_logs.sql says what that costs). Kept as publish_open is, and apart from it,
-- so that what waits for webhooks is walked without them.
begin;

create table settle.publish_scheduled (
  id uuid not null,
  source text collate "C" not null,
  platform text collate "C" not null,
  primary key (id, source)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- Runs with the rights of whoever writes publish_logs.
create function settle.publish_scheduled_follow() returns trigger
language plpgsql
as $$
begin
  if tg_op = 'TRUNCATE' then
    truncate settle.publish_scheduled;
    return null;
  end if;
  if tg_op <> 'INSERT' and old.status = 'scheduled' then
    delete from settle.publish_scheduled where id = old.id and source = old.source;
  end if;
  if tg_op <> 'DELETE' and new.status = 'scheduled' then
    insert into settle.publish_scheduled (id, source, platform)
    values (new.id, new.source, new.platform)
    on conflict do nothing;
  end if;
  return null;
end
$$;
revoke execute on function settle.publish_scheduled_follow () from public;

create trigger publish_logs_scheduled after insert on settle.publish_logs
for each row when (new.status = 'scheduled')
execute function settle.publish_scheduled_follow();

create trigger publish_logs_rescheduled after update on settle.publish_logs
for each row when ((old.status = 'scheduled' or new.status = 'scheduled')
                   and (old.id, old.source, old.platform, old.status)
                       is distinct from (new.id, new.source, new.platform, new.status))
execute function settle.publish_scheduled_follow();

create trigger publish_logs_unscheduled after delete on settle.publish_logs
for each row when (old.status = 'scheduled')
execute function settle.publish_scheduled_follow();

create trigger publish_logs_scheduled_truncated after truncate on settle.publish_logs
for each statement
execute function settle.publish_scheduled_follow();

insert into settle.publish_scheduled (id, source, platform)
select id, source, platform
from settle.publish_logs
where status = 'scheduled';

grant select, insert, delete on settle.publish_scheduled to settle_api, settle_reconciler;
grant select on settle.publish_scheduled to settle_readonly;

insert into settle.schema_version (change) values ('scheduled');

commit;
