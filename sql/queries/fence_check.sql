-- fence_check: whether the fence is still ours; the first statement of every transaction that writes.
-- $1 job text  $2 epoch bigint
-- One row if it is. The row lock makes a successor wait for this transaction to end.
select 1
from settle.job_fences
where name = $1::text
  and epoch = $2::bigint
for share
