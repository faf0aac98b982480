-- sql/queries/alert_raise.sql: one open alert a key, counted; quiet for 5 minutes after it was resolved.
-- The last part uses connections of its own and removes what they left.
begin;
create extension if not exists pgtap;
create extension if not exists dblink;
select plan(18);

\set statement `cat sql/queries/alert_raise.sql`
prepare alert_raise as :statement;

set local role settle_reconciler;
select results_eq(
  $$execute alert_raise('00000000-0000-7000-8000-000000000001', 'publications', 'mass_timeout', 'SYSTEM_HEALTH', 'MEDIUM',
                        'k', 'job', 'publications', null, 'title', 'message', '{"n": 1}')$$,
  $$values ('00000000-0000-7000-8000-000000000001'::uuid, 1::bigint)$$, 'a new alert opens');
select results_eq(
  $$select source, type, category, severity, dedupe_key collate "default", subject_type, subject_id, user_id_str, title,
           message, payload,
           status, occurrences, created_at = now() and last_seen_at = now(), resolved_at
    from settle.alerts$$,
  $$values ('publications', 'mass_timeout', 'SYSTEM_HEALTH', 'MEDIUM', 'k', 'job', 'publications', null::text, 'title',
            'message', '{"n": 1}'::jsonb, 'OPEN', 1::bigint, true, null::timestamptz)$$, 'as it was raised');
reset role;
update settle.alerts set last_seen_at = now() - interval '1 hour', created_at = now() - interval '1 hour';
set local role settle_reconciler;
select results_eq(
  $$execute alert_raise('00000000-0000-7000-8000-000000000002', 'publications', 'mass_timeout', 'SYSTEM_HEALTH', 'CRITICAL',
                        'k', null, null, null, 'title 2', 'message 2', null)$$,
  $$values ('00000000-0000-7000-8000-000000000001'::uuid, 2::bigint)$$, 'raised again it is counted, not doubled');
select results_eq(
  $$select severity, title, message, payload, created_at < now(), last_seen_at = now() from settle.alerts$$,
  $$values ('CRITICAL', 'title 2', 'message 2', '{}'::jsonb, true, true)$$, 'it says the latest, and since when');

-- Resolved: quiet at first, then new. Another key is not affected.
set local role settle_operator;
update settle.alerts set status = 'RESOLVED', resolved_at = now() - interval '4 minutes 59 seconds', resolved_by = 'anna';
set local role settle_reconciler;
select is_empty(
  $$execute alert_raise('00000000-0000-7000-8000-000000000002', 'publications', 'mass_timeout', 'SYSTEM_HEALTH', 'LOW',
                        'k', null, null, null, 't', 'm', null)$$, 'resolved less than 5 minutes ago: quiet');
select results_eq('select status, occurrences from settle.alerts', $$values ('RESOLVED', 2::bigint)$$, 'nothing is written');
select results_eq(
  $$execute alert_raise('00000000-0000-7000-8000-000000000003', 'publications', 'other', 'FRAUD', 'LOW',
                        'another', null, null, null, 't', 'm', null)$$,
  $$values ('00000000-0000-7000-8000-000000000003'::uuid, 1::bigint)$$, 'another key rings');
set local role settle_operator;
update settle.alerts set resolved_at = now() - interval '5 minutes' where dedupe_key = 'k';
set local role settle_reconciler;
select results_eq(
  $$execute alert_raise('00000000-0000-7000-8000-000000000002', 'publications', 'mass_timeout', 'SYSTEM_HEALTH', 'LOW',
                        'k', null, null, null, 't', 'm', null)$$,
  $$values ('00000000-0000-7000-8000-000000000002'::uuid, 1::bigint)$$, 'after 5 minutes a new one opens');
reset role;
insert into settle.alerts (id, source, type, category, severity, dedupe_key, title, message, status, resolved_at)
values (gen_random_uuid(), 'publications', 'x', 'FRAUD', 'LOW', 'k', 't', 'm', 'RESOLVED', now());
set local role settle_reconciler;
select results_eq(
  $$execute alert_raise('00000000-0000-7000-8000-000000000004', 'publications', 'mass_timeout', 'SYSTEM_HEALTH', 'LOW',
                        'k', null, null, null, 't', 'm', null)$$,
  $$values ('00000000-0000-7000-8000-000000000002'::uuid, 2::bigint)$$, 'an open one is counted whatever was resolved beside it');
reset role;

-- Two at once: the second waits for the first, then counts.
create procedure pg_temp.connect(name text, statement text) language plpgsql as $$
begin
  perform dblink_connect(name, format('host=%s port=%s dbname=%s user=%s',
    split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), session_user));
  perform dblink_exec(name, 'set role settle_reconciler');
  perform dblink_exec(name, 'prepare alert_raise as ' || statement);
end
$$;
create function pg_temp.raise_text(id int) returns text language sql as $$
  select format('execute alert_raise(%L, %L, %L, %L, %L, %L, null, null, null, %L, %L, null)',
                '00000000-0000-7000-8000-' || lpad(id::text, 12, '0'), 'test', 'test', 'DATA_QUALITY', 'LOW',
                'test: two at once', 't', 'm')
$$;
create procedure pg_temp.wait_until_blocked() language plpgsql as $$
declare
  give_up constant timestamptz := clock_timestamp() + interval '20 seconds';
begin
  while not exists (select from pg_locks where not granted) and clock_timestamp() < give_up loop
    perform pg_sleep(0.005);
  end loop;
end
$$;

call pg_temp.connect('one', :'statement');
call pg_temp.connect('two', :'statement');
select dblink_exec('one', 'begin');
select results_eq($$select * from dblink('one', pg_temp.raise_text(11)) as r (id uuid, occurrences bigint)$$,
                  $$values ('00000000-0000-7000-8000-000000000011'::uuid, 1::bigint)$$, 'the first opens it');
select is(dblink_send_query('two', pg_temp.raise_text(12)), 1, 'the second tries at the same time');
call pg_temp.wait_until_blocked();
select is(dblink_is_busy('two'), 1, 'and waits');
select dblink_exec('one', 'commit');
select results_eq($$select * from dblink_get_result('two') as r (id uuid, occurrences bigint)$$,
                  $$values ('00000000-0000-7000-8000-000000000011'::uuid, 2::bigint)$$, 'until it can count');
select is_empty($$select * from dblink_get_result('two') as r (id uuid, occurrences bigint)$$, 'and has nothing more to say');

-- Raised while it is being resolved: no error, and one open alert at most.
select dblink_exec('one', 'reset role');
select dblink_exec('one', 'begin');
select dblink_exec('one', $$
  update settle.alerts set status = 'RESOLVED', resolved_at = now() where dedupe_key = 'test: two at once'$$);
select is(dblink_send_query('two', pg_temp.raise_text(13)), 1, 'one raises it while another resolves it');
call pg_temp.wait_until_blocked();
select dblink_exec('one', 'commit');
select results_eq($$select * from dblink_get_result('two') as r (id uuid, occurrences bigint)$$,
                  $$values ('00000000-0000-7000-8000-000000000013'::uuid, 1::bigint)$$,
                  'it began before the resolution: it rings');
select is_empty($$select * from dblink_get_result('two') as r (id uuid, occurrences bigint)$$, 'once');

select is(dblink_exec('one', $$delete from settle.alerts where dedupe_key = 'test: two at once'$$), 'DELETE 2', 'cleaned up');
select dblink_disconnect('one'), dblink_disconnect('two');

select * from finish();
rollback;
