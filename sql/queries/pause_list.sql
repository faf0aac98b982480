-- pause_list: the platforms that an operator has paused.
-- One row each: platform text, paused_at timestamptz, actor text, reason text.
select platform, paused_at, actor, reason
from settle.platform_pauses
order by platform
