-- cost_add: stores cost records of a tenant: all of them, or none if one cannot be. What is stored already is not stored again.
-- $1 user_id_str text. Of each record: $2 timestamp timestamptz[]  $3 cost text[], decimals  $4 idempotency_key text[]
-- $5 platform text[]  $6 log_id text[], UUIDs  $7 provider text[]  $8 model text[] (of these four each may be null)
-- $9 input_tokens int8[]  $10 output_tokens int8[].  $11 days for which costs are kept int8  $12 actor text
-- One row: HTTP status, JSON text, null; or the cause of a refusal and what is wrong with which record as a JSON array. Fails
-- with 40001 when another call is storing one of them just now, which the snapshot cannot see; ask again.
-- The records and those that are stored under their keys are compared in one sorted list: a join would go through one for each
-- of the other, since no plan knows how many there are.
with said as materialized (
  select place, timestamp, cost::numeric(10, 6) as cost, idempotency_key, platform, log_id::uuid as log_id, provider, model,
         input_tokens, output_tokens
  from unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
              $10::bigint[]) with ordinality
    as record (timestamp, cost, idempotency_key, platform, log_id, provider, model, input_tokens, output_tokens, place)
  union all
  select 0, timestamp, cost, idempotency_key, platform, log_id, provider, model, input_tokens, output_tokens
  from settle.cost_records
  where user_id_str = $1::text
    and idempotency_key = any ($4)
), judged as materialized (
  select *, first_value(place) over same_key = 0 as is_stored, first_value(place) over same_key = place as is_first,
         (timestamp, cost, platform, log_id, provider, model, input_tokens, output_tokens)
         is distinct from (first_value(timestamp) over same_key, first_value(cost) over same_key,
                           first_value(platform) over same_key, first_value(log_id) over same_key,
                           first_value(provider) over same_key, first_value(model) over same_key,
                           first_value(input_tokens) over same_key, first_value(output_tokens) over same_key) as is_other
  from said
  window same_key as (partition by idempotency_key order by place)
), wrong as materialized (
  select place, 'idempotency_key' as field, true as conflicts,
         'was used for another record' || case when is_stored then ', which is stored' else ' of this call' end
         || ': give this one a key of its own, or leave it out' as message
  from judged
  where is_other
  union all
  select place, 'timestamp', false,
         case
           when timestamp > now() then 'lies more than a day ahead: send it when it has been spent, and look at the clock'
           else format('is older than the %s days for which costs are kept (retention.cost_days), so that nobody could tell '
                       'whether it came before: leave it out, or have them kept longer', $11::bigint)
         end
  from judged
  where not is_stored
    and timestamp not between now() - $11 * interval '1 day' and now() + interval '1 day'
), added as (
  insert into settle.cost_records (user_id_str, platform, log_id, provider, model, input_tokens, output_tokens, cost, timestamp,
                                   idempotency_key)
  select $1, platform, log_id, provider, model, input_tokens, output_tokens, cost, timestamp, idempotency_key
  from judged
  where is_first
    and not is_stored
    and not exists (select from wrong)
  order by idempotency_key -- so that of two calls at once neither waits for the other in turn
  on conflict (user_id_str, idempotency_key) do nothing
  returning cost, timestamp
), noted as (
  insert into settle.social_sync_ledger (event_type, entity_type, entity_id, metadata, actor)
  select 'costs_recorded', 'user', $1,
         jsonb_build_object('records', count(*), 'cost', sum(cost)::text, 'first', min(timestamp), 'last', max(timestamp)), $12::text
  from added
  having count(*) > 0
), n as (
  select count(*) filter (where place > 0) as received, count(*) filter (where is_first and not is_stored) as fresh,
         (select count(*) from added) as stored
  from judged
)
select 200 as status,
       json_build_object('received', received, 'stored', stored, 'repeated', received - stored)::text as body,
       null as more
from n
where settle.none_unseen(case when exists (select from wrong) then 0 else fresh - stored end)
  and not exists (select from wrong)
union all
select case when every then 409 else 422 end, case when every then 'cost_conflict' else 'cost_out_of_time' end, errors
from (select bool_and(conflicts) as every,
             (json_agg(json_build_object('field', format('records[%s].%s', place - 1, field), 'message', message) order by place, field)
              filter (where nth <= 100))::text as errors
      from (select *, row_number() over (order by place, field) as nth from wrong) as numbered) as told
where errors is not null
