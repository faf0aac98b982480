-- insights_exists: whether there is an insights task.
-- $1 id int8
-- One row: bool.
select exists (select from settle.platform_insights_tasks where id = $1::bigint)
