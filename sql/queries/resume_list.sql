-- resume_list: when platforms went on after a pause. What lies ahead of the clock was noted by another clock: it tells nothing.
-- $1 now timestamptz
-- One row each: platform text, resumed_at timestamptz.
select platform, resumed_at
from settle.platform_resumes
where resumed_at <= $1::timestamptz
