/* The rows that a gateway lives through: what strikes, and what mends it. */
#include "matrix.h"

#include <stdlib.h>

#define SPOOLED "settle_spool_writes_total{result=\"stored\"}"
#define FULL    "settle_spool_writes_total{result=\"full\"}"
#define FAILED  "settle_batches_total{result=\"failed\"}"

static void end_sessions(struct world *w)
{
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'");
}

/* Until a statement is under way on one of them. */
static void end_busy_sessions(struct world *w)
{
    double failed = world_metric(w, FAILED);

    world_until(20, world_metric(w, FAILED) > failed)
    {
        if (matrix_connected(w))
            end_sessions(w);
    }
}

static void freeze_postgres(struct world *w)
{
    world_freeze(w, POSTGRES);
}

static void thaw_postgres(struct world *w)
{
    world_thaw(w, POSTGRES);
}

/* Also those that are open are at their end. */
static void refuse(struct world *w)
{
    (void)w;
    proxy_refuse(matrix_proxy);
    proxy_cut(matrix_proxy);
}

static void reset_busy_connections(struct world *w)
{
    double failed = world_metric(w, FAILED);

    world_until(20, world_metric(w, FAILED) > failed)
    {
        if (matrix_connected(w))
            proxy_cut(matrix_proxy);
    }
}

static void delay(struct world *w)
{
    (void)w;
    proxy_delay(matrix_proxy, DOWN, 2000);
}

static void swallow_up(struct world *w)
{
    (void)w;
    proxy_swallow(matrix_proxy, UP);
}

static void swallow_down(struct world *w)
{
    (void)w;
    proxy_swallow(matrix_proxy, DOWN);
}

static void swallow_both(struct world *w)
{
    (void)w;
    proxy_swallow(matrix_proxy, BOTH_WAYS);
}

static void heal(struct world *w)
{
    (void)w;
    proxy_heal(matrix_proxy);
}

static void make_read_only(struct world *w)
{
    world_sql(w, "alter role settle_gateway set default_transaction_read_only = on");
    end_sessions(w);
}

static void make_writable(struct world *w)
{
    world_sql(w, "alter role settle_gateway reset default_transaction_read_only");
}

static void allow_no_connection(struct world *w)
{
    world_sql(w, "alter role settle_gateway connection limit 0");
    end_sessions(w);
}

static void allow_connections(struct world *w)
{
    world_sql(w, "alter role settle_gateway connection limit -1");
}

static void wait_for_a_standby(struct world *w)
{
    world_sql(w, "alter system set synchronous_standby_names = 'away'");
    world_sql(w, "select pg_reload_conf()");
}

static void wait_for_no_standby(struct world *w)
{
    world_sql(w, "alter system reset synchronous_standby_names");
    world_sql(w, "select pg_reload_conf()");
}

static void stop_both_stores(struct world *w)
{
    world_kill(w, REDIS);
    world_kill(w, POSTGRES);
}

const struct row matrix_of_servers[MATRIX_OF_SERVERS] = {
    {"postgres is stopped at once",         world_crash,         world_servers,       300,  NONE_REFUSED, SPOOLED, false},
    {"postgres is frozen",                  freeze_postgres,     thaw_postgres,       300,  NONE_REFUSED, SPOOLED, false},
    {"postgres waits for a standby",        wait_for_a_standby,  wait_for_no_standby, 100,  NONE_REFUSED, SPOOLED,
     false                                                                                                              },
    {"postgres is read-only",               make_read_only,      make_writable,       300,  NONE_REFUSED, SPOOLED, false},
    {"postgres has no connection left",     allow_no_connection, allow_connections,   300,  NONE_REFUSED, SPOOLED,
     false                                                                                                              },
    {"postgres ends sessions",              end_busy_sessions,   heal,                300,  NONE_REFUSED, FAILED,  false},
    {"both stores are down",                stop_both_stores,    world_servers,       300,  NONE_REFUSED, SPOOLED, false},
    {"both are down and the spool is full", stop_both_stores,    world_servers,       2000, SOME_REFUSED, FULL,    false},
    {"postgres is frozen, without a spool", freeze_postgres,     thaw_postgres,       100,  SOME_REFUSED, FAILED,  true },
};

const struct row matrix_of_network[MATRIX_OF_NETWORK] = {
    {"postgres refuses to be connected to", refuse,                 heal, 300, NONE_REFUSED, SPOOLED, false},
    {"all connections are reset",           reset_busy_connections, heal, 300, NONE_REFUSED, FAILED,  false},
    {"each answer takes two seconds",       delay,                  heal, 300, NONE_REFUSED, SPOOLED, false},
    {"what goes to postgres is lost",       swallow_up,             heal, 300, NONE_REFUSED, SPOOLED, false},
    {"what comes from postgres is lost",    swallow_down,           heal, 300, NONE_REFUSED, SPOOLED, false},
    {"postgres cannot be heard or reached", swallow_both,           heal, 300, NONE_REFUSED, SPOOLED, false},
};

static const struct row *row; /* the next one */

static int next_row(void **state)
{
    int failed = matrix_reset(state);

    if (row->without_spool)
        unsetenv("SETTLE_SPOOL_FOLDER");
    else if (row->outcome == SOME_REFUSED)
        setenv("SETTLE_SPOOL_MEGABYTES", "1", 1);
    return failed;
}

/* A row that fails must not come again. */
static void test_row(void **state)
{
    const struct row *of_test = row++;

    matrix_run(*state, of_test);
}

void matrix_tests(struct CMUnitTest *tests, const struct row *rows, size_t n)
{
    row = rows;
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){
            .name = rows[i].fault,
            .test_func = test_row,
            .setup_func = next_row,
        };
}
