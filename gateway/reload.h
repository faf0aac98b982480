/*
 * reload: descriptors, sources and secrets read again at HUP, in the parent and in each ingest worker. A set that is
 * broken changes nothing but a log line and a count. A worker reads on a helper thread: its loop waits for no file.
 */
#ifndef SETTLE_GATEWAY_RELOAD_H
#define SETTLE_GATEWAY_RELOAD_H

#include "role.h"

#include <h2o.h>

/* Parent: at once. The fresh set, the caller's to put in the place of s->platforms; NULL: the present one stays. */
struct platforms *reload_read(const struct settings *s);

/* Worker. done gets the fresh set, on the loop; it alone may change self->settings->platforms. */
struct reload;
typedef void reload_done(void *ctx, struct platforms *fresh);
struct reload *reload_open(h2o_loop_t *loop, const struct process *self, reload_done *done, void *ctx);
void reload_close(struct reload *r); /* waits for the thread, and then done is not called; NULL is fine */
void reload_start(void *reload);     /* while one is being read: once more behind it */

#endif
