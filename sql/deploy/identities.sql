-- Deploy settle:identities to pg
-- One form of each tenant's name: user_id_str, without blanks at its ends, its case as it is. The number that older tools wrote
-- in its place (user_id) becomes its plain decimal where there is no other name; a negative one names nobody. What such tools
-- have left is brought into that form here; what they write from now on, by settle-reconciler maintain identities.
begin;

-- Who owns these may be no superuser. While policies hold for him too, a table could seem to be empty, and nothing would be
-- changed without a word.
alter table settle.task_execution_logs no force row level security;
alter table settle.platform_insights_tasks no force row level security;
alter table settle.platform_insights_execution_logs no force row level security;
lock table settle.task_execution_logs, settle.platform_insights_tasks, settle.platform_insights_execution_logs
  in access exclusive mode;

do $$
declare
  expected bigint;
  changed bigint;
begin
  select count(*)
  into expected
  from settle.task_execution_logs
  where user_id_str is distinct from coalesce(nullif(btrim(user_id_str), ''), case when user_id >= 0 then user_id::text end);
  update settle.task_execution_logs
  set user_id_str = coalesce(nullif(btrim(user_id_str), ''), case when user_id >= 0 then user_id::text end)
  where user_id_str is distinct from coalesce(nullif(btrim(user_id_str), ''), case when user_id >= 0 then user_id::text end);
  get diagnostics changed = row_count;
  if changed <> expected then
    raise exception 'identities: % of % rows of task_execution_logs were changed', changed, expected;
  end if;
end
$$;

-- Of what are now several tasks of one tenant for one platform the oldest stays, with what all of them have done. Those of
-- a name that is blank are nobody's.
drop index if exists settle.idx_platform_insights_user_platform;
delete from settle.platform_insights_tasks where btrim(user_id) = '';
do $$
declare
  expected bigint;
  removed bigint;
begin
  select count(*) - count(distinct (btrim(user_id), platform))
  into expected
  from settle.platform_insights_tasks;
  update settle.platform_insights_execution_logs as l
  set task_id = t.oldest
  from (select id, min(id) over (partition by btrim(user_id), platform) as oldest
        from settle.platform_insights_tasks) as t
  where t.id = l.task_id
    and t.oldest <> t.id;
  delete from settle.platform_insights_tasks as t
  using settle.platform_insights_tasks as older
  where btrim(older.user_id) = btrim(t.user_id)
    and older.platform = t.platform
    and older.id < t.id;
  get diagnostics removed = row_count;
  if removed <> expected then
    raise exception 'identities: % of % further tasks were removed', removed, expected;
  end if;
end
$$;
update settle.platform_insights_tasks set user_id = btrim(user_id) where user_id <> btrim(user_id);
create unique index idx_platform_insights_user_platform on settle.platform_insights_tasks (user_id, platform);
alter table settle.platform_insights_tasks
  add constraint platform_insights_tasks_user_form check (user_id = btrim(user_id) and user_id <> '');

alter table settle.task_execution_logs force row level security;
alter table settle.platform_insights_tasks force row level security;
alter table settle.platform_insights_execution_logs force row level security;

grant update (user_id_str) on settle.task_execution_logs to settle_maintain;

insert into settle.schema_version (change) values ('identities');

commit;
