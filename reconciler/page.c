#include "page.h"

#include "base/doc.h"
#include "base/now.h"
#include "domain/moment.h"

#include <inttypes.h>
#include <stdlib.h>

enum { URL_BYTES_MAX = 2048 }; /* of publish_logs.external_url */

/* What publication_settle wants, an array each. */
struct columns {
    struct id *ids, *event_ids;
    struct span *sources, *old_statuses, *statuses, *errors, *urls, *extras, *patches, *events, *receipts;
    int64_t *updated_us, *published_us;
};

static void read_row(struct row *r, const struct pg_rows *rows, size_t at, const struct session *s);
static struct publication read_publication(const struct pg_rows *rows, size_t at, struct arena *arena);
static struct evidence read_rests_on(const struct pg_rows *rows, size_t at, const struct publication *p,
                                     struct arena *arena);
static struct evidence read_receipt(const struct pg_rows *rows, size_t at, struct receipt *ret);
static enum witness witness_of(struct span word);
static struct evidence read_note(const struct pg_rows *rows, size_t at, const struct session *s);
static int64_t time_noted(struct span text, struct arena *arena);
static struct span from_hex(struct span hex, struct arena *arena);
static unsigned number_noted(struct span text);

static enum status refused(const struct row *first, size_t n, struct err *err);
static void put_columns(struct row *const *rows, size_t n, const struct session *s, struct pg_args *ret);
static void columns_init(struct columns *c, size_t n, struct arena *arena);
static void columns_bind(const struct columns *c, size_t n, struct arena *arena, struct pg_args *ret);
static enum pub_state state_after(struct verdict v);
static struct span failure_text(const struct row *r, struct arena *arena);
static struct span url_of(const struct row *r);
static int64_t published_us(const struct row *r, int64_t now_us);
static struct span patch_of(const struct row *r, struct span now, struct arena *arena);
static struct span event_of(const struct row *r, struct arena *arena);
static const char *action_name(struct verdict v);
static struct span quoted(struct span s, struct arena *arena);
static struct span hex_of(struct span bytes, struct arena *arena);
static struct span time_of(int64_t us, struct arena *arena);
static struct span joined(struct arena *arena, const struct span *parts, size_t n);

enum status page_read(struct page *page, struct session *s, enum sql sql, const struct pg_args *args,
                      struct err *err)
{
    size_t n;

    page_release(page);
    if (pg_run(s->pg, sql, args, WAIT_MS, &page->source, err))
        return err->code;
    n = pg_nrows(page->source);
    if (n == 0)
        return OK;
    page->place_us = pg_time(page->source, n - 1, COLUMN_PLACE_AT);
    page->place_key = pg_bytes(page->source, n - 1, COLUMN_PLACE_KEY);
    page->nread = (size_t)pg_int(page->source, n - 1, COLUMN_NREAD);
    if (pg_is_null(page->source, 0, COLUMN_ID))
        return OK;

    page->nrows = n;
    page->rows = arena_zero(s->arena, page->nrows * sizeof(*page->rows));
    for (size_t i = 0; i < page->nrows; i++)
        read_row(&page->rows[i], page->source, i, s);
    return OK;
}

static void read_row(struct row *r, const struct pg_rows *rows, size_t at, const struct session *s)
{
    struct evidence note;

    r->id = pg_uuid(rows, at, COLUMN_ID);
    r->source = pg_bytes(rows, at, COLUMN_SOURCE);
    r->platform = pg_bytes(rows, at, COLUMN_PLATFORM);
    r->status = pg_bytes(rows, at, COLUMN_STATUS);
    r->post = pg_bytes(rows, at, COLUMN_POST);
    r->publication = read_publication(rows, at, s->arena);
    r->strongest = read_receipt(rows, at, &r->receipt);

    note = read_note(rows, at, s);
    if (r->publication.rests != RESTS_EVIDENCE && evidence_compare(&note, &r->strongest) > 0) {
        r->strongest = note;
        r->receipt = (struct receipt){.key = SPAN_NONE};
    }
}

