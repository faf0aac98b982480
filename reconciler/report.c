#include "report.h"

#include "json.h"

#include "base/log.h"
#include "base/now.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static void count(struct counts *c, struct verdict v, bool written);
static struct tally *tally_of(struct report *r, struct span platform);
static void keep_id(struct report *r, struct id_list *list, const struct id *id);
static json_t *ids_json(const struct id_list *list);
static json_t *platforms_json(const struct report *r);
static json_t *skips_json(const struct counts *c);
static json_t *polls_json(const struct asked *a);
static json_t *reasons_json(const struct counts *c);
static json_t *guard_json(const struct report *r);
static int64_t duration_ms(const struct report *r);
static void print_platform(FILE *to, const struct tally *t);
static void print_count(FILE *to, const char *name, int64_t n, const char *note);

void report_init(struct report *r, const struct id *run_id, int64_t boot_us)
{
    *r = (struct report){.run_id = *run_id, .outcome = "running"};
    progress_begin(&r->progress, boot_us);
}

void report_count(struct report *r, struct span platform, const struct id *id, struct verdict v, bool written)
{
    bool writes = verdict_writes(v), settles = writes && v.action != ACT_RETRY;
    struct tally *tally = tally_of(r, platform);

    r->read++;
    r->held += v.action == ACT_HELD_BY_GUARD;
    r->changed += writes && !written;
    r->timed_out += written && v.reason == REASON_WEBHOOK_TIMEOUT;
    count(&r->all, v, written);
    if (tally)
        count(&tally->counts, v, written);
    if (settles && written && !v.corrects && !v.refreshes)
        keep_id(r, v.action == ACT_SUCCESS ? &r->success_ids : &r->failed_ids, id);
}

static void count(struct counts *c, struct verdict v, bool written)
{
    c->by_reason[v.reason] += written && verdict_writes(v);
    switch (v.action) {
    case ACT_SUCCESS:
    case ACT_FAILED:
        if (!written)
            break;
        if (v.corrects)
            c->corrected++;
        else if (v.refreshes)
            c->refreshed++;
        else if (v.action == ACT_SUCCESS)
            c->success++;
        else
            c->failed++;
        break;
    case ACT_RETRY:
        c->retry += written;
        break;
    case ACT_SKIP_UNCLEAR:
        c->skipped++;
        c->unclear++;
        break;
    case ACT_SKIP_UNASKED:
        c->skipped++;
        c->unasked++;
        break;
    case ACT_SKIP_PAUSED:
        c->skipped++;
        c->paused++;
        break;
    case ACT_NOT_DUE:
        c->not_due++;
        break;
    case ACT_NONE:
    case ACT_HELD_BY_GUARD:
        break;
    }
}

/* Sorted by name. NULL when there are too many: the totals still count. */
static struct tally *tally_of(struct report *r, struct span platform)
{
    size_t at = 0;

    for (; at < r->nplatforms; at++) {
        int order = strncmp(r->platforms[at].platform, platform.at, platform.len);

        if (order == 0)
            order = r->platforms[at].platform[platform.len] != '\0';
        if (order == 0)
            return &r->platforms[at];
        if (order > 0)
            break;
    }
    if (r->nplatforms == REPORT_PLATFORMS_MAX || platform.len >= PLATFORM_NAME_BYTES)
        return NULL;
    memmove(&r->platforms[at + 1], &r->platforms[at], (r->nplatforms - at) * sizeof(struct tally));
    r->nplatforms++;
    r->platforms[at] = (struct tally){.counts = {0}};
    memcpy(r->platforms[at].platform, platform.at, platform.len);
    return &r->platforms[at];
}

static void keep_id(struct report *r, struct id_list *list, const struct id *id)
{
    if (list->n < REPORT_IDS_MAX)
        list->ids[list->n++] = *id;
    else
        r->ids_truncated = true;
}

int64_t report_checked(const struct report *r)
{
    return r->all.success + r->all.failed + r->all.skipped;
}

json_t *report_object(const struct report *r, bool ids)
{
    char run_id[ID_TEXT_BYTES];
    json_t *root = json_pack("{sI sI sI sI}", "total_checked", (json_int_t)report_checked(r),
                             "marked_success", (json_int_t)r->all.success, "marked_failed",
                             (json_int_t)r->all.failed, "skipped", (json_int_t)r->all.skipped);
    json_t *rest;

    id_text(&r->run_id, run_id);
    if (ids) {
        json_object_set_new(root, "success_log_ids", ids_json(&r->success_ids));
        json_object_set_new(root, "failed_log_ids", ids_json(&r->failed_ids));
    }
    rest = json_pack("{ss sI sI sI sI ss sI so so so ss? sb sI sI sI sI so ss?}", "outcome", r->outcome,
                     "marked_retry", (json_int_t)r->all.retry, "corrected", (json_int_t)r->all.corrected,
                     "refreshed", (json_int_t)r->all.refreshed, "not_due", (json_int_t)r->all.not_due,
                     "run_id", run_id, "duration_ms", (json_int_t)duration_ms(r), "by_platform",
                     platforms_json(r), "skipped_because", skips_json(&r->all), "polls",
                     polls_json(&r->asked), "stopped_by", r->stopped_by, "ids_truncated", r->ids_truncated,
                     "timed_out", (json_int_t)r->timed_out, "held_by_guard", (json_int_t)r->held,
                     "changed_meanwhile", (json_int_t)r->changed, "left_out", (json_int_t)r->left_out,
                     "guard", guard_json(r), "message", r->message[0] ? r->message : NULL);
    json_object_update_new(root, rest);
    return root;
}

