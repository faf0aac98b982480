/*
 * ask: asks platforms what became of the publications that no webhook has decided, and stores what they answer: decisive
 * answers as reports, of the others when to ask again. No network within a transaction; what is stored of answers is so under the
 * fence. Budgets and breakers are shared by all who ask, and written outside of it.
 */
#ifndef SETTLE_RECONCILER_ASK_H
#define SETTLE_RECONCILER_ASK_H

#include "page.h"

#include "domain/missing.h"

/* What came of it, in publications; reasons by enum missing, those included that were not asked at all. */
struct asked {
    int64_t asked, done, working;
    int64_t could_not[MISSING_REASONS];
};

/* Within the transaction that has stored decisive answers about these publications, perhaps none: settle them. */
typedef enum status ask_settle(void *ctx, const struct id *ids, const struct span *sources, size_t n,
                               struct err *err);
/* After each transaction: done is false if it was rolled back, and will be tried again in smaller pieces. */
typedef void ask_written(void *ctx, bool done);

struct ask_scope {
    const struct deadlines *deadlines;
    struct span platform; /* absent: all */
    ask_settle *settle;
    ask_written *written;
    void *ctx;
};

/* At most reconcile.poll_seconds long; what was not asked by then is asked by the next run. A platform that does not answer
 * is no failure. */
enum status ask_all(struct session *s, const struct ask_scope *scope, struct asked *ret,
                    struct err *err) MUST_CHECK;

#endif
