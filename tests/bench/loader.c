/*
 * loader: the ceiling of ops/bench ingest. Feeds the gateway's own statement from memory, batch after batch,
 * as fast as its connections take it: no HTTP, no signature, no Redis. Ends early when all is sent.
 *
 *     loader DATABASE_URL FILE RECORD_BYTES BODY_BYTES CONNECTIONS ROWS SECONDS
 *
 * FILE holds requests of equal length as sign.py writes them; keys and fields are read out beforehand. Prints
 * one JSON object: rows stored, seconds, batches, median and 99th percentile of a batch's time.
 */
#include "base/arena.h"
#include "base/now.h"
#include "store/pg.h"

#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 8, ROWS_MAX = 512, KEY_BYTES = 32 };

/* As long as those that the gateway keeps of such a request. */
#define KEPT_HEADERS                                                                                         \
    "user-agent: bench/1\ncontent-type: application/json\nx-hub-signature-256: sha256="                      \
    "0000000000000000000000000000000000000000000000000000000000000000\n"

struct record {
    uint8_t key[KEY_BYTES];
    struct span post, status, url, body;
};

struct feed {
    struct record *records;
    size_t nrecords, next; /* next: the first that was not sent */
    size_t rows;           /* of a batch */
    size_t stored;
    int64_t *batch_us; /* how long each batch took */
    size_t nbatches;
};

/* The parameters of receipt_accept.sql. */
struct columns {
    struct span dedup_key[ROWS_MAX], source[ROWS_MAX], platform[ROWS_MAX], post_id[ROWS_MAX],
        status[ROWS_MAX];
    struct span url[ROWS_MAX], absent[ROWS_MAX], key_id[ROWS_MAX], headers[ROWS_MAX], body[ROWS_MAX];
    struct id delivery_id[ROWS_MAX];
    int16_t decisive[ROWS_MAX];
    int64_t happened_us[ROWS_MAX], received_us[ROWS_MAX];
};

struct lane {
    struct pg *pg;
    struct feed *feed;
    struct arena *arena;    /* the parameters of the batch under way */
    struct columns columns; /* where they are collected */
    int64_t sent_boot_us;
};

static struct span map_file(const char *path);
static void read_records(struct feed *feed, struct span file, size_t record_bytes, size_t body_bytes);
static struct span member(struct span body, const char *name);
static void lane_open(struct lane *lane, const char *url, struct feed *feed);
static void feed_until(struct lane *lanes, size_t nlanes, int64_t end_boot_us);
static void send_batch(struct lane *lane);
static void put_row(struct columns *c, size_t i, const struct record *r);
static void put_columns(struct pg_args *args, const struct columns *c, size_t n);
static void after_batch(void *ctx, const struct pg_rows *rows, const struct err *err);
static void wait_for_any(struct lane *lanes, size_t nlanes);
static void report(struct feed *feed, double seconds);
static double percentile_ms(const struct feed *feed, size_t percent);
static int compare_times(const void *a, const void *b);
static NORETURN void give_up(const char *what, const char *why);

int main(int argc, char **argv)
{
    static struct lane lanes[CONNECTIONS_MAX];
    static struct feed feed;
    size_t nlanes;
    int64_t start;

    if (argc != 8)
        give_up("usage", "loader DATABASE_URL FILE RECORD_BYTES BODY_BYTES CONNECTIONS ROWS SECONDS");
    nlanes = strtoul(argv[5], NULL, 10);
    feed.rows = strtoul(argv[6], NULL, 10);
    if (nlanes < 1 || nlanes > CONNECTIONS_MAX || feed.rows < 1 || feed.rows > ROWS_MAX)
        give_up("arguments", "too many or too few connections or rows");
    if (sodium_init() < 0)
        give_up("libsodium", "does not start");

    read_records(&feed, map_file(argv[2]), strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    for (size_t i = 0; i < nlanes; i++)
        lane_open(&lanes[i], argv[1], &feed);

    start = now_boot_us();
    feed_until(lanes, nlanes, start + (int64_t)(strtod(argv[7], NULL) * (double)SECOND_US));
    report(&feed, (double)(now_boot_us() - start) / (double)SECOND_US);
    return 0;
}

static struct span map_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *at;

    if (fd < 0 || fstat(fd, &st) < 0)
        give_up(path, "cannot be opened");
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED)
        give_up(path, "cannot be mapped");
    return (struct span){at, (size_t)st.st_size};
}

static void read_records(struct feed *feed, struct span file, size_t record_bytes, size_t body_bytes)
{
    if (body_bytes == 0 || record_bytes < body_bytes || file.len < record_bytes)
        give_up("arguments", "the record and body lengths do not fit the file");
    feed->nrecords = file.len / record_bytes;
    feed->records = calloc(feed->nrecords, sizeof(*feed->records));
    feed->batch_us = calloc(feed->nrecords / feed->rows + 1, sizeof(*feed->batch_us));
    if (!feed->records || !feed->batch_us)
        give_up("records", "no memory");

    for (size_t i = 0; i < feed->nrecords; i++) {
        struct record *r = &feed->records[i];

        r->body = (struct span){file.at + (i + 1) * record_bytes - body_bytes, body_bytes};
        r->post = member(r->body, "\"external_post_id\": \"");
        r->status = member(r->body, "\"status\": \"");
        r->url = member(r->body, "\"media_url\": \"");
        crypto_generichash(r->key, KEY_BYTES, (const unsigned char *)r->body.at, r->body.len, NULL, 0);
    }
}

/* The text behind `name` up to the next quote: enough for what sign.py writes. */
static struct span member(struct span body, const char *name)
{
    const char *at = memmem(body.at, body.len, name, strlen(name));
    const char *end;

