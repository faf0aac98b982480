-- aggregate_day: makes one UTC day's aggregates what its raw rows say, and takes away the marks that it saw. What is so already
-- is not written.
-- $1 date  $2 whether the day is not over boolean  $3 run_id uuid
-- One row: rows written bigint, removed bigint, raw rows bigint, whether the day was aggregated before boolean, whether its
-- verification still holds boolean, hash over all text.
-- Hashes are kept apart by their seeds, and added up in two ways, so that neither a row that comes twice nor two that are
-- swapped cancel out; a version stands beside them, since another release of Postgres may hash otherwise.
with published as (
  select user_id_str, platform, count(*) as n,
         count(*) filter (where status = 'success') as success,
         count(*) filter (where status = 'failed') as failed,
         count(settled_at) filter (where status in ('success', 'failed')) as settled,
         round(extract(epoch from avg(settled_at - requested_at) filter (where status in ('success', 'failed'))) * 1000)
           as settle_ms,
         bit_xor(hash_record_extended(said, 1)) as mixed,
         sum(hash_record_extended(said, 2)) as added
  from settle.publish_logs
  cross join lateral (select row(id, source, status, requested_at, settled_at) as said) as content
  where requested_at >= $1::date::timestamp at time zone 'UTC'
    and requested_at < ($1::date + 1)::timestamp at time zone 'UTC'
  group by user_id_str, platform
), receipt as (
  select dedup_key, source, platform, external_post_id
  from settle.webhook_receipts
  where stored_at >= ($1::date::timestamp at time zone 'UTC') - interval '1 hour'
    and stored_at < (($1::date + 1)::timestamp at time zone 'UTC') + interval '1 hour'
    and received_at >= $1::date::timestamp at time zone 'UTC'
    and received_at < ($1::date + 1)::timestamp at time zone 'UTC'
    and (stored_at - received_at) between interval '-1 hour' and interval '1 hour'
  union all
  select dedup_key, source, platform, external_post_id
  from settle.webhook_receipts
  where received_at >= $1::date::timestamp at time zone 'UTC'
    and received_at < ($1::date + 1)::timestamp at time zone 'UTC'
    and (stored_at - received_at) not between interval '-1 hour' and interval '1 hour'
), near as (
  -- Most webhooks come within a day of their publication: one hash finds these, and the index the others one by one.
  select user_id_str, external_post_id, platform, source
  from settle.publish_logs
  where requested_at >= ($1::date - 1)::timestamp at time zone 'UTC'
    and requested_at < ($1::date + 1)::timestamp at time zone 'UTC'
), heard as (
  select coalesce(near.user_id_str, far.user_id_str, '') as user_id_str, receipt.platform, count(*) as n,
         bit_xor(hash_record_extended(row(dedup_key, source), 3)) as mixed,
         sum(hash_record_extended(row(dedup_key, source), 4)) as added
  from receipt
  left join near using (external_post_id, platform, source)
  left join lateral (
    select user_id_str
    from settle.publish_logs as p
    where near.user_id_str is null
      and p.external_post_id = receipt.external_post_id
      and p.platform = receipt.platform
      and p.source = receipt.source
    limit 1
  ) as far on true
  group by 1, 2
), spent as (
  select user_id_str, coalesce(platform, '') as platform, count(*) as n, sum(cost) as cost,
         bit_xor(hash_record_extended(said, 5)) as mixed,
         sum(hash_record_extended(said, 6)) as added
  from settle.cost_records
  cross join lateral (select row(id, cost, input_tokens, output_tokens, timestamp) as said) as content
  where timestamp >= $1::date::timestamp at time zone 'UTC'
    and timestamp < ($1::date + 1)::timestamp at time zone 'UTC'
  group by 1, 2
), part as (
  select user_id_str, platform, n as published, success, failed, settled, settle_ms, 0::bigint as heard, 0::numeric as cost,
         n as raw, mixed, added
  from published
  union all
  select user_id_str, platform, 0, 0, 0, 0, null, n, 0, n, mixed, added
  from heard
  union all
  select user_id_str, platform, 0, 0, 0, 0, null, n, 0, 0, hashtextextended(n::text, 7), n
  from settle.forgotten_webhooks
  where date = $1::date
  union all
  select user_id_str, platform, 0, 0, 0, 0, null, 0, cost, n, mixed, added
  from spent
  union all
  select user_id_str, platform, 0, 0, 0, 0, null, 0, cost, 0, hashtextextended(cost::text, 8), n
  from settle.forgotten_costs
  where date = $1::date
), fresh as materialized (
  select user_id_str, platform, sum(published)::bigint as published, sum(success)::bigint as success,
         sum(failed)::bigint as failed, sum(settled)::bigint as settled, max(settle_ms)::bigint as settle_ms,
         sum(heard)::bigint as heard, round(sum(cost), 2) as cost, sum(raw)::bigint as raw,
         to_hex(bit_xor(mixed)) || '.' || sum(added)::text as hash
  from part
  group by user_id_str, platform
), written as (
  insert into settle.daily_aggregates as a (
    date, user_id_str, platform, publication_count, success_count, failed_count, settled_count, avg_settle_ms, webhook_count,
    cost_total, source_count, source_hash, hash_version, is_partial, last_run_id)
  select $1::date, fresh.user_id_str, fresh.platform, published, success, failed, settled, settle_ms, heard, cost, raw,
         hash, 1, $2::boolean, $3::uuid
  from fresh
  left join settle.daily_aggregates as had on had.date = $1::date
                                          and had.user_id_str = fresh.user_id_str
                                          and had.platform = fresh.platform
  where (had.publication_count, had.success_count, had.failed_count, had.settled_count, had.avg_settle_ms, had.webhook_count,
         had.cost_total, had.source_count, had.source_hash, had.hash_version, had.is_partial)
        is distinct from (published, success, failed, settled, settle_ms, heard, cost, raw, hash, 1, $2)
  on conflict (date, user_id_str, platform) do update
    set publication_count = excluded.publication_count,
        success_count = excluded.success_count,
        failed_count = excluded.failed_count,
        settled_count = excluded.settled_count,
        avg_settle_ms = excluded.avg_settle_ms,
        webhook_count = excluded.webhook_count,
        cost_total = excluded.cost_total,
        source_count = excluded.source_count,
        source_hash = excluded.source_hash,
        hash_version = excluded.hash_version,
        is_partial = excluded.is_partial,
        last_run_id = excluded.last_run_id,
        verification_status = 'pending',
        verified_at = null,
        verify_diff = null,
        updated_at = now()
  returning 1
), gone as (
  -- Not in, which hashes: an anti-join with a part whose size no plan knows goes through it for each row.
  delete from settle.daily_aggregates
  where date = $1::date
    and (user_id_str, platform) not in (select user_id_str, platform from fresh)
  returning 1
), seen as (
  delete from settle.dirty_days
  where date = $1::date
), changed as (
  select (select count(*) from written) as written, (select count(*) from gone) as gone
), day as (
  insert into settle.aggregate_days as d (date, aggregated_at, is_partial, last_run_id)
  select $1::date, now(), $2, $3
  from changed
  where written + gone > 0
     or not exists (select
                    from settle.aggregate_days as same
                    where same.date = $1::date
                      and same.aggregated_at is not null
                      and same.is_partial = $2
                      and same.attempts = 0)
  on conflict (date) do update
    set aggregated_at = excluded.aggregated_at,
        is_partial = excluded.is_partial,
        verification_status = 'pending',
        verified_at = null,
        drift_rows = 0,
        missing_rows = 0,
        attempts = 0,
        next_attempt_at = null,
        failed_at = null,
        error_code = null,
        error_message = null,
        last_run_id = excluded.last_run_id
)
select written, gone,
       (select coalesce(sum(raw), 0)::bigint from fresh),
       exists (select from settle.aggregate_days where date = $1::date and aggregated_at is not null),
       written + gone = 0 and exists (select
                                      from settle.aggregate_days
                                      where date = $1::date
                                        and aggregated_at is not null
                                        and is_partial = $2
                                        and attempts = 0
                                        and verification_status = 'verified'),
       (select md5(string_agg(hash, ' ' order by user_id_str, platform)) from fresh)
from changed
