-- refused_forget: removes a chunk of the refused requests that were kept long enough, oldest first.
-- $1 keep_hours int8  $2 rows int8
-- No rows; the command tag counts. By ctid, as ARCHITECTURE.md says: these rows are never updated.
delete from settle.refused_requests
where ctid = any (array(
  select ctid
  from settle.refused_requests
  where received_at < now() - $1::bigint * interval '1 hour'
  order by received_at
  limit $2::bigint))
