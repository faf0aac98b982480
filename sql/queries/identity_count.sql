-- identity_count: the same chunk as of identity_mend, which is left and counted as it is.
-- $1 rows int8  $2 id text the chunk begins behind (null: at the first)
-- One row as of identity_mend; what got another name: 0.
with chunk as materialized (
  select id, user_id, user_id_str,
         coalesce(nullif(btrim(user_id_str), ''), case when user_id >= 0 then user_id::text end) as name
  from settle.task_execution_logs
  where id > coalesce($2::text, '-9223372036854775808')::bigint
  order by id
  limit $1::bigint
)
select count(*),
       count(*) filter (where user_id_str is distinct from name),
       0::bigint,
       max(id)::text,
       count(user_id_str),
       count(user_id),
       count(*) filter (where user_id_str = user_id::text),
       count(*) filter (where user_id_str is null and user_id is not null),
       count(*) filter (where user_id_str is null and user_id is null),
       count(*) filter (where user_id_str <> user_id::text),
       not row_security_active('settle.task_execution_logs')
       or exists (select
                  from pg_catalog.pg_policy
                  where polrelid = 'settle.task_execution_logs'::regclass
                    and polcmd = '*'
                    and pg_catalog.pg_get_expr(polqual, polrelid) = 'true'
                    and (select oid from pg_catalog.pg_roles where rolname = current_user) = any (polroles))
from chunk
