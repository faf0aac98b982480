-- fence_add: the fence of what has one of its own, such as a day; there already: nothing.
-- $1 name text
insert into settle.job_fences (name)
values ($1::text)
on conflict do nothing
