-- Deploy settle:handing_out to pg
-- What publishing workers are handed: a tenant's few are found among everybody's many; a lease knows which post was known
-- when it was given; and a time of the next try that a clock which was set back since has written is none.
begin;

-- The tenant beside each open row: a policy that looked it up in publish_logs would do so for every foreign row on the way.
alter table settle.publish_open add column user_id_str text collate "C";
update settle.publish_open as o
set user_id_str = p.user_id_str
from settle.publish_logs as p
where p.id = o.id
  and p.source = o.source;
alter table settle.publish_open alter column user_id_str set not null;
create index publish_open_tenant on settle.publish_open (user_id_str, platform, source, id)
  where status in ('pending', 'retry');

create or replace function settle.publish_open_follow() returns trigger
language plpgsql
as $$
begin
  if tg_op = 'TRUNCATE' then
    truncate settle.publish_open;
    return null;
  end if;
  if tg_op <> 'DELETE' and new.status in ('pending', 'processing', 'retry') then
    insert into settle.publish_open as open (id, source, platform, status, updated_at, user_id_str)
    values (new.id, new.source, new.platform, new.status, new.updated_at, new.user_id_str)
    on conflict (id, source) do update
      set platform = excluded.platform,
          status = excluded.status,
          updated_at = excluded.updated_at,
          user_id_str = excluded.user_id_str;
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
for each row when ((old.id, old.source, old.platform, old.status, old.updated_at, old.user_id_str)
                   is distinct from (new.id, new.source, new.platform, new.status, new.updated_at, new.user_id_str))
execute function settle.publish_open_follow();

drop policy tenant on settle.publish_open;
create policy tenant on settle.publish_open to settle_tenant using (user_id_str = settle.tenant());

alter table settle.publish_leases add column external_post_id text collate "C";
comment on column settle.publish_leases.external_post_id is 'that was known when it was taken: of an earlier try';

-- Ours is a minute at most behind the failure it follows (retry_wait), which last_retry_at or auto_retried_at tells: more than
-- an hour ahead, that failure lies in the future, and its clock was wrong. A time that somebody else has chosen stays.
create function settle.next_try(next_retry_at timestamptz, last_retry_at timestamptz, auto_retried_at text) returns timestamptz
language sql stable
as $$
  select case
           when next_retry_at > now() + interval '1 hour'
                and (next_retry_at - last_retry_at between interval '0' and interval '66 seconds'
                     or next_retry_at - settle.time_noted(auto_retried_at) between interval '0' and interval '66 seconds')
           then null
           else next_retry_at
         end
$$;
revoke execute on function settle.next_try (timestamptz, timestamptz, text) from public;
grant execute on function settle.next_try (timestamptz, timestamptz, text) to settle_reconciler, settle_operator, settle_tenant;
grant execute on function settle.time_noted (text) to settle_reconciler;

insert into settle.schema_version (change) values ('handing_out');

commit;