static struct publication read_publication(const struct pg_rows *rows, size_t at, struct arena *arena)
{
    struct publication p = {
        .state = PUB_SCHEDULED, /* a status that we do not know is nothing to touch */
        .updated_us = pg_time(rows, at, COLUMN_UPDATED_AT),
        .next_retry_us = pg_time(rows, at, COLUMN_NEXT_RETRY_AT),
        .leased_until_us = pg_time(rows, at, COLUMN_LEASED_UNTIL),
        .retry_count = (unsigned)pg_int(rows, at, COLUMN_RETRY_COUNT),
        .max_retries = (unsigned)pg_int(rows, at, COLUMN_MAX_RETRIES),
        .auto_retries = number_noted(pg_bytes(rows, at, COLUMN_AUTO_RETRIES)),
        .can_be_asked = pg_int(rows, at, COLUMN_CAN_BE_ASKED) != 0,
    };

    if (pub_state_parse(pg_bytes(rows, at, COLUMN_STATUS), &p.state))
        p.rests = rests_of(p.state, pg_bytes(rows, at, COLUMN_REASON));
    if (p.rests == RESTS_EVIDENCE)
        p.rests_on = read_rests_on(rows, at, &p, arena);
    return p;
}

static struct evidence read_rests_on(const struct pg_rows *rows, size_t at, const struct publication *p,
                                     struct arena *arena)
{
    return (struct evidence){
        .received = true,
        .decisive = p->state == PUB_SUCCESS ? 1 : -1,
        .time_us = time_noted(pg_bytes(rows, at, COLUMN_EVIDENCE_AT), arena),
        .key = from_hex(pg_bytes(rows, at, COLUMN_EVIDENCE_KEY), arena),
    };
}

static struct evidence read_receipt(const struct pg_rows *rows, size_t at, struct receipt *ret)
{
    *ret = (struct receipt){
        .key = pg_bytes(rows, at, COLUMN_RECEIPT_KEY),
        .status = pg_bytes(rows, at, COLUMN_RECEIPT_STATUS),
        .url = pg_bytes(rows, at, COLUMN_RECEIPT_URL),
        .reason = pg_bytes(rows, at, COLUMN_RECEIPT_REASON),
        .extras = pg_bytes(rows, at, COLUMN_RECEIPT_EXTRAS),
        .received_us = pg_time(rows, at, COLUMN_RECEIPT_RECEIVED_AT),
    };
    if (!ret->key.at)
        return (struct evidence){.received = false};
    return (struct evidence){
        .received = true,
        .decisive = (int)pg_int(rows, at, COLUMN_RECEIPT_DECISIVE),
        .time_us = pg_time(rows, at, COLUMN_RECEIPT_TIME),
        .key = ret->key,
        .witness = witness_of(pg_bytes(rows, at, COLUMN_WITNESS)),
    };
}

static enum witness witness_of(struct span word)
{
    if (span_eq(word, SPAN("poll")))
        return WITNESS_POLL;
    return span_eq(word, SPAN("worker")) ? WITNESS_WORKER : WITNESS_WEBHOOK;
}

/* What another tool has noted in the row itself. In a row that we settled by evidence the same keys are our own
 * copy of a receipt, with the time of its coming in place of its platform's time: read_row leaves that out. */
static struct evidence read_note(const struct pg_rows *rows, size_t at, const struct session *s)
{
    struct span status = pg_bytes(rows, at, COLUMN_WEBHOOK_STATUS);
    const struct platform *platform = platforms_find(s->platforms, pg_bytes(rows, at, COLUMN_PLATFORM));

    if (!pg_int(rows, at, COLUMN_WEBHOOK_RECEIVED))
        return (struct evidence){.received = false};
    return (struct evidence){
        .received = true,
        .decisive = platform ? platform_decides(platform, status) : span_eq(status, SPAN("published")),
        .time_us = time_noted(pg_bytes(rows, at, COLUMN_WEBHOOK_TIMESTAMP), s->arena),
    };
}

/* TIME_NONE, the weakest, if it cannot be read. Some tools write UTC without saying so. */
static int64_t time_noted(struct span text, struct arena *arena)
{
    int64_t us;

    if (!text.at)
        return TIME_NONE;
    if (moment_parse(text, &us))
        return us;
    if (moment_parse(span_of(arena_print(arena, "%.*sZ", SPAN_ARG(text))), &us))
        return us;
    return TIME_NONE;
}

