-- Deploy settle:lease_ends to pg
-- A lease that ends later than any could was written by a clock that was ahead and was set back since. Whoever asks when
-- one ends is told: null, as of none.
begin;

-- Of a publishing worker: a day at most (POST /publishing/logs/claim), and an hour for a clock that is put right.
create function settle.worker_lease(lease_until timestamptz) returns timestamptz
language sql stable
as $$
  select case when lease_until <= now() + interval '25 hours' then lease_until end
$$;
revoke execute on function settle.worker_lease (timestamptz) from public;
grant execute on function settle.worker_lease (timestamptz) to settle_reconciler, settle_operator, settle_tenant;

-- Of a job's runner: twice what one takes (LOCK_LEASE_MS).
create function settle.job_lease(lease_until timestamptz) returns timestamptz
language sql stable
as $$
  select case when lease_until <= now() + interval '1 minute' then lease_until end
$$;
revoke execute on function settle.job_lease (timestamptz) from public;
grant execute on function settle.job_lease (timestamptz) to settle_reconciler, settle_operator, settle_maintain;

insert into settle.schema_version (change) values ('lease_ends');

commit;
