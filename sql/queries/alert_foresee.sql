-- alert_foresee: what alert_judge would do; changes nothing.
-- $1 type text  $2 the range begins behind this subject text  $3 and ends with this one text (null: with the last)
-- $4 subjects for which it holds text[]
-- One row: how many would open, are open still, would be kept quiet, would be resolved, int8 each.
with found as materialized (
  select $1::text || ':' || subject as dedupe_key from unnest($4::text[]) as f (subject)
), known as (
  select exists (select from settle.alerts as a where a.dedupe_key = found.dedupe_key and a.status = 'OPEN') as open,
         exists (select from settle.alerts as a
                 where a.dedupe_key = found.dedupe_key
                   and a.status = 'RESOLVED'
                   and a.resolved_at > now() - interval '5 minutes'
                   and a.resolved_at <= now()) as quiet
  from found
)
select count(*) filter (where not open and not quiet) as opened,
       count(*) filter (where open) as again,
       count(*) filter (where not open and quiet) as quiet,
       (select count(*)
        from settle.alerts as a
        where a.status = 'OPEN'
          and a.dedupe_key > $1 || ':' || $2::text
          and a.dedupe_key <= coalesce($1 || ':' || $3::text, $1 || ';')
          and not exists (select from found where found.dedupe_key = a.dedupe_key)) as resolved
from known