/* Stops at what is no hex: a key that somebody has changed is a weaker key, not an error. */
static struct span from_hex(struct span hex, struct arena *arena)
{
    static const char digits[] = "0123456789abcdef";
    char *bytes = arena_alloc(arena, hex.len / 2 + 1);
    size_t n = 0;

    for (; hex.len >= 2 * n + 2; n++) {
        const char *high = memchr(digits, hex.at[2 * n], 16), *low = memchr(digits, hex.at[2 * n + 1], 16);

        if (!high || !low)
            break;
        bytes[n] = (char)((high - digits) << 4 | (low - digits));
    }
    return (struct span){bytes, n};
}

/* Of JSON: what another tool has put there may be anything. */
static unsigned number_noted(struct span text)
{
    unsigned n = 0;

    for (size_t i = 0; i < text.len && text.at[i] >= '0' && text.at[i] <= '9' && n < 1000000; i++)
        n = 10 * n + (unsigned)(text.at[i] - '0');
    return n;
}

void page_decide(struct page *page, const struct session *s, const struct deadlines *deadlines)
{
    int64_t timeouts_left = deadlines->timeouts_left;

    for (size_t i = 0; i < page->nrows; i++) {
        struct row *r = &page->rows[i];
        struct patience patience = patience_with(deadlines, r->platform);
        const struct verdict_rules rules = {
            .evidence_before_us = deadlines->evidence_before_us,
            .timeout_before_us = patience_over(&patience, patience.minutes, s->began_us),
            .give_up_before_us = patience_over(&patience, patience.give_up_minutes, s->began_us),
            .auto_retries = deadlines->auto_retries,
            .no_timeouts = timeouts_left <= 0,
            .paused = patience.paused,
        };

        r->timeout_minutes = patience.minutes;
        r->verdict = verdict_of(&r->publication, &r->strongest, &rules);
        if (r->verdict.reason == REASON_WEBHOOK_TIMEOUT || r->verdict.action == ACT_RETRY)
            timeouts_left--;
    }
}

enum status page_write(struct page *page, struct session *s, struct err *err)
{
    struct row **decided = arena_alloc(s->arena, page->nrows * sizeof(struct row *) + 1);
    struct pg_rows *places;
    struct pg_args args;
    size_t n = 0;

    for (size_t i = 0; i < page->nrows; i++)
        if (verdict_writes(page->rows[i].verdict))
            decided[n++] = &page->rows[i];
    if (n == 0)
        return OK;

    put_columns(decided, n, s, &args);
    if (pg_run(s->pg, SQL_PUBLICATION_SETTLE, &args, WAIT_MS, &places, err))
        return refused(decided[0], n, err);
    for (size_t i = 0; i < pg_nrows(places); i++)
        decided[pg_int(places, i, 0) - 1]->written = true;
    pg_rows_free(places);
    return OK;
}

static enum status refused(const struct row *first, size_t n, struct err *err)
{
    char id[ID_TEXT_BYTES];

    id_text(&first->id, id);
    return err_in(err, "settling %zu publications from %s on", n, id);
}

/* The parameters of publication_settle. */
static void put_columns(struct row *const *rows, size_t n, const struct session *s, struct pg_args *ret)
{
    int64_t now_us = session_now_us(s);
    struct span now = time_of(now_us, s->arena);
    struct columns c;

    columns_init(&c, n, s->arena);
    for (size_t i = 0; i < n; i++) {
        const struct row *r = rows[i];
        bool success = r->verdict.action == ACT_SUCCESS;

        c.ids[i] = r->id;
        c.sources[i] = r->source;
        c.old_statuses[i] = r->status;
        c.updated_us[i] = r->publication.updated_us;
        c.statuses[i] = span_of(pub_state_name(state_after(r->verdict)));
        c.errors[i] = success ? SPAN_NONE : failure_text(r, s->arena);
        c.urls[i] = success ? url_of(r) : SPAN_NONE;
        c.published_us[i] = success ? published_us(r, now_us) : TIME_NONE;
        c.extras[i] = r->receipt.extras;
        c.patches[i] = patch_of(r, now, s->arena);
        c.event_ids[i] = id_make(now_us);
        c.events[i] = event_of(r, s->arena);
        c.receipts[i] = r->receipt.key;
    }
    columns_bind(&c, n, s->arena, ret);
    pg_arg_time(ret, now_us);
    pg_arg_text(ret, span_of(s->options->actor));
    pg_arg_uuid(ret, &s->options->run_id);
}

