-- gauge_unmatched: receipts that came 72 to 96 hours ago and still name no publication that is registered, for the gauges.
-- No parameters.
-- Rows: platform text, receipts float8. Of those hours it looks at the newest 5,000 alone, by the index on stored_at, and
-- finds the publication of each by its key: bounded however much comes in.
select platform, count(*)::float8
from (
  select external_post_id, platform, source
  from settle.webhook_receipts
  where stored_at < now() - interval '72 hours'
    and stored_at >= now() - interval '96 hours'
  order by stored_at desc
  limit 5000) as old
where external_post_id is not null
  and not exists (
    select from settle.publish_logs as p
    where p.external_post_id = old.external_post_id
      and p.platform = old.platform
      and p.source = old.source)
group by platform
