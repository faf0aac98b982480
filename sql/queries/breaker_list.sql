-- breaker_list: all breakers, for the debug route.
-- No parameters.
-- One row: HTTP status, JSON text by platform, null.
select 200 as status,
       coalesce(json_object_agg(
         platform,
         json_build_object(
           'state', state, 'failures', failures, 'opened_at', opened_at,
           'half_open_probes', (select count(*) from unnest(probes_until) as until where until > now()),
           'transitions', transitions, 'changed_at', changed_at, 'updated_at', updated_at)
         order by platform)::text, '{}') as body,
       null as cursor
from settle.breakers
