-- connection_set, _find, _walk, _rekey, _remove: what each leaves behind, and who may do it.
begin;
create extension if not exists pgtap;
select plan(36);

\set statement `cat sql/queries/connection_set.sql`
prepare connection_set as :statement;
\set statement `cat sql/queries/connection_refused.sql`
prepare connection_refused as :statement;
\set statement `cat sql/queries/connection_find.sql`
prepare connection_find as :statement;
\set statement `cat sql/queries/connection_walk.sql`
prepare connection_walk as :statement;
\set statement `cat sql/queries/connection_rekey.sql`
prepare connection_rekey as :statement;
\set statement `cat sql/queries/connection_remove.sql`
prepare connection_remove as :statement;

create function pg_temp.sealed(n integer) returns bytea language sql immutable as
$$select decode(lpad(n::text, 84, '0'), 'hex')$$;
create function pg_temp.row_of(who text) returns text language sql as
$$select concat_ws('|', account, encode(token, 'hex')::numeric, key_id, expires_at::date, connected)
  from settle.platform_connections where user_id_str = who$$;
grant execute on all functions in schema pg_temp to public;

set local role settle_operator;
select results_eq(
  $$execute connection_set('anna', 'tiktok', 'a1', pg_temp.sealed(1), '0123456789abcdef', '2030-01-01T00:00Z', true, 'local')$$,
  $$select 200, json_build_object('user_id', 'anna', 'platform', 'tiktok', 'account', 'a1', 'connected', true,
      'token_stored', true, 'expires_at', '2030-01-01T00:00Z'::timestamptz, 'updated_at', now())::text, null::text$$,
  'the API stores a token and shows all but the token');
select lives_ok($$execute connection_set('anna', 'tiktok', 'a1', null, null, null, false, 'local')$$, 'and disconnects it');
reset role;
select is(pg_temp.row_of('anna'), 'a1|1|0123456789abcdef|2030-01-01|f', 'which leaves the token and its end alone');
set local role settle_operator;
execute connection_set('anna', 'tiktok', 'a1', null, null, '2031-01-01T00:00Z', true, 'local');
reset role;
select is(pg_temp.row_of('anna'), 'a1|1|0123456789abcdef|2031-01-01|t', 'an end that is given replaces it');
set local role settle_operator;
execute connection_set('anna', 'tiktok', 'a1', pg_temp.sealed(2), '00000000000000aa', null, true, 'local');
reset role;
select is(pg_temp.row_of('anna'), 'a1|2|00000000000000aa|t', 'a new token has an end of its own, here none');
set local role settle_operator;
select lives_ok($$execute connection_set('bert', 'gsc', 'sc-domain:b.example', null, null, null, true, 'local')$$, 'an account may have no token');
select results_eq($$execute connection_set('bert', 'gsc', 'default', pg_temp.sealed(1), '00000000000000aa', null, true, 'local')$$,
  $$values (422, 'account_is_no_site', null::text)$$, 'of a platform whose insights are looked at an account is a site');
select results_eq($$execute connection_refused('gsc', 'default', true)$$, $$values (true)$$, 'which can be known before');
select results_eq($$execute connection_refused('gsc', 'default', false)$$, $$values (false)$$, 'but one that is not asked with may have any name');
select results_eq($$execute connection_refused('tiktok', 'default', true)$$, $$values (false)$$, 'and of other platforms any');
select bag_eq($$select account from unnest(array['https://a.example/', 'http://a.example', 'sc-domain:a.example', 'https://',
    'a.example', 'ftp://a.example/', 'https://a.example/b c', 'https://a.example/../x', E'https://a.example/\\x',
    'https://a.example/..', 'https://\u00e4.example/', 'https://a.example/.well-known/x']) as account where settle.is_site(account)$$,
  array['https://a.example/', 'http://a.example', 'sc-domain:a.example', 'https://a.example/.well-known/x'], 'what is a site');
select results_eq($$execute connection_set('carl', 'gsc', 'default', null, null, null, false, 'local')$$,
  $$values (404, 'unknown_account', '[{"field" : "account", "message" : "there is none"}]')$$, 'what is not there cannot be disconnected');
select results_eq($$execute connection_set('bert', 'gsc', 'default', null, null, null, false, 'local')$$,
  $$values (404, 'unknown_account', '[{"field" : "account", "message" : "there are: sc-domain:b.example"}]')$$, 'those that are there are named');
select is_empty($$select account from settle.platform_connections where account = 'default'$$, 'and no row is made for it');
select results_eq($$execute connection_set('carl', 'tiktok', 'c1', pg_temp.sealed(1), '00000000000000aa', null, false, 'local')$$,
  $$select 200, json_build_object('user_id', 'carl', 'platform', 'tiktok', 'account', 'c1', 'connected', false,
      'token_stored', true, 'expires_at', null, 'updated_at', now())::text, null::text$$, 'but one may be stored with its token for later');
