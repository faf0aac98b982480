-- server_check: whether this server takes writes and keeps what it commits.
-- Without parameters.
-- One row: read_only boolean (a standby, or made so), unsafe text (what would lose a commit in a crash; null if nothing),
-- clock timestamptz (the time it has).
-- data_sync_retry: a failed fsync tried again may "succeed" without having written. The settings are those in force for
-- this session, whoever set them; of an unlogged table a crash leaves nothing.
select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
       (select string_agg(unsafe, ', ' order by unsafe)
        from (select setting || ' = ' || current_setting(setting)
              from (values ('fsync', 'off'), ('full_page_writes', 'off'), ('synchronous_commit', 'off'),
                           ('data_sync_retry', 'on')) as safety (setting, bad)
              where current_setting(setting) = bad
              union all
              select 'settle.' || relname || ' unlogged'
              from pg_catalog.pg_class
              where relnamespace = to_regnamespace('settle') and relpersistence = 'u' and relkind = 'r')
             as found (unsafe)),
       clock_timestamp()
