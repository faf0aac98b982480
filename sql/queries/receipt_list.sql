-- receipt_list: one page of receipts, newest stored first, each with its state:
--   unparsed   could not be read
--   unmatched  names no publication that is registered
--   late       came after its publication had been settled
--   matched    the rest
-- $1 platform text  $2 source text  $3 external_post_id text  $4 state text (each null: any)
-- $5 $6 stored_at timestamptz and dedup_key bytea that the page begins behind (null: at the newest)  $7 limit int8
-- One row: HTTP status, JSON text, cursor of the next page or null. A page looks at no more than 10,000 receipts,
-- because a state is derived and has no index: it may hold few items, or none, and still have a next page.
-- A tenant, who may have few among millions, is not walked for: its list is of its 10,000 newest publications, and of any by
-- external_post_id. Of the two ways the one for whoever does not ask is not begun.
with seen as materialized (
  (select dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at,
          received_at, stored_at, url, reason, parse_error, key_id
   from settle.webhook_receipts
   where coalesce(current_setting('settle.tenant', true), '') = ''
     and ($3::text is null or external_post_id = $3)
     and ($5::timestamptz is null or (stored_at, dedup_key) < ($5, $6::bytea))
   order by stored_at desc, dedup_key desc
   -- Not a subquery: the planner must know the number to walk the index.
   limit case when $1::text is null and $2::text is null and $4::text is null then $7::bigint + 1 else 10000 end)
  union all
  (select r.dedup_key, r.source, r.platform, r.delivery_id, r.external_post_id, r.event_status, r.decisive, r.happened_at,
          r.received_at, r.stored_at, r.url, r.reason, r.parse_error, r.key_id
   from (
     select external_post_id, platform, source
     from settle.publish_logs
     where user_id_str = nullif(current_setting('settle.tenant', true), '')
       and external_post_id is not null
       and ($3 is null or external_post_id = $3)
     order by id desc
     limit 10000
   ) as p
   join settle.webhook_receipts as r using (external_post_id, platform, source)
   where $5 is null or (r.stored_at, r.dedup_key) < ($5, $6)
   order by r.stored_at desc, r.dedup_key desc
   limit case when $1 is null and $2 is null and $4 is null then $7 + 1 else 10000 end)
), judged as (
  select seen.*, p.id as publication_id,
         case
           when seen.parse_error is not null then 'unparsed'
           when p.id is null then 'unmatched'
           when seen.received_at > p.settled_at then 'late'
           else 'matched'
         end as state
  from seen
  left join settle.publish_logs as p using (external_post_id, platform, source)
  where ($1::text is null or platform = $1)
    and ($2::text is null or source = $2)
), page as materialized (
  select *
  from judged
  where $4::text is null or state = $4
  order by stored_at desc, dedup_key desc
  limit $7::bigint + 1
), shown as (
  select *
  from page
  order by stored_at desc, dedup_key desc
  limit $7
), last as (
  select stored_at, dedup_key
  from shown
  where (select count(*) from page) > $7
  union all
  select stored_at, dedup_key
  from seen
  where (select count(*) from page) <= $7 and (select count(*) from seen) = 10000
  order by stored_at, dedup_key
  limit 1
), next as (
  select (select encode(convert_to((extract(epoch from stored_at) * 1000000)::bigint || '.' || encode(dedup_key, 'hex'), 'UTF8'), 'hex')
          from last) as cursor
)
select 200 as status,
       json_build_object(
         'items', coalesce((select json_agg(json_build_object(
                                     'id', encode(dedup_key, 'hex'), 'state', state, 'platform', platform, 'source', source,
                                     'external_post_id', external_post_id, 'publication_id', publication_id,
                                     'status', event_status, 'decisive', decisive, 'happened_at', happened_at,
                                     'received_at', received_at, 'stored_at', stored_at, 'url', url, 'reason', reason,
                                     'parse_error', parse_error, 'delivery_id', delivery_id, 'key_id', key_id)
                                   order by stored_at desc, dedup_key desc)
                            from shown), '[]'),
         'next_cursor', next.cursor)::text as body,
       next.cursor
from next
