-- Verify settle:insights on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'insights';
select id, user_id, platform, site_url, status, last_check, last_success, last_failure, failure_reason, consecutive_failures,
       failure_pattern, next_check, cool_off_until, created_at, updated_at
from settle.platform_insights_tasks
where false;
select user_id_str from settle.job_runs where false;
select 1 / count(*) from settle.insights_platforms;

rollback;
