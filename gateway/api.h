/*
 * api: the admin process. A request is admitted (auth), proves its key (callers), finds its route (routes), has its values
 * read (params), and waits for a free connection of its lane: keys are looked up on one, statements that read run on some
 * which the server holds to read-only, statements that write on another. One at a time a connection, so that a slow one
 * delays nobody as long as another connection is free. The statement's one row is the answer.
 */
#ifndef SETTLE_GATEWAY_API_H
#define SETTLE_GATEWAY_API_H

#include "role.h" /* admin_run */

#endif
