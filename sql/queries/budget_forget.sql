-- budget_forget: removes one chunk of the polls' budgets of minutes that are long over.
-- $1 rows int8  $2 ctid text the chunk begins behind (null: at the first)
-- One row: rows of the chunk int8, of those removed int8, ctid text of the last. By ctid, as ARCHITECTURE.md says: a row
-- that is updated meanwhile has another and stays.
with chunk as materialized (
  select ctid
  from settle.poll_budgets
  where minute < now() - interval '1 hour'
    and ctid > coalesce($2::text, '(0,0)')::tid
  order by ctid
  limit $1::bigint
), chunk_end as (
  select ctid
  from chunk
  order by ctid desc
  limit 1
), gone as (
  delete from settle.poll_budgets
  where ctid = any (array(select ctid from chunk))
  returning 1
)
select (select count(*) from chunk),
       (select count(*) from gone),
       (select ctid::text from chunk_end)
