-- timeout_recall: what the publications runs of the last hour have done, those with --force left out: time-outs, retries among them,
-- and settled rows. A killed run counts with what its last batch left.
-- $1 now timestamptz
-- One row: timed_out bigint, settled bigint.
select coalesce(sum((report ->> 'timed_out')::bigint + coalesce((report ->> 'marked_retry')::bigint, 0)), 0)::bigint,
       coalesce(sum((report ->> 'marked_success')::bigint + (report ->> 'marked_failed')::bigint), 0)::bigint
from settle.job_runs
where job_name = 'publications'
  and started_at > $1::timestamptz - interval '6 hours'
  and coalesce(finished_at, $1) > $1 - interval '60 minutes'
  and scope ->> 'force' = 'false'
