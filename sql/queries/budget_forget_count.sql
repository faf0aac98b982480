-- budget_forget_count: how many budget_forget would remove of one chunk.
-- $1 rows int8  $2 ctid text the chunk begins behind (null: at the first)
-- One row, as there.
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
)
select (select count(*) from chunk),
       (select count(*) from chunk),
       (select ctid::text from chunk_end)
