-- fence_renew: prolongs the lease of the fence; a transaction of its own.
-- $1 job text  $2 epoch bigint  $3 lease_ms bigint
-- Affects one row, or none if somebody else has taken the fence.
update settle.job_fences
set lease_until = now() + $3::bigint * interval '1 millisecond'
where name = $1::text
  and epoch = $2::bigint
