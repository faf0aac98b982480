/*
 * receipt_row: verified deliveries and their events as the parameters of receipt_accept and receipt_accept_shared, for
 * whoever stores receipts: the batch, and requarantine. Knows what a column holds; nothing of when and why.
 */
#ifndef SETTLE_GATEWAY_RECEIPT_ROW_H
#define SETTLE_GATEWAY_RECEIPT_ROW_H

#include "base/id.h"
#include "domain/event.h"
#include "store/pg.h"

enum { RECEIPT_ROWS_MAX = 1000 }; /* of one statement */

/* What all receipts of a delivery have in common. Borrows. */
struct receipt_origin {
    struct id delivery_id;
    struct span platform, source;
    const char *key_id;
    int64_t received_us;
    struct span headers, body;
    bool is_shared; /* it has several receipts: its bytes stand in a row of their own */
};

/* Borrows all bytes. Large: not for the stack. */
struct receipt_rows {
    size_t n;
    struct span dedup_key[RECEIPT_ROWS_MAX], source[RECEIPT_ROWS_MAX], platform[RECEIPT_ROWS_MAX];
    struct span post_id[RECEIPT_ROWS_MAX], status[RECEIPT_ROWS_MAX], url[RECEIPT_ROWS_MAX],
        reason[RECEIPT_ROWS_MAX];
    struct span extras[RECEIPT_ROWS_MAX], parse_error[RECEIPT_ROWS_MAX], key_id[RECEIPT_ROWS_MAX];
    struct span headers[RECEIPT_ROWS_MAX], body[RECEIPT_ROWS_MAX];
    struct id delivery_id[RECEIPT_ROWS_MAX];
    int16_t decisive[RECEIPT_ROWS_MAX];
    int64_t happened_us[RECEIPT_ROWS_MAX], received_us[RECEIPT_ROWS_MAX];
    struct {
        size_t n;
        struct id id[RECEIPT_ROWS_MAX];
        struct span source[RECEIPT_ROWS_MAX], platform[RECEIPT_ROWS_MAX];
        int64_t received_us[RECEIPT_ROWS_MAX];
        struct span headers[RECEIPT_ROWS_MAX], body[RECEIPT_ROWS_MAX];
    } deliveries;
};

void receipt_rows_clear(struct receipt_rows *rows);

/* Room for it must be there. Receipts of one delivery come one behind the other.
 * refusal: Postgres refuses what was read from the body: stored unparsed, with this word; NULL: as it was read. */
void receipt_rows_add(struct receipt_rows *rows, const struct receipt_origin *origin,
                      const struct event *event, const char *refusal);

/* The statement that takes them, and its parameters. */
enum sql receipt_rows_args(const struct receipt_rows *rows, struct pg_args *args);

#endif