struct span report_json(const struct report *r, bool ids, struct arena *arena)
{
    return json_line(report_object(r, ids), arena);
}

static json_t *ids_json(const struct id_list *list)
{
    json_t *array = json_array();
    char text[ID_TEXT_BYTES];

    for (size_t i = 0; i < list->n; i++) {
        id_text(&list->ids[i], text);
        json_array_append_new(array, json_string(text));
    }
    return array;
}

static json_t *platforms_json(const struct report *r)
{
    json_t *all = json_object();

    for (size_t i = 0; i < r->nplatforms; i++) {
        const struct counts *c = &r->platforms[i].counts;

        json_object_set_new(all, r->platforms[i].platform,
                            json_pack("{sI sI sI sI sI sI so so}", "marked_success", (json_int_t)c->success,
                                      "marked_failed", (json_int_t)c->failed, "marked_retry",
                                      (json_int_t)c->retry, "skipped", (json_int_t)c->skipped, "corrected",
                                      (json_int_t)c->corrected, "not_due", (json_int_t)c->not_due,
                                      "skipped_because", skips_json(c), "by_reason", reasons_json(c)));
    }
    return all;
}

static json_t *skips_json(const struct counts *c)
{
    return json_pack("{sI sI sI}", "unclear", (json_int_t)c->unclear, "not_asked", (json_int_t)c->unasked,
                     "platform_disabled", (json_int_t)c->paused);
}

static json_t *polls_json(const struct asked *a)
{
    json_t *why = json_object();

    for (int i = MISSING_NONE + 1; i < MISSING_REASONS; i++)
        if (a->could_not[i] > 0)
            json_object_set_new(why, missing_name((enum missing)i),
                                json_integer((json_int_t)a->could_not[i]));
    return json_pack("{sI sI sI so}", "asked", (json_int_t)a->asked, "done", (json_int_t)a->done, "working",
                     (json_int_t)a->working, "could_not_ask", why);
}

static json_t *reasons_json(const struct counts *c)
{
    json_t *all = json_object();

    for (size_t i = REASON_NONE + 1; i < REASONS; i++)
        if (c->by_reason[i] > 0)
            json_object_set_new(all, reason_name((enum reason)i), json_integer((json_int_t)c->by_reason[i]));
    return all;
}

static json_t *guard_json(const struct report *r)
{
    if (r->timeout_limit == 0)
        return json_null();
    return json_pack("{sI sI}", "planned_timeouts", (json_int_t)r->planned_timeouts, "limit",
                     (json_int_t)r->timeout_limit);
}

static int64_t duration_ms(const struct report *r)
{
    return (now_boot_us() - r->progress.began_boot_us) / 1000;
}

void report_print(const struct report *r, bool dry_run, FILE *to)
{
    bool color = isatty(fileno(to)) && !getenv("NO_COLOR");
    char run_id[ID_TEXT_BYTES];

    id_text(&r->run_id, run_id);
    fprintf(to, "%s%s%s in %.1f s, run %s\n", color ? "\033[1m" : "", r->outcome, color ? "\033[0m" : "",
            (double)duration_ms(r) / 1000, run_id);
    if (r->message[0])
        fprintf(to, "%s\n", r->message);
    print_count(to, dry_run ? "would be success" : "marked success", r->all.success, "");
    print_count(to, dry_run ? "would be failed" : "marked failed", r->all.failed, "");
    print_count(to, "  by time-out", r->timed_out, "");
    print_count(to, dry_run ? "would be retried" : "sent back", r->all.retry, "to the publishing workers");
    print_count(to, "skipped", r->all.skipped, "");
    print_count(to, "  unclear", r->all.unclear, "a webhook came and does not say how it ended");
    print_count(to, "  not answered", r->all.unasked, "the platform can be asked, and has not said");
    print_count(to, "  paused", r->all.paused, "by an operator");
    print_count(to, dry_run ? "would be corrected" : "corrected", r->all.corrected,
                "by later or stronger webhooks");
    print_count(to, dry_run ? "would be refreshed" : "refreshed", r->all.refreshed,
                "stronger webhooks that agree");
    print_count(to, "not due", r->all.not_due, "may still wait for a webhook or a retry");
    print_count(to, "held by the guard", r->held, "");
    print_count(to, "left out", r->left_out, "refused by the store: left to the next run");
    for (size_t i = 0; i < r->nplatforms; i++)
        print_platform(to, &r->platforms[i]);
}

static void print_platform(FILE *to, const struct tally *t)
{
    const struct counts *c = &t->counts;

    fprintf(to, "  %-20s %10" PRId64 " success %10" PRId64 " failed %10" PRId64 " skipped\n", t->platform,
            c->success, c->failed, c->skipped);
    for (size_t i = REASON_NONE + 1; i < REASONS; i++)
        if (c->by_reason[i] > 0)
            fprintf(to, "    %-26s %10" PRId64 "\n", reason_name((enum reason)i), c->by_reason[i]);
}

static void print_count(FILE *to, const char *name, int64_t n, const char *note)
{
    fprintf(to, "  %-20s %10" PRId64 "%s%s\n", name, n, *note ? "   " : "", note);
}

void report_progress(struct report *r)
{
    if (!progress_due(&r->progress))
        return;
    if (r->progress.terminal)
        progress_bar(&r->progress, r->read, r->stale);
    else
        log_info("progress", LOG_INT("read", r->read), LOG_INT("marked_success", r->all.success),
                 LOG_INT("marked_failed", r->all.failed), LOG_INT("skipped", r->all.skipped),
                 LOG_INT("rows_per_s", (int64_t)progress_rate(&r->progress, r->read)));
}

void report_progress_end(const struct report *r)
{
    progress_end(&r->progress);
}
