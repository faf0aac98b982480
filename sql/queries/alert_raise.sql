-- alert_raise: raises an alert once. An open one with the key is counted; one resolved less than 5 minutes ago keeps
-- its key quiet; else a new one opens.
-- $1 id uuid (of a new one)  $2 source text (who raises it)  $3 type text  $4 category text  $5 severity text
-- $6 dedupe_key text  $7 subject_type text  $8 subject_id text  $9 user_id_str text  $10 title text  $11 message text
-- $12 payload jsonb
-- One row: id uuid, occurrences int8 (1: newly opened); none: kept quiet.
insert into settle.alerts as open (
  id, source, type, category, severity, dedupe_key, subject_type, subject_id, user_id_str, title, message, payload)
select
  $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text, $10::text, $11::text,
  coalesce($12::jsonb, '{}')
where not exists (
    select from settle.alerts
    where dedupe_key = $6::text
      and status = 'RESOLVED'
      and resolved_at > now() - interval '5 minutes'
      and resolved_at <= now()) -- what a clock that was set back calls later is old
  or exists (select from settle.alerts where dedupe_key = $6::text and status = 'OPEN')
on conflict (dedupe_key) where status = 'OPEN' do update
  set occurrences = open.occurrences + 1,
      last_seen_at = now(),
      severity = excluded.severity,
      title = excluded.title,
      message = excluded.message,
      payload = excluded.payload
returning open.id, open.occurrences
