-- publish_open holds exactly the open rows of publish_logs, whoever writes those and however.
begin;
create extension if not exists pgtap;
select plan(20);

create function pg_temp.agrees(what text) returns text language sql as $$
  select set_eq(
    'select id, source, platform, status, updated_at, user_id_str from settle.publish_open',
    $q$select id, source, platform, status, updated_at, user_id_str from settle.publish_logs
       where status in ('pending', 'processing', 'retry')$q$,
    what)
$$;

insert into settle.publish_logs (platform, user_id_str, status, source)
select 'tiktok', 'anna', status, source
from unnest(array['scheduled', 'pending', 'processing', 'retry', 'success', 'failed']) as status,
     unnest(array['default', 'other-app']) as source;
select pg_temp.agrees('rows are inserted in every state');
select is((select count(*) from settle.publish_open), 6::bigint, 'half of the states are open');

-- Every way from one state to another.
create temporary table states (status text);
insert into states
select unnest(array['scheduled', 'pending', 'processing', 'retry', 'success', 'failed']);
insert into settle.publish_logs (platform, user_id_str, status, error_message)
select 'tiktok', 'bert', was.status, becomes.status
from states as was
cross join states as becomes;
update settle.publish_logs
set status = error_message, updated_at = now() + interval '1 second'
where user_id_str = 'bert';
select pg_temp.agrees('all 36 changes of state');
update settle.publish_logs set updated_at = updated_at + random() * interval '1 day';
select pg_temp.agrees('updated_at alone');
update settle.publish_logs set platform = 'youtube' where user_id_str = 'anna';
select pg_temp.agrees('platform alone');
update settle.publish_logs set user_id_str = 'bert' where user_id_str = 'anna' and status = 'retry';
select pg_temp.agrees('the tenant alone');
update settle.publish_logs set error_message = 'x', extra_metadata = '{"a": 1}', external_url = 'https://a';
select pg_temp.agrees('columns that do not matter');
update settle.publish_logs set id = gen_random_uuid() where user_id_str = 'anna';
select pg_temp.agrees('even the key');
update settle.publish_logs set source = source || '-2';
select pg_temp.agrees('even the source');
delete from settle.publish_logs where user_id_str = 'anna' or status = 'retry';
select pg_temp.agrees('rows that are deleted');

-- A row written several times in one transaction, and upserts.
insert into settle.publish_logs (platform, user_id_str, status, external_post_id)
values ('tiktok', 'carl', 'processing', 'carl-1');
update settle.publish_logs set status = 'failed' where external_post_id = 'carl-1';
update settle.publish_logs set status = 'retry' where external_post_id = 'carl-1';
select pg_temp.agrees('a row that opens again');
insert into settle.publish_logs (platform, user_id_str, status, external_post_id)
values ('tiktok', 'carl', 'processing', 'carl-1')
on conflict (external_post_id, platform, source) where external_post_id is not null do update set status = 'success';
select pg_temp.agrees('an upsert that settles');
insert into settle.publish_logs (platform, user_id_str, status, external_post_id)
values ('tiktok', 'carl', 'processing', 'carl-1')
on conflict do nothing;
select pg_temp.agrees('an insert that does nothing');
savepoint before;
update settle.publish_logs set status = 'failed';
select pg_temp.agrees('a statement that is rolled back');
rollback to before;
select pg_temp.agrees('and its rollback');

-- The programs' own roles can do what they must.
set local role settle_operator;
select lives_ok($$insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'dora')$$, 'the API registers');
set local role settle_reconciler;
select lives_ok($$update settle.publish_logs set status = 'success' where user_id_str = 'dora'$$, 'the reconciler settles');
reset role;
select pg_temp.agrees('and both are followed');

-- What it is for: settling a row touches no index of publish_logs.
select is_empty(
  $$select i.indexrelid::regclass, a.attname
    from pg_index i
    join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = i.indexrelid and d.refclassid = 'pg_class'::regclass
      and d.refobjid = i.indrelid
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where i.indrelid = 'settle.publish_logs'::regclass
      and (has_column_privilege('settle_reconciler', i.indrelid, a.attnum, 'update') or a.attname like '%retry%')$$,
  'no index of publish_logs names a column that a verdict changes');

truncate settle.publish_logs;
select is_empty('select from settle.publish_open', 'truncated together');

select * from finish();
rollback;
