-- breaker_read, breaker_write, breaker_list, gauge_breakers: what is read is written only over itself.
begin;
create extension if not exists pgtap;
select plan(15);

\set statement `cat sql/queries/breaker_read.sql`
prepare breaker_read as :statement;
\set statement `cat sql/queries/breaker_write.sql`
prepare breaker_write as :statement;
\set statement `cat sql/queries/breaker_list.sql`
prepare breaker_list as :statement;
\set statement `cat sql/queries/gauge_breakers.sql`
prepare gauge_breakers as :statement;

set local role settle_reconciler;
select results_eq(
  $$execute breaker_list$$, $$values (200, '{}', null::text)$$, 'none was needed yet');
select lives_ok($$execute breaker_read('x')$$, 'a breaker that is not there can be read');
select results_eq(
  $$execute breaker_write('x', null, 'closed', 1, null, 0, '{}')$$, 'values (1)', 'the first failure makes one');
select is_empty(
  $$execute breaker_write('x', null, 'closed', 1, null, 0, '{}')$$, 'who saw none does not overwrite it');
select results_eq(
  $$execute breaker_write('x', 1, 'open', 5, now() - interval '1 minute', 1, '{}')$$, 'values (1)', 'who saw it as it is does');
select is_empty(
  $$execute breaker_write('x', 1, 'closed', 0, null, 2, '{}')$$, 'a second one that saw the same comes too late');
select results_eq(
  $$execute breaker_write('x', 2, 'half_open', 5, now() - interval '1 minute', 2,
      array[now() + interval '1 minute', now() - interval '1 second'])$$, 'values (1)', 'permits are kept');
select results_eq(
  $$select version, state collate "default", failures, transitions, cardinality(probes_until) from settle.breakers$$,
  $$values (3::bigint, 'half_open', 5, 2::bigint, 2)$$, 'the row holds what was written');

update settle.breakers set changed_at = now() - interval '1 hour';
execute breaker_write('x', 3, 'half_open', 5, now(), 2, '{}');
select results_eq('select changed_at = now() - interval ''1 hour'' from settle.breakers', 'values (true)',
                  'what is no change of state does not move its time');
execute breaker_write('x', 4, 'open', 6, now(), 3, '{}');
select results_eq('select changed_at = now() from settle.breakers', 'values (true)', 'a change of state does');
execute breaker_write('x', 5, 'half_open', 6, now(), 4, array[now() + interval '1 minute', now() - interval '1 second']);

set local role settle_operator;
select results_eq(
  $$execute breaker_list$$,
  $$select 200, json_object_agg('x', json_build_object('state', 'half_open', 'failures', 6, 'opened_at', now(),
      'half_open_probes', 1, 'transitions', 4, 'changed_at', now(), 'updated_at', now()))::text, null::text$$,
  'the API lists them; permits that are over do not count');
select results_eq('execute gauge_breakers',
  $$values ('x'::text collate "C", 'half_open'::text collate "C", 4::float8, 0::float8)$$, 'and set its gauges');
select throws_ok($$execute breaker_write('x', 6, 'closed', 0, null, 5, '{}')$$, '42501', null, 'but not write one');
set local role settle_reconciler;
execute breaker_write('x', 6, 'closed', 0, null, 5, '{}');
execute breaker_write('x', 7, 'closed', 1, null, 5, '{}');
reset role;
select results_eq('select closings from settle.breakers', 'values (1::bigint)', 'that it closed again is counted, once');
select throws_ok($$update settle.breakers set state = 'open'$$, '23514', null, 'only a closed breaker has no time of opening');

select * from finish();
rollback;
