-- websub_forget: forgets a topic that the hub was asked to send no longer.
-- $1 platform text  $2 source text  $3 topic text
-- No rows.
delete from settle.websub_subscriptions
where platform = $1::text and source = $2::text and topic = $3::text
