#include "receipt_row.h"

static void add_delivery(struct receipt_rows *rows, const struct receipt_origin *origin);
static bool is_last_delivery(const struct receipt_rows *rows, const struct id *id);

void receipt_rows_clear(struct receipt_rows *rows)
{
    rows->n = rows->deliveries.n = 0;
}

void receipt_rows_add(struct receipt_rows *rows, const struct receipt_origin *origin,
                      const struct event *event, const char *refusal)
{
    static const struct event unread = {.happened_us = TIME_NONE};
    const struct event *e = refusal ? &unread : event;
    size_t i = rows->n++;

    rows->dedup_key[i] = (struct span){(const char *)event->dedup_key, DEDUP_KEY_BYTES};
    rows->source[i] = origin->source;
    rows->platform[i] = origin->platform;
    rows->delivery_id[i] = origin->delivery_id;
    rows->post_id[i] = e->post_id;
    rows->status[i] = e->status;
    rows->decisive[i] = (int16_t)e->decisive;
    rows->happened_us[i] = e->happened_us;
    rows->received_us[i] = origin->received_us;
    rows->url[i] = e->url;
    rows->reason[i] = e->reason;
    rows->extras[i] = e->extras;
    rows->parse_error[i] = refusal ? span_of(refusal) : e->parse_error;
    rows->key_id[i] = span_of(origin->key_id);
    rows->headers[i] = origin->is_shared ? SPAN_NONE : origin->headers;
    rows->body[i] = origin->is_shared ? SPAN_NONE : origin->body;
    if (origin->is_shared && !is_last_delivery(rows, &origin->delivery_id))
        add_delivery(rows, origin);
}

static void add_delivery(struct receipt_rows *rows, const struct receipt_origin *origin)
{
    size_t i = rows->deliveries.n++;

    rows->deliveries.id[i] = origin->delivery_id;
    rows->deliveries.source[i] = origin->source;
    rows->deliveries.platform[i] = origin->platform;
    rows->deliveries.received_us[i] = origin->received_us;
    rows->deliveries.headers[i] = origin->headers;
    rows->deliveries.body[i] = origin->body;
}

static bool is_last_delivery(const struct receipt_rows *rows, const struct id *id)
{
    size_t n = rows->deliveries.n;

    return n > 0 && memcmp(rows->deliveries.id[n - 1].bytes, id->bytes, sizeof(id->bytes)) == 0;
}

/* In the order of receipt_accept.sql and, behind that, of what receipt_accept_shared.sql has besides. */
enum sql receipt_rows_args(const struct receipt_rows *rows, struct pg_args *args)
{
    size_t n = rows->n, ndeliveries = rows->deliveries.n;

    pg_arg_bytess(args, rows->dedup_key, n);
    pg_arg_texts(args, rows->source, n);
    pg_arg_texts(args, rows->platform, n);
    pg_arg_uuids(args, rows->delivery_id, n);
    pg_arg_texts(args, rows->post_id, n);
    pg_arg_texts(args, rows->status, n);
    pg_arg_smalls(args, rows->decisive, n);
    pg_arg_times(args, rows->happened_us, n);
    pg_arg_times(args, rows->received_us, n);
    pg_arg_texts(args, rows->url, n);
    pg_arg_texts(args, rows->reason, n);
    pg_arg_texts(args, rows->extras, n);
    pg_arg_texts(args, rows->parse_error, n);
    pg_arg_texts(args, rows->key_id, n);
    pg_arg_bytess(args, rows->headers, n);
    pg_arg_bytess(args, rows->body, n);
    if (ndeliveries == 0)
        return SQL_RECEIPT_ACCEPT;
    pg_arg_uuids(args, rows->deliveries.id, ndeliveries);
    pg_arg_texts(args, rows->deliveries.source, ndeliveries);
    pg_arg_texts(args, rows->deliveries.platform, ndeliveries);
    pg_arg_times(args, rows->deliveries.received_us, ndeliveries);
    pg_arg_bytess(args, rows->deliveries.headers, ndeliveries);
    pg_arg_bytess(args, rows->deliveries.body, ndeliveries);
    return SQL_RECEIPT_ACCEPT_SHARED;
}