static enum pub_state state_after(struct verdict v)
{
    if (v.action == ACT_RETRY)
        return PUB_RETRY;
    return v.action == ACT_SUCCESS ? PUB_SUCCESS : PUB_FAILED;
}

static void columns_init(struct columns *c, size_t n, struct arena *arena)
{
    *c = (struct columns){
        .ids = arena_alloc(arena, n * sizeof(struct id)),
        .sources = arena_alloc(arena, n * sizeof(struct span)),
        .old_statuses = arena_alloc(arena, n * sizeof(struct span)),
        .updated_us = arena_alloc(arena, n * sizeof(int64_t)),
        .statuses = arena_alloc(arena, n * sizeof(struct span)),
        .errors = arena_alloc(arena, n * sizeof(struct span)),
        .urls = arena_alloc(arena, n * sizeof(struct span)),
        .published_us = arena_alloc(arena, n * sizeof(int64_t)),
        .extras = arena_alloc(arena, n * sizeof(struct span)),
        .patches = arena_alloc(arena, n * sizeof(struct span)),
        .event_ids = arena_alloc(arena, n * sizeof(struct id)),
        .events = arena_alloc(arena, n * sizeof(struct span)),
        .receipts = arena_alloc(arena, n * sizeof(struct span)),
    };
}

static void columns_bind(const struct columns *c, size_t n, struct arena *arena, struct pg_args *ret)
{
    pg_args_init(ret, arena);
    pg_arg_uuids(ret, c->ids, n);
    pg_arg_texts(ret, c->sources, n);
    pg_arg_texts(ret, c->old_statuses, n);
    pg_arg_times(ret, c->updated_us, n);
    pg_arg_texts(ret, c->statuses, n);
    pg_arg_texts(ret, c->errors, n);
    pg_arg_texts(ret, c->urls, n);
    pg_arg_times(ret, c->published_us, n);
    pg_arg_texts(ret, c->extras, n);
    pg_arg_jsons(ret, c->patches, n);
    pg_arg_uuids(ret, c->event_ids, n);
    pg_arg_jsons(ret, c->events, n);
    pg_arg_bytess(ret, c->receipts, n);
}

static struct span failure_text(const struct row *r, struct arena *arena)
{
    if (r->verdict.reason == REASON_WEBHOOK_TIMEOUT || r->verdict.action == ACT_RETRY)
        return span_of(arena_print(arena, "No webhook received after %u minutes", r->timeout_minutes));
    if (r->receipt.reason.len)
        return r->receipt.reason;
    if (r->receipt.status.len)
        return span_of(arena_print(arena, "The platform reported \"%.*s\"", SPAN_ARG(r->receipt.status)));
    return SPAN("The platform reported a failure");
}

/* One that the table would refuse stays in the receipt. */
static struct span url_of(const struct row *r)
{
    return r->receipt.url.len > 0 && r->receipt.url.len <= URL_BYTES_MAX ? r->receipt.url : SPAN_NONE;
}

/* The platform's time of it, if that is no time to come. */
static int64_t published_us(const struct row *r, int64_t now_us)
{
    return r->strongest.time_us != TIME_NONE && r->strongest.time_us < now_us ? r->strongest.time_us : now_us;
}

/* What extra_metadata gets, over the names that the platform uses for more of it: what the receipt says, of which
 * post, and what the row rests on from now. */
static struct span patch_of(const struct row *r, struct span now, struct arena *arena)
{
    struct span parts[24];
    size_t n = 0;