    if (!at)
        give_up("a record lacks", name);
    at += strlen(name);
    end = memchr(at, '"', (size_t)(body.at + body.len - at));
    if (!end)
        give_up("a record is cut within", name);
    return (struct span){at, (size_t)(end - at)};
}

static void lane_open(struct lane *lane, const char *url, struct feed *feed)
{
    struct pg_config config = {
        .url = url,
        .user = "settle_gateway",
        .application = "settle-bench loader",
        .connect_timeout_s = 5,
        .statement_timeout_ms = 10000,
        .prepare = true,
    };
    struct err err = {0};

    lane->feed = feed;
    lane->arena = arena_open(1 << 20);
    lane->pg = pg_connect(&config, &err);
    if (!lane->pg)
        give_up("Postgres", err.text);
}

static void feed_until(struct lane *lanes, size_t nlanes, int64_t end_boot_us)
{
    size_t busy;

    do {
        busy = 0;
        for (size_t i = 0; i < nlanes; i++) {
            if (pg_waiting(lanes[i].pg) == 0 && now_boot_us() < end_boot_us)
                send_batch(&lanes[i]);
            busy += pg_waiting(lanes[i].pg);
        }
        if (busy > 0)
            wait_for_any(lanes, nlanes);
    } while (busy > 0);
}

/* As gateway/batch.c does it. Nothing when no full batch is left. */
static void send_batch(struct lane *lane)
{
    struct feed *f = lane->feed;
    struct pg_args args;

    if (f->next + f->rows > f->nrecords)
        return;
    for (size_t i = 0; i < f->rows; i++)
        put_row(&lane->columns, i, &f->records[f->next++]);

    arena_reset(lane->arena);
    pg_args_init(&args, lane->arena);
    put_columns(&args, &lane->columns, f->rows);
    lane->sent_boot_us = now_boot_us();
    pg_send(lane->pg, SQL_RECEIPT_ACCEPT, &args, lane->sent_boot_us + 10 * SECOND_US, after_batch, lane);
}

static void put_row(struct columns *c, size_t i, const struct record *r)
{
    int64_t wall_us = now_wall_us();

    c->dedup_key[i] = (struct span){(const char *)r->key, KEY_BYTES};
    c->source[i] = SPAN("default");
    c->platform[i] = SPAN("instagram");
    c->delivery_id[i] = id_make(wall_us);
    c->post_id[i] = r->post;
    c->status[i] = r->status;
    c->decisive[i] = 1;
    c->happened_us[i] = wall_us;
    c->received_us[i] = wall_us;
    c->url[i] = r->url;
    c->absent[i] = SPAN_NONE;
    c->key_id[i] = SPAN("0123456789abcdef");
    c->headers[i] = SPAN(KEPT_HEADERS);
    c->body[i] = r->body;
}

static void put_columns(struct pg_args *args, const struct columns *c, size_t n)
{
    pg_arg_bytess(args, c->dedup_key, n);
    pg_arg_texts(args, c->source, n);
    pg_arg_texts(args, c->platform, n);
    pg_arg_uuids(args, c->delivery_id, n);
    pg_arg_texts(args, c->post_id, n);
    pg_arg_texts(args, c->status, n);
    pg_arg_smalls(args, c->decisive, n);
    pg_arg_times(args, c->happened_us, n);
    pg_arg_times(args, c->received_us, n);
    pg_arg_texts(args, c->url, n);
    pg_arg_texts(args, c->absent, n); /* reason */
    pg_arg_texts(args, c->absent, n); /* extras */
    pg_arg_texts(args, c->absent, n); /* parse_error */
    pg_arg_texts(args, c->key_id, n);
    pg_arg_bytess(args, c->headers, n);
    pg_arg_bytess(args, c->body, n);
}

static void after_batch(void *ctx, const struct pg_rows *rows, const struct err *err)
{
    struct lane *lane = ctx;
    struct feed *f = lane->feed;

    if (err)
        give_up("Postgres refused a batch", err->text);
    f->stored += pg_nrows(rows);
    f->batch_us[f->nbatches++] = now_boot_us() - lane->sent_boot_us;
}

static void wait_for_any(struct lane *lanes, size_t nlanes)
{
    struct pollfd fds[CONNECTIONS_MAX];

    for (size_t i = 0; i < nlanes; i++) {
        bool wants_write = false;

        if (!pg_flush(lanes[i].pg, &wants_write))
            give_up("Postgres", "the connection is lost");
        fds[i].fd = pg_fd(lanes[i].pg);
        fds[i].events = (short)(wants_write ? POLLIN | POLLOUT : POLLIN);
    }
    if (poll(fds, nlanes, 10000) <= 0)
        give_up("Postgres", "no answer within 10 s");
    for (size_t i = 0; i < nlanes; i++)
        if ((fds[i].revents & ~POLLOUT) && !pg_read(lanes[i].pg))
            give_up("Postgres", "the connection is lost");
}

static void report(struct feed *f, double seconds)
{
    if (f->nbatches == 0)
        give_up("seconds", "too short for one batch");
    qsort(f->batch_us, f->nbatches, sizeof(*f->batch_us), compare_times);
    printf("{\"rows\": %zu, \"seconds\": %.3f, \"batches\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           f->stored, seconds, f->nbatches, percentile_ms(f, 50), percentile_ms(f, 99));
}

static double percentile_ms(const struct feed *f, size_t percent)
{
    size_t at = f->nbatches * percent / 100;

    return (double)f->batch_us[at] / 1000;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static NORETURN void give_up(const char *what, const char *why)
{
    fprintf(stderr, "loader: %s: %s\n", what, why);
    _exit(1);
}
