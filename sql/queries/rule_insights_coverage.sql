-- rule_insights_coverage: tenants who for 30 minutes have had more insights platforms connected than tasks that are active, each time
-- that it was looked at.
-- $1 those behind this tenant text  $2 at most so many int8
-- Rows in the order of the tenant: user_id_str text, message text, payload jsonb.
select user_id_str,
       format('of %s connected insights platforms %s have an active task', connected, active) as message,
       jsonb_build_object('connected', connected, 'active', active, 'since', since, 'seen_at', seen_at) as payload
from settle.insights_gaps
where seen_at - since > interval '30 minutes'
  and user_id_str > $1::text
order by user_id_str
limit $2::bigint