    if (r->verdict.action == ACT_RETRY)
        return span_of(arena_print(arena,
                                   "{\"auto_retries\":%u,\"auto_retried_at\":\"%.*s\","
                                   "\"reconciliation_reason\":\"%s\"}",
                                   r->publication.auto_retries + 1, SPAN_ARG(now),
                                   reason_name(r->verdict.reason)));
    parts[n++] = SPAN("{");
    if (r->receipt.key.at && r->strongest.witness == WITNESS_WEBHOOK) {
        parts[n++] = SPAN("\"webhook_received\":true,\"webhook_timestamp\":\"");
        parts[n++] = time_of(r->receipt.received_us, arena);
        parts[n++] = SPAN("\",\"webhook_platform\":");
        parts[n++] = quoted(r->platform, arena);
        parts[n++] = SPAN(",\"webhook_post_id\":");
        parts[n++] = quoted(r->post, arena);
        parts[n++] = SPAN(",\"webhook_status\":");
        parts[n++] = quoted(r->receipt.status, arena);
        parts[n++] = SPAN(",");
    }
    parts[n++] = SPAN("\"reconciled\":true,\"reconciled_at\":\"");
    parts[n++] = now;
    parts[n++] = SPAN("\",\"reconciliation_reason\":\"");
    parts[n++] = span_of(reason_name(r->verdict.reason));
    if (r->strongest.received) {
        const struct evidence *rests_on =
            evidence_compare(&r->weighed, &r->strongest) > 0 ? &r->weighed : &r->strongest;
        bool timed = rests_on->time_us != TIME_NONE;

        parts[n++] = timed ? SPAN("\",\"evidence_at\":\"") : SPAN("\",\"evidence_at\":null");
        parts[n++] = timed ? time_of(rests_on->time_us, arena) : SPAN("");
        parts[n++] = timed ? SPAN("\"") : SPAN("");
        parts[n++] = SPAN(",\"evidence_key\":\"");
        parts[n++] = hex_of(rests_on->key, arena);
    }
    parts[n++] = SPAN("\"}");
    return joined(arena, parts, n);
}

static struct span event_of(const struct row *r, struct arena *arena)
{
    bool timeout = r->verdict.reason == REASON_WEBHOOK_TIMEOUT || r->verdict.action == ACT_RETRY;
    const struct span parts[] = {
        SPAN("{\"platform\":"),
        quoted(r->platform, arena),
        SPAN(",\"action\":\""),
        span_of(action_name(r->verdict)),
        SPAN("\",\"reason\":\""),
        span_of(reason_name(r->verdict.reason)),
        SPAN("\",\"external_post_id\":"),
        quoted(r->post, arena),
        timeout ? span_of(arena_print(arena, ",\"timeout_minutes\":%u", r->timeout_minutes)) : SPAN(""),
        r->replayed ? SPAN(",\"replayed\":true}") : SPAN("}"),
    };

    return joined(arena, parts, countof(parts));
}

static const char *action_name(struct verdict v)
{
    if (v.refreshes)
        return "refreshed";
    if (v.action == ACT_RETRY)
        return "marked_retry";
    return v.action == ACT_SUCCESS ? "marked_success" : "marked_failed";
}

static struct span quoted(struct span s, struct arena *arena)
{
    return s.at ? doc_quote(s, arena) : SPAN("null");
}

static struct span hex_of(struct span bytes, struct arena *arena)
{
    static const char digits[] = "0123456789abcdef";
    char *hex = arena_alloc(arena, 2 * bytes.len + 1);

    for (size_t i = 0; i < bytes.len; i++) {
        hex[2 * i] = digits[(uint8_t)bytes.at[i] >> 4];
        hex[2 * i + 1] = digits[(uint8_t)bytes.at[i] & 15];
    }
    return (struct span){hex, 2 * bytes.len};
}

static struct span time_of(int64_t us, struct arena *arena)
{
    char *text = arena_alloc(arena, TIME_TEXT_BYTES);

    time_text(us, text, TIME_TEXT_BYTES);
    return span_of(text);
}

static struct span joined(struct arena *arena, const struct span *parts, size_t n)
{
    size_t len = 0;
    char *text, *end;

    for (size_t i = 0; i < n; i++)
        len += parts[i].len;
    end = text = arena_alloc(arena, len + 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(end, parts[i].at, parts[i].len);
        end += parts[i].len;
    }
    return (struct span){text, len};
}

void page_release(struct page *page)
{
    pg_rows_free(page->source);
    *page = (struct page){.nrows = 0};
}
