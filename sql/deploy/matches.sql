-- Deploy settle:matches to pg
-- Webhooks whose publication is registered, named, given away or removed on a later day change the aggregates of the day they
-- came on: that day is marked. And a run that begins is an event of the scheduler's.
begin;

-- Row triggers, since their conditions keep them from running for what settles publications: those columns alone matter.
-- With the rights of whoever writes.
create function settle.publish_logs_match() returns trigger
language plpgsql
as $$
declare
  today timestamptz := date_trunc('day', now(), 'UTC');
begin
  if tg_op <> 'INSERT' then
    insert into settle.dirty_days (date)
    select distinct (received_at at time zone 'UTC')::date
    from settle.webhook_receipts
    where external_post_id = old.external_post_id
      and platform = old.platform
      and source = old.source
      and received_at < today;
  end if;
  if tg_op <> 'DELETE' then
    insert into settle.dirty_days (date)
    select distinct (received_at at time zone 'UTC')::date
    from settle.webhook_receipts
    where external_post_id = new.external_post_id
      and platform = new.platform
      and source = new.source
      and received_at < today;
  end if;
  return null;
end
$$;
revoke execute on function settle.publish_logs_match () from public;

create trigger publish_logs_match_new after insert on settle.publish_logs
for each row when (new.external_post_id is not null)
execute function settle.publish_logs_match();
create trigger publish_logs_match after update of external_post_id, platform, source, user_id_str on settle.publish_logs
for each row when ((old.external_post_id, old.platform, old.source, old.user_id_str)
                   is distinct from (new.external_post_id, new.platform, new.source, new.user_id_str))
execute function settle.publish_logs_match();
create trigger publish_logs_match_old after delete on settle.publish_logs
for each row when (old.external_post_id is not null)
execute function settle.publish_logs_match();

alter table settle.scheduler_event_logs
drop constraint scheduler_event_logs_event_type_check,
add constraint scheduler_event_logs_event_type_check
check (event_type in ('check_cycle', 'interval_adjustment', 'start', 'stop', 'job_scheduled', 'job_started', 'job_cancelled',
  'job_completed', 'job_failed'));

insert into settle.schema_version (change) values ('matches');

commit;
