-- insights_log_forget: removes one chunk of what became of insights tasks and was kept long enough.
-- $1 days int8, at least the 7 of which insights_finish counts the failures  $2 rows int8
-- $3 id text, $4 execution_date timestamptz the chunk begins behind (null: at the oldest)
-- One row: rows of the chunk int8, of those removed int8, id text and execution_date timestamptz of the last. By ctid, as
-- ARCHITECTURE.md says: these rows are never updated.
with chunk as materialized (
  select ctid, execution_date, id
  from settle.platform_insights_execution_logs
  where execution_date < now() - greatest($1::bigint, 7) * interval '1 day'
    and (execution_date, id) > (coalesce($4::timestamptz, '-infinity'), coalesce($3::text, '0')::bigint)
  order by execution_date, id
  limit $2::bigint
), chunk_end as (
  select execution_date, id
  from chunk
  order by execution_date desc, id desc
  limit 1
), gone as (
  delete from settle.platform_insights_execution_logs
  where ctid = any (array(select ctid from chunk))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select id::text from chunk_end),
       (select execution_date from chunk_end)
