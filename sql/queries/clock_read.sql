-- clock_read: the database's time, which every cut-off of a run is counted from, and up to where the job has looked
-- at receipts.
-- $1 job text
-- One row: now timestamptz, watermark timestamptz (null: not yet).
select now(), (select watermark from settle.job_fences where name = $1::text)
