-- identity_mend: one chunk of what became of monitoring tasks gets the one form of its tenants' names, and is counted as it is
-- then.
-- $1 rows int8  $2 id text the chunk begins behind (null: at the first)
-- One row: rows of the chunk, of those that wanted another name, and that got it int8, id text of the last; then of the chunk
-- those with user_id_str, with user_id, with user_id_str as text of user_id, with user_id alone, with neither, with two that
-- differ int8; whether no policy hides rows boolean.
with chunk as materialized (
  select id, user_id, user_id_str,
         coalesce(nullif(btrim(user_id_str), ''), case when user_id >= 0 then user_id::text end) as name
  from settle.task_execution_logs
  where id > coalesce($2::text, '-9223372036854775808')::bigint
  order by id
  limit $1::bigint
), mended as (
  update settle.task_execution_logs as l
  set user_id_str = chunk.name
  from chunk
  where l.id = chunk.id
    and l.user_id_str is distinct from chunk.name
  returning 1
)
select count(*),
       count(*) filter (where user_id_str is distinct from name),
       (select count(*) from mended),
       max(id)::text,
       count(name),
       count(user_id),
       count(*) filter (where name = user_id::text),
       count(*) filter (where name is null and user_id is not null),
       count(*) filter (where name is null and user_id is null),
       count(*) filter (where name <> user_id::text),
       not row_security_active('settle.task_execution_logs')
       or exists (select
                  from pg_catalog.pg_policy
                  where polrelid = 'settle.task_execution_logs'::regclass
                    and polcmd = '*'
                    and pg_catalog.pg_get_expr(polqual, polrelid) = 'true'
                    and (select oid from pg_catalog.pg_roles where rolname = current_user) = any (polroles))
from chunk
