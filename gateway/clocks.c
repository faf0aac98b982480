#include "clocks.h"

#include "base/log.h"
#include "base/metric.h"
#include "health.h"

#include <stdlib.h>

enum { ASK_EVERY_S = 10 };

struct clocks {
    struct server *server;
    struct links *links;
    struct database_clock database;
    bool were_apart;      /* and it was logged */
    bool asked;           /* and not answered yet */
    int64_t asked_us;     /* boot time */
    int64_t ask_again_us; /* boot time */
};

static void ask(struct clocks *c);
static void after_answer(void *clocks, const struct pg_rows *rows, const struct err *err);
static void tell(struct clocks *c);
static int64_t skew_us(const struct clocks *c);

bool database_clock_learn(struct database_clock *c, int64_t database_us, int64_t sent_boot_us,
                          int64_t heard_boot_us)
{
    int64_t took_us = heard_boot_us - sent_boot_us;

    if (took_us < 0 || took_us > CLOCKS_ANSWER_US)
        return false;
    *c = (struct database_clock){true, database_us - sent_boot_us - took_us / 2};
    return true;
}

int64_t database_clock_skew_us(const struct database_clock *c, int64_t wall_us, int64_t boot_us)
{
    return c->is_known ? wall_us - (boot_us + c->ahead_us) : 0;
}

struct clocks *clocks_open(struct server *server, struct links *links)
{
    struct clocks *c = calloc(1, sizeof(*c));

    if (!c)
        abort();
    c->server = server;
    c->links = links;
    return c;
}

void clocks_close(struct clocks *c)
{
    free(c);
}

void clocks_on_pg(struct clocks *c, const struct pg *pg)
{
    int64_t asked_us, heard_us, database_us = pg_clock_at_connect(pg, &asked_us, &heard_us);

    database_clock_learn(&c->database, database_us, asked_us, heard_us);
}

void clocks_turn(void *clocks)
{
    struct clocks *c = clocks;

    if (!c->asked && server_boot_us(c->server) >= c->ask_again_us)
        ask(c);
    tell(c);
}

/* Where nothing waits, and for no longer than a commit: should it never be answered, the connection is missed by nobody
 * for longer than it would be anyway. */
static void ask(struct clocks *c)
{
    struct pg *pg = links_pg_idle(c->links);

    if (!pg)
        return;
    c->asked = true;
    c->asked_us = now_boot_us();
    c->ask_again_us = c->asked_us + ASK_EVERY_S * SECOND_US;
    pg_send(pg, SQL_SERVER_CHECK, NULL, links_pg_deadline_us(c->links), after_answer, c);
}

static void after_answer(void *clocks, const struct pg_rows *rows, const struct err *err)
{
    struct clocks *c = clocks;

    c->asked = false;
    if (err) /* the connection goes, or the next answer is better */
        return;
    database_clock_learn(&c->database, pg_time(rows, 0, 2), c->asked_us, now_boot_us());
    links_check_pg(c->links, rows);
}

static void tell(struct clocks *c)
{
    bool are_apart = llabs(skew_us(c)) > CLOCKS_APART_US;

    metric_set(CLOCK_SKEW, METRIC_NO_PLATFORM, 0, (double)llabs(skew_us(c)) / (double)SECOND_US);
    health_clock_agrees(!clocks_may_be_apart(c));
    if (are_apart && !c->were_apart)
        log_warn(
            "clock_suspect", LOG_INT("ahead_of_database_s", skew_us(c) / SECOND_US),
            LOG_TEXT("effect", "senders whose signatures look too old or too new are told to come again"));
    if (!are_apart && c->were_apart)
        log_info("clock_agrees", LOG_INT("ahead_of_database_s", skew_us(c) / SECOND_US));
    c->were_apart = are_apart;
}

static int64_t skew_us(const struct clocks *c)
{
    return database_clock_skew_us(&c->database, server_wall_us(c->server), server_boot_us(c->server));
}

bool clocks_may_be_apart(const struct clocks *c)
{
    return !c->database.is_known || llabs(skew_us(c)) > CLOCKS_APART_US;
}
