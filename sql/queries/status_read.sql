-- status_read: what an operator asks first: jobs, locks, open publications, breakers, pauses.
-- $1 stale after minutes bigint  $2 most rows that are counted bigint
-- One row: JSON text.
with job as (
  select name as job
  from settle.job_fences
  where name <> 'serve' and position(':' in name) = 0
), jobs as (
  select coalesce(jsonb_agg(jsonb_build_object(
           'job', job, 'schedule', s.cron, 'next_due', s.next_due, 'last_due', s.last_due, 'pace', s.pace,
           'skipped', coalesce(s.skipped, 0), 'running', current.id, 'running_since', current.started_at,
           'lock_holder', case when f.holder is not null and settle.job_lease(f.lease_until) > now() then f.holder end,
           'epoch', f.epoch,
           'last_run', to_jsonb(last))
         order by job), '[]') as found
  from job
  join settle.job_fences as f on f.name = job
  left join settle.job_schedule as s using (job)
  left join lateral (
    select id, started_at
    from settle.job_runs
    where job_name = job and status = 'running' and fencing_token = f.epoch
    order by started_at desc
    limit 1) as current on f.holder is not null and settle.job_lease(f.lease_until) > now()
  left join lateral (
    select id, status, outcome, trigger, started_at, finished_at, error_message
    from settle.job_runs
    where job_name = job and status <> 'running'
    order by started_at desc
    limit 1) as last on true
), open as (
  select count(*) as open,
         count(*) filter (where status <> 'pending' and updated_at < now() - $1::bigint * interval '1 minute') as stale,
         min(updated_at) filter (where status <> 'pending') as oldest
  from (
    select status, updated_at
    from settle.publish_open
    order by updated_at, id
    limit $2::bigint) as counted
)
select jsonb_build_object(
  'now', now(),
  'scheduler', (
    select jsonb_build_object('leader', case when holder is not null and settle.job_lease(lease_until) > now() then holder end,
                              'epoch', epoch)
    from settle.job_fences
    where name = 'serve'),
  'jobs', jobs.found,
  'publications', jsonb_build_object('open', open.open, 'stale', open.stale, 'oldest_updated_at', open.oldest,
                                     'counted_to', case when open.open = $2 then $2 end),
  'breakers', (
    select coalesce(jsonb_agg(jsonb_build_object('platform', platform, 'state', state, 'failures', failures,
                                                 'opened_at', opened_at) order by platform), '[]')
    from settle.breakers),
  'pauses', (
    select coalesce(jsonb_agg(jsonb_build_object('platform', platform, 'paused_at', paused_at, 'actor', actor,
                                                 'reason', reason) order by platform), '[]')
    from settle.platform_pauses))::text
from jobs, open
