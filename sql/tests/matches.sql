-- Webhooks that find, change or lose their publication on a later day mark the day they came on, whoever writes; what settles
-- publications marks no more than before.
begin;
create extension if not exists pgtap;
select plan(12);

create temporary view marks as
select string_agg(days::text, ' ' order by days) as days
from (select distinct date - (now() at time zone 'UTC')::date as days from settle.dirty_days) as each_day;
grant select on marks to public;

insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, decisive, received_at, stored_at)
select sha256((post || source || days)::bytea), source, 'tiktok', gen_random_uuid(), post, 1,
       date_trunc('day', now(), 'UTC') - days * interval '1 day', date_trunc('day', now(), 'UTC') - days * interval '1 day'
from (values ('a', 'default', 9), ('a', 'default', 4), ('a', 'default', 0), ('a', 'other', 8), ('b', 'default', 7)) as r (post, source, days);

set local role settle_tenant;
select set_config('settle.tenant', 'anna', true);
insert into settle.publish_logs (id, platform, user_id_str, external_post_id)
values ('00000000-0000-7000-8000-00000000000a', 'tiktok', 'anna', 'a'),
       ('00000000-0000-7000-8000-00000000000b', 'tiktok', 'anna', null);
reset role;
select results_eq('select days from marks', array['-9 -4'], 'who registers a publication marks the days of what came for it before today');
delete from settle.dirty_days;
set local role settle_tenant;
select set_config('settle.post', 'b', true);
update settle.publish_logs set external_post_id = 'b' where id = '00000000-0000-7000-8000-00000000000b';
reset role;
select results_eq('select days from marks', array['-7'], 'so does who names its post');
delete from settle.dirty_days;
update settle.publish_logs set status = 'success', settled_at = now(), external_post_id = external_post_id;
select is_empty('select * from settle.dirty_days', 'not who settles it, also if he names the post again');
update settle.publish_logs set user_id_str = 'bert' where external_post_id = 'a';
select results_eq('select days from marks', array['-9 -4'], 'one that is given to another tenant');
delete from settle.dirty_days;
update settle.publish_logs set source = 'other' where external_post_id = 'a';
select results_eq('select days from marks', array['-9 -8 -4'], 'or to another source, marks both');
delete from settle.dirty_days;
update settle.publish_logs set external_post_id = 'nobody''s' where external_post_id = 'b';
select results_eq('select days from marks', array['-7'], 'one that loses its name');
delete from settle.dirty_days;
delete from settle.publish_logs where external_post_id = 'a';
select results_eq('select days from marks', array['-8'], 'or is removed');
delete from settle.dirty_days;
delete from settle.publish_logs;
select is_empty('select * from settle.dirty_days', 'nothing came for it, nothing is marked');

select is_empty($$select from pg_trigger where tgname ~ '^publish_logs_match' and tgqual is null$$, 'their conditions keep them from running for other changes');

set local role settle_reconciler;
select lives_ok($$insert into settle.scheduler_event_logs (event_type, job_id) values ('job_started', 'aggregates')$$, 'a run that begins is an event');
reset role;
\set statement `cat sql/queries/event_run.sql`
prepare event as :statement;
insert into settle.job_schedule (job, cron, running, running_since)
values ('aggregates', '', '00000000-0000-7000-8000-000000000001', now());
delete from settle.scheduler_event_logs;
execute event('job_started', 'aggregates', '00000000-0000-7000-8000-000000000001', 'schedule', null, null);
execute event('job_completed', 'aggregates', '00000000-0000-7000-8000-000000000001', 'schedule', 'done', null);
execute event('job_failed', 'aggregates', '00000000-0000-7000-8000-000000000002', 'manual', 'failed', 'why');
select results_eq(
  'select event_type::text collate "default", job_type::text collate "default", error_message from settle.scheduler_event_logs order by id',
  $$values ('job_started', 'recurring', null), ('job_failed', 'one_time', 'why')$$,
  'the end of a run is told once: of one that serve started by serve');
\set statement `cat sql/queries/schedule_start.sql`
prepare start as :statement;
insert into settle.job_schedule (job, cron, next_due)
values ('maintain', '', null), ('publications', '', now() + interval '1 hour'), ('insights', '', now() - interval '1 hour');
update settle.job_schedule set next_due = now() + interval '1 hour' where job = 'aggregates';
execute start('maintain', now() - interval '1 minute');
execute start('publications', now() - interval '1 minute');
execute start('insights', now() - interval '1 minute');
execute start('aggregates', now() - interval '1 minute');
select results_eq(
  'select job::text collate "default", extract(epoch from next_due - now())::int from settle.job_schedule order by job',
  $$values ('aggregates', 3600), ('insights', -3600), ('maintain', null), ('publications', -60)$$,
  'what runs at a start is due since then, unless it is at work, is late already, or never runs');

select * from finish();
rollback;
