-- insights_any: whether any insights task is ever due.
-- No parameters.
-- One row: bool.
select exists (select from settle.platform_insights_tasks where status in ('active', 'failed'))
