-- Deploy settle:run_totals to pg
-- What all runs together have done: the counters of the metrics page. Runs come and go, and so do their rows in job_runs;
-- a counter must not. Kept by a trigger, so that no writer of job_runs can forget it: what a batch adds to its run's report
-- is added here in the same transaction, and of a run that was killed what it has done still counts.
begin;

create table settle.run_totals (
  job_name text collate "C" not null,
  kind text collate "C" not null,
  word text collate "C" not null,
  platform text collate "C" not null default '',
  n bigint not null check (n >= 0),
  primary key (job_name, kind, word, platform)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on column settle.run_totals.kind is
  'outcome: runs that ended; result, reason: publications by what was done and why; poll, missing: by what asking gave, and why nothing';
comment on column settle.run_totals.platform is 'empty: it is told of all together';

-- Runs with the rights of whoever writes job_runs. Rows are taken in the order of their key: two runs wait for each other
-- and never deadlock. A report in which something else stands under these names counts nothing and harms nothing.
create function settle.run_totals_follow() returns trigger
language plpgsql
as $$
declare
  before jsonb;
  ended boolean := new.status <> 'running';
begin
  if tg_op = 'UPDATE' then
    before := old.report;
    ended := ended and old.status = 'running';
  end if;
  insert into settle.run_totals as t (job_name, kind, word, platform, n)
  select new.job_name, kind, word, platform, sum(n)
  from (
    select said.kind, said.word, said.platform,
           case when jsonb_typeof(said.n) = 'number' then v.sign * (said.n #>> '{}')::numeric else 0 end as n
    from (values (1, new.report), (-1, before)) as v (sign, report)
    cross join lateral (
      select 'result' as kind, words.word, p.key as platform, p.value -> words.key as n
      from jsonb_each(case jsonb_typeof(v.report -> 'by_platform') when 'object' then v.report -> 'by_platform' else '{}' end) as p
      cross join (values ('success', 'marked_success'), ('failed', 'marked_failed'), ('skipped', 'skipped'),
                         ('corrected', 'corrected'), ('retry', 'marked_retry')) as words (word, key)
      union all
      select 'reason', r.key, p.key, r.value
      from jsonb_each(case jsonb_typeof(v.report -> 'by_platform') when 'object' then v.report -> 'by_platform' else '{}' end) as p
      cross join lateral jsonb_each(case jsonb_typeof(p.value -> 'by_reason') when 'object' then p.value -> 'by_reason' else '{}' end) as r
      union all
      select 'poll', key, '', value
      from jsonb_each(case jsonb_typeof(v.report -> 'polls') when 'object' then v.report -> 'polls' else '{}' end)
      where key in ('asked', 'done', 'working')
      union all
      select 'missing', key, '', value
      from jsonb_each(case jsonb_typeof(v.report #> '{polls,could_not_ask}')
                        when 'object' then v.report #> '{polls,could_not_ask}' else '{}' end)
    ) as said (kind, word, platform, n)
    union all
    select 'outcome', case when new.error_code = 'killed' then 'killed' else coalesce(new.outcome, new.status) end, '', 1
    where ended
  ) as counted
  group by kind, word, platform
  having sum(n) > 0
  order by kind, word, platform
  on conflict (job_name, kind, word, platform) do update
    set n = t.n + excluded.n;
  return null;
end
$$;
revoke execute on function settle.run_totals_follow () from public;

create trigger job_runs_skipped after insert on settle.job_runs
for each row when (new.status <> 'running')
execute function settle.run_totals_follow();

create trigger job_runs_told after update of status, report on settle.job_runs
for each row when ((old.status, old.report) is distinct from (new.status, new.report))
execute function settle.run_totals_follow();

-- The newest good run of a job is found at once, however many have failed or stood aside since.
create index job_runs_good on settle.job_runs (job_name, started_at desc) where status = 'success';

grant select, insert, update on settle.run_totals to settle_reconciler, settle_maintain;
grant select on settle.run_totals to settle_api, settle_readonly;

insert into settle.schema_version (change) values ('run_totals');

commit;
