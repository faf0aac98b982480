-- fence_advance: receipts stored before this have been looked at.
-- $1 name text  $2 epoch bigint  $3 watermark timestamptz
update settle.job_fences
set watermark = $3::timestamptz
where name = $1::text
  and epoch = $2::bigint
