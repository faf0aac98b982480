-- Deploy settle:live_views to pg
begin;

-- The gateway stores extras as the JSON text it has made and checked. Should a bad one ever be stored all the same, it
-- must not hide the publications listed with it: what is no JSON object, or holds what jsonb refuses, counts as empty.
create function settle.extras_object(extras text) returns jsonb
language plpgsql immutable
as $$
begin
  return case when jsonb_typeof(extras::jsonb) = 'object' then extras::jsonb else '{}' end;
exception
  when data_exception or program_limit_exceeded then
    return '{}';
end
$$;
revoke execute on function settle.extras_object (text) from public;
grant execute on function settle.extras_object (text) to settle_reconciler, settle_api, settle_readonly;

-- Whether extra_metadata says that a webhook came for this post. What the reconciler has copied there names its post:
-- when another tool has begun a new attempt in the same row, the copy speaks of the old one.
create function settle.webhook_noted(extra_metadata jsonb, external_post_id text) returns boolean
language sql immutable
as $$
  select coalesce(extra_metadata -> 'webhook_received' = 'true'
                  and (not extra_metadata ? 'webhook_post_id' or extra_metadata ->> 'webhook_post_id' = external_post_id),
                  false)
$$;
revoke execute on function settle.webhook_noted (jsonb, text) from public;
grant execute on function settle.webhook_noted (jsonb, text) to settle_reconciler, settle_api, settle_readonly;

-- extra_metadata of a row whose webhook keys speak of an earlier attempt: they go to the end of its attempts. Asked only
-- for such rows: a call costs 6 us.
create function settle.attempts_moved(extra_metadata jsonb) returns jsonb
language sql immutable
as $$
  select coalesce(jsonb_object_agg(key, value) filter (where not old), '{}')
         || jsonb_build_object('attempts',
                               coalesce(extra_metadata -> 'attempts', '[]')
                               || jsonb_build_array(jsonb_object_agg(key, value) filter (where old)))
  from (select key, value, key ~ '^(webhook|evidence)_' as old from jsonb_each(extra_metadata)) as member
$$;
revoke execute on function settle.attempts_moved (jsonb) from public;
grant execute on function settle.attempts_moved (jsonb) to settle_reconciler;

-- Each publication with the strongest of its receipts (decisive before unclear, then the later time, then the
-- larger key): the same order as evidence_compare in shared/domain/verdict.c; a test proves that they agree. And with
-- what its extra_metadata says: what the reconciler has settled it by, and what another tool has noted of a webhook.
create view settle.publication_evidence with (security_invoker = true) as
select p.*,
       r.dedup_key as receipt_key,
       r.event_status as receipt_status,
       r.decisive as receipt_decisive,
       coalesce(r.happened_at, r.received_at) as receipt_time,
       r.received_at as receipt_received_at,
       r.url as receipt_url,
       r.reason as receipt_reason,
       r.extras as receipt_extras,
       p.extra_metadata ->> 'reconciliation_reason' as reason,
       p.extra_metadata ->> 'evidence_at' as evidence_at,
       p.extra_metadata ->> 'evidence_key' as evidence_key,
       settle.webhook_noted(p.extra_metadata, p.external_post_id) as noted,
       coalesce(p.extra_metadata ->> 'webhook_status',
                case p.extra_metadata ->> 'complete' when 'true' then 'published' end) as noted_status,
       p.extra_metadata ->> 'webhook_timestamp' as noted_at
from settle.publish_logs p
left join lateral (
  select *
  from settle.webhook_receipts r
  where r.external_post_id = p.external_post_id
    and r.platform = p.platform
    and r.source = p.source
    and r.parse_error is null
  order by r.decisive <> 0 desc, coalesce(r.happened_at, r.received_at) desc, r.dedup_key desc
  limit 1
) r on true;

-- publish_logs with what its receipts say merged into extra_metadata, before the reconciler has folded it in.
create view settle.publish_logs_live with (security_invoker = true) as
select id, source, platform, user_id_str, clip_id, social_account_id, status, external_post_id, external_url,
       error_message, requested_at, published_at, settled_at, retry_count, max_retries, last_retry_at,
       next_retry_at, schedule_type, scheduled_for, scheduled_window_end, scheduled_by, idempotency_key,
       case
         when receipt_key is null then extra_metadata
         else extra_metadata
           || settle.extras_object(receipt_extras)
           || jsonb_build_object('webhook_received', true,
                                 'webhook_timestamp',
                                 to_char(receipt_received_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                 'webhook_platform', platform,
                                 'webhook_post_id', external_post_id,
                                 'webhook_status', receipt_status)
       end as extra_metadata,
       created_at, updated_at
from settle.publication_evidence;

grant select on settle.publication_evidence, settle.publish_logs_live to settle_reconciler, settle_api, settle_readonly;

insert into settle.schema_version (change) values ('live_views');

commit;
