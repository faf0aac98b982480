-- refused_take: removes requests that were taken in after all; in the transaction that stores their receipts.
-- $1 source text  $2 id uuid[]
-- No rows; the command tag counts.
delete from settle.refused_requests
where source = $1::text and id = any ($2::uuid[])