insert into settle.platform_connections (user_id_str, platform, account, connected)
select 'dora', 'tiktok', format('d%s', lpad(n::text, 2, '0')), true from generate_series(1, 11) as n;
select results_eq($$execute connection_set('dora', 'tiktok', 'default', null, null, null, false, 'local')$$,
  $$values (404, 'unknown_account', '[{"field" : "account", "message" : "there are: d01, d02, d03, d04, d05, d06, d07, d08, d09, d10 and others"}]')$$,
  'ten of many');
select lives_ok($$execute connection_set('dora', 'tiktok', 'd11', null, null, null, false, 'local')$$, 'one of them is disconnected');
reset role;
select is((select string_agg(account, ' ') from settle.platform_connections where user_id_str = 'dora' and not connected), 'd11', 'it alone');
delete from settle.platform_connections where user_id_str in ('carl', 'dora');
set local role settle_operator;
select throws_ok('select token from settle.platform_connections', '42501', null, 'the API cannot read one');
select throws_ok('delete from settle.platform_connections', '42501', null, 'nor delete');
select throws_ok($$update settle.platform_connections set account = 'b'$$, '42501', null, 'nor move a row');
select throws_ok($$execute connection_find('{anna}', '{tiktok}', '{a1}')$$, '42501', null, 'nor find tokens');
set local role settle_gateway;
select throws_ok('select user_id_str from settle.platform_connections', '42501', null, 'the gateway sees none of it');

set local role settle_reconciler;
select results_eq(
  $$select event_type, actor, metadata ->> 'account', metadata ->> 'token_replaced', metadata ->> 'key_id'
    from settle.social_sync_ledger where entity_type = 'platform_connection' and entity_id = 'anna' order by seq$$,
  $$values ('platform_connection_set', 'local', 'a1', 'true', '0123456789abcdef'),
           ('platform_connection_set', 'local', 'a1', 'false', '0123456789abcdef'),
           ('platform_connection_set', 'local', 'a1', 'false', '0123456789abcdef'),
           ('platform_connection_set', 'local', 'a1', 'true', '00000000000000aa')$$, 'each is in the ledger, with its actor');
select is_empty($$select from settle.social_sync_ledger where metadata::text ~ '0000000000000000000000000000000000001'$$,
                'and no token is');
select set_eq(
  $$execute connection_find('{bert,anna,anna,carl}', '{gsc,tiktok,tiktok,x}', '{sc-domain:b.example,a1,a2,default}')$$,
  $$values (1::bigint, null::bytea, null::text, true, false), (2, pg_temp.sealed(2), '00000000000000aa', true, false)$$,
  'those that are there are found, by their place');
update settle.platform_connections set expires_at = now() where user_id_str = 'anna';
select set_eq($$execute connection_find('{anna}', '{tiktok}', '{a1}')$$,
              $$values (1::bigint, pg_temp.sealed(2), '00000000000000aa', true, true)$$, 'one that ends now has ended');

select results_eq(
  $$execute connection_walk(null, null, null, null, null)$$,
  $$values ('anna'::text collate "C", 'tiktok'::text collate "C", 'a1'::text collate "C", '00000000000000aa'::text collate "C", true, now(), now(), null::bytea),
           ('bert', 'gsc', 'sc-domain:b.example', null, true, null, now(), null)$$, 'all are shown in their order, without tokens');
select results_eq(
  $$execute connection_walk('anna', 'tiktok', 'a1', null, null)$$,
  $$values ('bert'::text collate "C", 'gsc'::text collate "C", 'sc-domain:b.example'::text collate "C", null::text collate "C", true, null::timestamptz, now(), null::bytea)$$,
  'a page begins behind the one before');
select is_empty($$execute connection_walk(null, null, null, 'carl', null)$$, 'only those of a user');
select is_empty($$execute connection_walk(null, null, null, null, '00000000000000aa')$$,
                'with the newest key nothing is to be sealed again; what has no token neither');
select results_eq(
  $$execute connection_rekey('{anna,anna}', '{tiktok,tiktok}', '{a1,a1}', array[pg_temp.sealed(1), pg_temp.sealed(2)],
      array[pg_temp.sealed(8), pg_temp.sealed(9)], '00000000000000bb', 'cli')$$,
  'values (1::bigint)', 'only what is still as it was read is replaced');
select is(pg_temp.row_of('anna'), 'a1|9|00000000000000bb|' || now()::date || '|t', 'by the same token under the new key');
select results_eq($$execute connection_remove('anna', 'tiktok', 'a1', 'cli')$$, 'values (1)', 'one is forgotten');
select is_empty($$execute connection_remove('anna', 'tiktok', 'a1', 'cli')$$, 'once');
select results_eq(
  $$select event_type, actor from settle.social_sync_ledger
    where event_type in ('platform_connections_rekeyed', 'platform_connection_removed') order by seq$$,
  $$values ('platform_connections_rekeyed', 'cli'), ('platform_connection_removed', 'cli')$$, 'both are in the ledger, once');

select * from finish();
rollback;
