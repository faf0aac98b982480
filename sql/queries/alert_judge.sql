-- alert_judge: what a rule has found among one range of its subjects becomes alerts. One that is open is counted; one opens, unless one of the same
-- subject was resolved less than 5 minutes ago; those that are open for other subjects of the range are resolved: the rule does
-- not hold any more.
-- $1 type text  $2 the range begins behind this subject text  $3 and ends with this one text (null: with the last)
-- $4 subjects for which it holds text[]  $5 their messages text[]  $6 their payloads jsonb[]
-- $7 category text  $8 severity text  $9 title text  $10 subject_type text ('user': subjects are tenants)
-- $11 run id uuid  $12 actor text
-- One row: how many opened, are open still, were kept quiet, were resolved, int8 each.
with found as materialized (
  select $1::text || ':' || subject as dedupe_key, subject, message, payload
  from unnest($4::text[], $5::text[], $6::jsonb[]) as f (subject, message, payload)
), raised as (
  insert into settle.alerts as open (source, type, category, severity, dedupe_key, subject_type, subject_id, user_id_str, title,
                                     message, payload)
  select 'settle-reconciler', $1, $7::text, $8::text, dedupe_key, $10::text, subject,
         case when $10 = 'user' then subject end, $9::text, message, payload
  from found
  where exists (select from settle.alerts as a where a.dedupe_key = found.dedupe_key and a.status = 'OPEN')
     or not exists (select from settle.alerts as a
                    where a.dedupe_key = found.dedupe_key
                      and a.status = 'RESOLVED'
                      and a.resolved_at > now() - interval '5 minutes'
                      and a.resolved_at <= now())
  order by dedupe_key
  on conflict (dedupe_key) where status = 'OPEN' do update
    set occurrences = open.occurrences + 1,
        last_seen_at = now(),
        severity = excluded.severity,
        title = excluded.title,
        message = excluded.message,
        payload = excluded.payload
  returning open.id, open.dedupe_key, open.occurrences
), ended as (
  update settle.alerts as a
  set status = 'RESOLVED',
      resolved_at = now(),
      resolved_by = 'settle-reconciler',
      resolution_notes = 'the rule does not hold any more'
  where a.status = 'OPEN'
    and a.dedupe_key > $1 || ':' || $2::text
    and a.dedupe_key <= coalesce($1 || ':' || $3::text, $1 || ';') -- what comes behind ":"
    and not exists (select from found where found.dedupe_key = a.dedupe_key)
  returning a.id, a.dedupe_key
), noted as (
  insert into settle.social_sync_ledger (event_type, severity, entity_type, entity_id, metadata, actor, run_id)
  select event_type, severity, 'alert', id::text, jsonb_build_object('type', $1, 'dedupe_key', dedupe_key), $12::text, $11::uuid
  from (select 'alert_opened' as event_type, 'warn' as severity, id, dedupe_key from raised where occurrences = 1
        union all
        select 'alert_resolved', 'info', id, dedupe_key from ended) as event
)
select (select count(*) from raised where occurrences = 1) as opened,
       (select count(*) from raised where occurrences > 1) as again,
       (select count(*) from found) - (select count(*) from raised) as quiet,
       (select count(*) from ended) as resolved
