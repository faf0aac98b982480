-- poll_note: what platforms answered about some publications: when to ask again, and of decisive answers a report.
-- $1 id uuid[]  $2 source text[]  $3 platform text[]  $4 external_post_id text[]  $5 outcome text[]  $6 error_code text[]
-- $7 next_at timestamptz[]  $8 decisive int2[]  $9 status text[]  $10 happened_at timestamptz[]  $11 url text[]
-- $12 reason text[]  $13 extras text[]  $14 id of the report uuid[]  $15 now timestamptz  $16 actor text  $17 run_id uuid
-- Nothing comes back.
with answers as (
  select *
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::smallint[],
              $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::uuid[])
    as a (id, source, platform, post, outcome, error_code, next_at, decisive, status, happened_at, url, reason, extras,
          report_id)
), reported as (
  insert into settle.publication_reports (id, source, log_id, platform, external_post_id, witness, status, decisive,
                                          happened_at, reported_at, url, reason, extras, actor, run_id)
  select report_id, source, id, platform, post, 'poll', status, decisive, happened_at, $15::timestamptz, url, reason,
         extras, $16::text, $17::uuid
  from answers
  where decisive <> 0
)
insert into settle.publish_polls as p (id, source, external_post_id, asked_at, next_at, outcome, error_code, tries)
select id, source, post, $15, next_at, outcome, error_code, 1
from answers
on conflict (id, source) do update
  set external_post_id = excluded.external_post_id,
      asked_at = excluded.asked_at,
      next_at = excluded.next_at,
      outcome = excluded.outcome,
      error_code = excluded.error_code,
      tries = case when p.external_post_id = excluded.external_post_id then p.tries + 1 else 1 end
