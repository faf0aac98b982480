/*
 * page: some publications with the strongest word on each: read, decided, written.
 * Decides nothing itself: it says what the columns mean, asks domain/verdict, and puts the answers into columns.
 */
#ifndef SETTLE_RECONCILER_PAGE_H
#define SETTLE_RECONCILER_PAGE_H

#include "deadlines.h"

#include "domain/verdict.h"

struct row {
    /* as read; spans borrow from the page */
    struct id id;
    struct span source, platform, status, post;
    struct publication publication;
    struct evidence strongest;
    struct receipt {
        struct span key, status, url, reason, extras;
        int64_t received_us;
    } receipt; /* the strongest word: a receipt or a report; key absent: neither */
    struct evidence
        weighed;   /* what another job would find the strongest: later it must not weigh more than this row */
    bool replayed; /* decided anew, by rules that may have changed */
    /* as decided */
    struct verdict verdict;
    unsigned timeout_minutes;
    bool written;
};

struct page {
    size_t nrows;
    struct row *rows;
    size_t nread;           /* what its statement has read in its order, whatever became of it */
    int64_t place_us;       /* the last of that: updated_at, or stored_at of a receipt */
    struct span place_key;  /* and its id, or dedup_key */
    struct pg_rows *source; /* owns */
};

/* Runs a statement with the columns below; the rows lie in the session's arena. Frees what the page held before. */
enum status page_read(struct page *page, struct session *s, enum sql sql, const struct pg_args *args,
                      struct err *err) MUST_CHECK;
void page_decide(struct page *page, const struct session *s, const struct deadlines *deadlines);
/* Writes what was decided, and marks the rows that were as they had been read. */
enum status page_write(struct page *page, struct session *s, struct err *err) MUST_CHECK;
void page_release(struct page *page);

/* The columns of publication_walk, receipt_follow, publication_read and publication_replay. */
enum column {
    COLUMN_PLACE_AT,
    COLUMN_PLACE_KEY,
    COLUMN_NREAD,
    COLUMN_ID,
    COLUMN_SOURCE,
    COLUMN_PLATFORM,
    COLUMN_STATUS,
    COLUMN_POST,
    COLUMN_UPDATED_AT,
    COLUMN_NEXT_RETRY_AT,
    COLUMN_LEASED_UNTIL,
    COLUMN_REASON,
    COLUMN_EVIDENCE_AT,
    COLUMN_EVIDENCE_KEY,
    COLUMN_WEBHOOK_RECEIVED,
    COLUMN_WEBHOOK_STATUS,
    COLUMN_WEBHOOK_TIMESTAMP,
    COLUMN_RECEIPT_KEY,
    COLUMN_RECEIPT_STATUS,
    COLUMN_RECEIPT_DECISIVE,
    COLUMN_RECEIPT_TIME,
    COLUMN_RECEIPT_RECEIVED_AT,
    COLUMN_RECEIPT_URL,
    COLUMN_RECEIPT_REASON,
    COLUMN_RECEIPT_EXTRAS,
    COLUMN_RETRY_COUNT,
    COLUMN_MAX_RETRIES,
    COLUMN_AUTO_RETRIES,
    COLUMN_CAN_BE_ASKED,
    COLUMN_WITNESS,
};

#endif
