-- websub_note: writes down what became of a request to a hub.
-- $1 platform text  $2 source text  $3 topic text  $4 lease_s int8  $5 hub_status int8 (0: no answer)
-- $6 error text (null: it was taken)
-- No rows.
insert into settle.websub_subscriptions as had (
  platform, source, topic, requested_at, accepted_at, lease_s, hub_status, error)
values ($1::text, $2::text, $3::text, now(), case when $6::text is null then now() end, $4::bigint::integer,
        nullif($5::bigint, 0)::smallint, $6)
on conflict (platform, source, topic) do update
set requested_at = excluded.requested_at,
    accepted_at = coalesce(excluded.accepted_at, had.accepted_at),
    lease_s = case when excluded.accepted_at is null then had.lease_s else excluded.lease_s end,
    hub_status = excluded.hub_status,
    error = excluded.error
