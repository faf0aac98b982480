-- run_skip: the row of a run that did not begin because another one holds the lock.
-- $1 id uuid  $2 job_name text  $3 scope jsonb  $4 actor text  $5 trigger text  $6 holder text
insert into settle.job_runs (id, job_name, scope, actor, trigger, status, holder, finished_at, outcome)
values ($1::uuid, $2::text, $3::jsonb, $4::text, $5::text, 'skipped', $6::text, now(), 'lock_held')
