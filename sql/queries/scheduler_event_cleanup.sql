-- scheduler_event_cleanup: removes the scheduler's events that are older than so many days, oldest first and so many at once;
-- a trigger adds to the baseline what they counted. By ctid, as ARCHITECTURE.md says: these rows are never updated.
-- The newest that somebody began to lead stays: it tells who does, and since when.
-- $1 older_than_days int8  $2 days_to_keep int8 (null: not said; of both the longer)  $3 dry_run bool  $4 run id uuid
-- $5 actor text
-- One row: HTTP status, JSON text or the cause of a refusal, null.
with cutoff as materialized (
  select now() - greatest($1::bigint, $2::bigint) * interval '1 day' as before
), began as materialized (
  select id, event_date
  from settle.scheduler_event_logs
  where event_type = 'start'
  order by event_date desc, id desc
  limit 1
), chunk as materialized (
  select ctid
  from settle.scheduler_event_logs
  where event_date < (select before from cutoff)
    and id is distinct from (select id from began)
    and not $3::boolean
  order by event_date
  limit 100000
), gone as (
  delete from settle.scheduler_event_logs
  where ctid = any (array(select ctid from chunk))
  returning 1
), said as (
  select json_build_object(
           'deleted_count', (select count(*) from gone),
           'would_delete_count', (select count(*) from settle.scheduler_event_logs where event_date < cutoff.before)
                                 - (select count(*) from began where event_date < cutoff.before), -- by the index alone
           'oldest_kept_event', least((select min(event_date) from settle.scheduler_event_logs where event_date >= cutoff.before),
                                      (select event_date from began)),
           'dry_run', $3) as reply
  from cutoff
  where before is not null
), ran as (
  insert into settle.job_runs (id, job_name, scope, actor, trigger, status, holder, finished_at, outcome, report)
  select $4::uuid, 'event_cleanup', json_build_object('days', greatest($1, $2)), $5::text, 'api', 'success', 'api', now(), 'done',
         reply
  from said
  where not $3
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor, run_id)
  select 'scheduler_events_removed', 'scheduler_events', greatest($1, $2)::text, reply, $5, $4
  from said
  where not $3
)
select 200 as status, reply::text as body, null as cursor
from said
union all
select 422, 'age_missing', null
from cutoff
where before is null
