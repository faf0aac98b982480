-- redate_due: whether publication_redate would find any: each run asks, and hardly ever is there one.
-- $1 platform text (null: any)
-- One row: bigint, 1 or 0.
select exists (select
               from settle.publish_open
               where updated_at > now() + interval '1 hour'
                 and ($1::text is null or platform = $1))::integer::bigint
