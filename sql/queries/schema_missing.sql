-- schema_missing: which changes a program needs and the database lacks.
-- $1 change text[]
-- One row a missing change: its name, in the order given.
select needed.change
from unnest($1::text[]) with ordinality as needed (change, place)
left join settle.schema_version as had using (change)
where had.change is null
order by needed.place
