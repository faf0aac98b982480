-- log_register: registers a publication; asked again for the same one, shows it.
-- $1 id uuid  $2 source text  $3 platform text  $4 user_id_str text  $5 clip_id uuid  $6 social_account_id uuid
-- $7 status text  $8 external_post_id text  $9 external_url text  $10 requested_at timestamptz or null
-- $11 scheduled_for timestamptz  $12 scheduled_window_end timestamptz  $13 scheduled_by text  $14 max_retries int8
-- $15 extra_metadata jsonb  $16 idempotency_key text  $17 the whole request jsonb  $18 actor text
-- One row: HTTP status, JSON text or the cause of a refusal, null. Status 0: another request is registering it just now
-- and this statement's snapshot cannot see its row yet; ask again.
with given as (
  select encode(sha256(convert_to($17::jsonb::text, 'UTF8')), 'hex') as digest,
         $7::text = 'scheduled' and $11::timestamptz is null as timeless
), made as (
  insert into settle.publish_logs
    (id, source, platform, user_id_str, clip_id, social_account_id, status, external_post_id, external_url,
     requested_at, max_retries, schedule_type, scheduled_for, scheduled_window_end, scheduled_by, idempotency_key,
     extra_metadata)
  select $1::uuid, $2::text, $3::text, $4::text, $5::uuid, $6::uuid, $7::text, $8::text, $9::text,
         coalesce($10::timestamptz, now()), $14::bigint::integer,
         case when $11::timestamptz is null then 'immediate' else 'scheduled' end,
         $11::timestamptz, $12::timestamptz, $13::text, $16::text, $15::jsonb
  from given
  where not timeless
  on conflict do nothing
  returning *
), noted as (
  insert into settle.social_sync_ledger (source, event_type, entity_type, entity_id, metadata, actor, clip_id)
  select source, 'publish_registered', 'publish_log', id::text,
         jsonb_build_object('platform', platform, 'external_post_id', external_post_id, 'status', status,
                            'request_digest', digest),
         $18::text, clip_id
  from made, given
), keyed as materialized (
  -- A cast of a column in a comparison would keep it behind the policy of a tenant, and so away from the index.
  select id, source, id::text as entity_id, platform, external_post_id
  from settle.publish_logs
  where user_id_str = $4::text
    and idempotency_key = $16::text
    and source = $2::text
), same_key as (
  select p.id, p.source,
         -- The ledger is kept for a year; older rows, and those of other tools, are told by what they publish.
         coalesce((select l.metadata ->> 'request_digest' = given.digest
                   from settle.social_sync_ledger as l
                   where l.entity_id = p.entity_id
                     and l.entity_type = 'publish_log'
                     and l.source = p.source
                     and l.event_type = 'publish_registered'
                   order by l.seq
                   limit 1),
                  p.platform = $3::text and p.external_post_id is not distinct from $8::text) as same
  from keyed as p, given
), same_post as (
  select p.id, p.source, p.user_id_str = $4::text as same
  from settle.publish_logs as p
  where p.external_post_id = $8::text
    and p.platform = $3::text
    and p.source = $2::text
), found as (
  select case when same then 200 else 409 end as status, 'idempotency_conflict' as cause, id, source, 1 as place
  from same_key
  union all
  select case when same then 200 else 409 end, 'post_taken', id, source, 2
  from same_post
  order by place
  limit 1
)
select 201 as status, row_to_json(made)::text as body, null as cursor
from made
union all
select 422, 'scheduled_without_time', null
from given
where timeless
union all
select found.status,
       case when found.status = 200
            then (select row_to_json(live)::text from settle.publish_logs_live as live where live.id = found.id and live.source = found.source)
            else found.cause
       end,
       null
from found, given
where not timeless
union all
select 0, null, null
from given
where not timeless and not exists (select from made) and not exists (select from found)
