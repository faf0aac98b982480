-- receipt_forget_count: how many receipt_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 dedup_key text, $4 stored_at timestamptz the chunk begins behind (null: at the oldest)
-- One row, as there.
with chunk as materialized (
  select ctid, stored_at, received_at, dedup_key, external_post_id, platform, source
  from settle.webhook_receipts
  where stored_at < now() - $1::bigint * interval '1 day'
    and stored_at < (select coalesce(watermark, '-infinity') - interval '1 day'
                     from settle.job_fences
                     where name = 'publications')
    and (stored_at, dedup_key) > (coalesce($4::timestamptz, '-infinity'), decode(coalesce($3::text, ''), 'hex'))
  order by stored_at, dedup_key
  limit $2::bigint
), chunk_end as (
  select stored_at, dedup_key
  from chunk
  order by stored_at desc, dedup_key desc
  limit 1
), first_day as materialized (
  select min(date) as date
  from settle.aggregate_days
), old as (
  select chunk.ctid, (chunk.received_at at time zone 'UTC')::date as date, coalesce(log.user_id_str, '') as user_id_str,
         chunk.platform
  from chunk
  left join lateral (
    select p.user_id_str,
           p.status not in ('success', 'failed') or coalesce(p.extra_metadata ->> 'reconciliation_reason' = 'manual_override', false)
             as needs
    from settle.publish_logs as p
    where p.external_post_id = chunk.external_post_id
      and p.platform = chunk.platform
      and p.source = chunk.source
    limit 1
  ) as log on true
  left join settle.aggregate_days as day on day.date = (chunk.received_at at time zone 'UTC')::date
  where log.needs is not true
    and (day.verification_status = 'verified'
         or (chunk.received_at at time zone 'UTC')::date < coalesce((select date from first_day), 'infinity'))
)
select (select count(*) from chunk),
       (select count(*) from old),
       (select encode(dedup_key, 'hex') from chunk_end),
       (select stored_at from chunk_end)
