-- fence_release: gives the fence back, unless somebody else has taken it.
-- $1 job text  $2 epoch bigint
-- Nothing comes back.
update settle.job_fences
set holder = null,
    lease_until = now()
where name = $1::text
  and epoch = $2::bigint
