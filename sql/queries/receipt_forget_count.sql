-- receipt_forget_count: how many receipt_forget would remove of one chunk.
-- $1 days int8  $2 rows int8  $3 dedup_key text, $4 stored_at timestamptz the chunk begins behind (null: at the oldest)
-- One row, as there.
with chunk as materialized (
  select ctid, stored_at, dedup_key, external_post_id, platform, source
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
), old as (
  select chunk.ctid
  from chunk
  left join lateral (
    select true as needed
    from settle.publish_logs as log
    where log.external_post_id = chunk.external_post_id
      and log.platform = chunk.platform
      and log.source = chunk.source
      and (log.status not in ('success', 'failed') or log.extra_metadata ->> 'reconciliation_reason' = 'manual_override')
    limit 1
  ) as keeper on true
  where keeper.needed is null
)
select (select count(*) from chunk),
       (select count(*) from old),
       (select encode(dedup_key, 'hex') from chunk_end),
       (select stored_at from chunk_end)
