-- websub_due, websub_note, websub_forget: what is due again, and what is known of each topic.
begin;
create extension if not exists pgtap;
select plan(10);

\set statement `cat sql/queries/websub_due.sql`
prepare websub_due as :statement;
\set statement `cat sql/queries/websub_note.sql`
prepare websub_note as :statement;
\set statement `cat sql/queries/websub_forget.sql`
prepare websub_forget as :statement;

create function pg_temp.due() returns text language sql as $$
  select 'execute websub_due(''{youtube,youtube,youtube}'', ''{default,default,app}'', ''{UC1,UC2,UC1}'')'
$$;

set local role settle_subscribe;
select results_eq(pg_temp.due(), 'values (1::bigint), (2), (3)', 'what was never asked for is due');
select lives_ok($$execute websub_note('youtube', 'default', 'UC1', 100, 202, null)$$, 'the hub took it');
select results_eq(pg_temp.due(), 'values (2::bigint), (3)', 'a fresh lease is not due; that of another source is its own');
select lives_ok($$execute websub_note('youtube', 'default', 'UC2', 100, 0, 'the hub gives no answer')$$, 'a hub that fails');
select results_eq(pg_temp.due(), 'values (2::bigint), (3)', 'leaves it due');

update settle.websub_subscriptions set accepted_at = now() - interval '50 seconds' where topic = 'UC1';
select results_eq(pg_temp.due(), 'values (1::bigint), (2), (3)', 'half of the lease is over');
update settle.websub_subscriptions set accepted_at = now() - interval '49 seconds' where topic = 'UC1';
execute websub_note('youtube', 'default', 'UC1', 5000, 503, 'the hub answered 503');
select results_eq(
  $$select accepted_at = now() - interval '49 seconds', requested_at = now(), lease_s, hub_status::int, error
    from settle.websub_subscriptions where topic = 'UC1'$$,
  $$values (true, true, 100, 503, 'the hub answered 503')$$, 'a renewal that fails takes nothing away, and is told');
execute websub_note('youtube', 'default', 'UC1', 5000, 202, null);
select results_eq(
  $$select accepted_at = now(), lease_s, hub_status::int, error from settle.websub_subscriptions where topic = 'UC1'$$,
  $$values (true, 5000, 202, null::text)$$, 'one that is taken begins a new lease');
select lives_ok($$execute websub_forget('youtube', 'default', 'UC1')$$, 'unsubscribed');
select results_eq('select topic collate "default" from settle.websub_subscriptions', $$values ('UC2')$$, 'and forgotten');

select * from finish();
rollback;
