-- event_add: the scheduler has started or stopped leading.
-- $1 event_type text  $2 event_data jsonb
insert into settle.scheduler_event_logs (event_type, event_data)
values ($1::text, $2::jsonb)
