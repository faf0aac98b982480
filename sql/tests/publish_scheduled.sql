-- publish_scheduled holds exactly the scheduled rows of publish_logs, whoever writes those and however.
begin;
create extension if not exists pgtap;
select plan(13);

create function pg_temp.agrees(what text) returns text language sql as $$
  select set_eq(
    'select id, source, platform from settle.publish_scheduled',
    $q$select id, source, platform from settle.publish_logs where status = 'scheduled'$q$,
    what)
$$;

insert into settle.publish_logs (platform, user_id_str, status, source)
select 'tiktok', 'anna', status, source
from unnest(array['scheduled', 'pending', 'processing', 'retry', 'success', 'failed']) as status,
     unnest(array['default', 'other-app']) as source;
select pg_temp.agrees('rows are inserted in every state');
select is((select count(*) from settle.publish_scheduled), 2::bigint, 'one state of six is scheduled');

insert into settle.publish_logs (platform, user_id_str, status, error_message)
select 'tiktok', 'bert', was, becomes
from unnest(array['scheduled', 'pending', 'processing', 'retry', 'success', 'failed']) as was,
     unnest(array['scheduled', 'pending', 'processing', 'retry', 'success', 'failed']) as becomes;
update settle.publish_logs set status = error_message where user_id_str = 'bert';
select pg_temp.agrees('all 36 changes of state');
update settle.publish_logs set platform = 'youtube' where user_id_str = 'bert';
select pg_temp.agrees('platform alone');
update settle.publish_logs set error_message = 'x', scheduled_for = now(), updated_at = now() + interval '1 second';
select pg_temp.agrees('columns that do not matter');
update settle.publish_logs set id = gen_random_uuid() where user_id_str = 'anna';
select pg_temp.agrees('even the key');
update settle.publish_logs set source = source || '-2';
select pg_temp.agrees('even the source');
delete from settle.publish_logs where user_id_str = 'anna';
select pg_temp.agrees('rows that are deleted');

-- The programs' own roles can do what they must.
set local role settle_operator;
select lives_ok(
  $$insert into settle.publish_logs (platform, user_id_str, status) values ('tiktok', 'dora', 'scheduled')$$,
  'the API registers');
set local role settle_reconciler;
select lives_ok(
  $$update settle.publish_logs set status = 'success' where user_id_str = 'dora'$$,
  'a person settles what was only scheduled');
select lives_ok(
  $$update settle.publish_logs set status = 'scheduled' where user_id_str = 'dora'$$, 'and takes it back');
reset role;
select pg_temp.agrees('and all are followed');

truncate settle.publish_logs;
select is_empty('select from settle.publish_scheduled', 'truncated together');

select * from finish();
rollback;
