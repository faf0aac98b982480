-- resume_list: when platforms went on after a pause. What lies ahead of the clock was noted by another clock: it tells nothing.
-- No parameters.
-- One row each: platform text, resumed_at timestamptz.
select platform, resumed_at
from settle.platform_resumes
where resumed_at <= clock_timestamp() -- not the run's begin: what goes on meanwhile is no longer paused either
