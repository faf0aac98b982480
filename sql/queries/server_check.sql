-- server_check: whether this server takes writes and keeps what it commits.
-- Without parameters.
-- One row: read_only boolean (a standby, or made so), unsafe text (the settings that are off; null if none).
select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
       (select string_agg(name, ', ' order by name)
        from unnest(array['fsync', 'full_page_writes', 'synchronous_commit']) as safety (name)
        where current_setting(name) = 'off')
