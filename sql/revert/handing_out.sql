-- Revert settle:handing_out from pg
begin;

delete from settle.schema_version where change = 'handing_out';

revoke execute on function settle.time_noted (text) from settle_reconciler;
drop function settle.next_try (timestamptz, timestamptz, text);
alter table settle.publish_leases drop column external_post_id;

drop policy tenant on settle.publish_open;
create policy tenant on settle.publish_open to settle_tenant
using (exists (select from settle.publish_logs as p where p.id = publish_open.id and p.source = publish_open.source));

create or replace function settle.publish_open_follow() returns trigger
language plpgsql
as $$
begin
  if tg_op = 'TRUNCATE' then
    truncate settle.publish_open;
    return null;
  end if;
  if tg_op <> 'DELETE' and new.status in ('pending', 'processing', 'retry') then
    insert into settle.publish_open as open (id, source, platform, status, updated_at)
    values (new.id, new.source, new.platform, new.status, new.updated_at)
    on conflict (id, source) do update
      set platform = excluded.platform,
          status = excluded.status,
          updated_at = excluded.updated_at;
  end if;
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and
     (new.status not in ('pending', 'processing', 'retry') or (new.id, new.source) <> (old.id, old.source)) then
    delete from settle.publish_open where id = old.id and source = old.source;
  end if;
  return null;
end
$$;

drop trigger publish_logs_updated on settle.publish_logs;
create trigger publish_logs_updated after update on settle.publish_logs
for each row when ((old.id, old.source, old.platform, old.status, old.updated_at)
                   is distinct from (new.id, new.source, new.platform, new.status, new.updated_at))
execute function settle.publish_open_follow();

drop index settle.publish_open_tenant;
alter table settle.publish_open drop column user_id_str;

commit;
