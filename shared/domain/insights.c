#include "domain/insights.h"

#include "base/now.h"
#include "domain/extract.h"
#include "domain/shape.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DAY_S = 86400, TEXT_BYTES = INSIGHTS_FIGURES_MAX * (2 * INSIGHTS_FIGURE_BYTES + 8) };

/* Beyond it a double is not exact. */
#define WHOLE_MAX 9007199254740992.0

/* The elements of one figure, while they are gone through. */
struct tally {
    struct extract *x;
    const struct figure *figure;
    double sum;
    int64_t n;
    bool good;
};

static void write_date(int64_t wall_us, char ret[INSIGHTS_DATE_BYTES]);
static enum insights_error by_meaning(enum poll_meaning means);
static enum insights_error by_status(int status);
static bool read_all(const struct insights *in, struct extract *x, struct arena *arena, struct span *ret);
static bool read_figure(const struct figure *f, struct extract *x, char ret[INSIGHTS_FIGURE_BYTES]);
static bool read_one(const struct figure *f, struct extract *x, char ret[INSIGHTS_FIGURE_BYTES]);
static bool add_element(void *ctx, struct place element);
static bool number_of(struct place at, struct arena *arena, struct span *ret_text, double *ret);

struct insights_period insights_period(const struct insights *in, int64_t now_us)
{
    int64_t to_us = now_us - (int64_t)in->lag_days * DAY_S * SECOND_US;
    struct insights_period period;

    write_date(to_us - ((int64_t)in->days - 1) * DAY_S * SECOND_US, period.from);
    write_date(to_us, period.to);
    return period;
}

static void write_date(int64_t wall_us, char ret[INSIGHTS_DATE_BYTES])
{
    time_t seconds = (time_t)(wall_us / SECOND_US);
    struct tm day;

    gmtime_r(&seconds, &day);
    if (strftime(ret, INSIGHTS_DATE_BYTES, "%Y-%m-%d", &day) == 0)
        ret[0] = '\0';
}

bool insights_site_fits(struct span site)
{
    struct span rest = site;

    if (!site.at || site.len == 0 || site.len > INSIGHTS_SITE_BYTES || !memchr(site.at, ':', site.len))
        return false;
    for (size_t i = 0; i < site.len; i++)
        if (site.at[i] <= ' ' || site.at[i] > '~' || site.at[i] == '\\')
            return false;
    while (rest.at) {
        struct span piece = span_cut(&rest, '/');
        if (span_eq(piece, SPAN(".")) || span_eq(piece, SPAN("..")))
            return false;
    }
    return true;
}

enum status insights_request(const struct insights_question *q, struct span token, struct poll_call *ret,
                             struct err *err)
{
    const struct poll_question asks = {
        .poll = &q->insights->asks,
        .account = q->account,
        .site = q->site,
        .from = span_of(q->period->from),
        .to = span_of(q->period->to),
    };

    *ret = (struct poll_call){.method = NULL};
    if (!insights_site_fits(q->site))
        return err_cause(err, INVALID, "config_error", "the site's URL is missing or cannot be sent");
    return poll_request(&asks, token, ret, err);
}

const char *insights_error_name(enum insights_error error)
{
    static const char *const names[] = {
        [INSIGHTS_OK] = NULL,
        [INSIGHTS_AUTH_ERROR] = "auth_error",
        [INSIGHTS_RATE_LIMITED] = "rate_limited",
        [INSIGHTS_CONFIG_ERROR] = "config_error",
        [INSIGHTS_FETCH_ERROR] = "fetch_error",
        [INSIGHTS_INVALID_RETURN] = "invalid_adapter_return",
    };

    return names[error];
}

enum insights_error insights_read(const struct insights *in, int status, struct span content,
                                  struct arena *arena, struct span *ret)
{
    const struct poll_step *step = in->asks.requests;
    const struct poll_rule *rule;
    struct extract x;
    bool good =
        content.len > 0 && content.len <= POLL_ANSWER_BYTES && extract_open(&x, content, arena, NULL) == OK;

    *ret = SPAN_NONE;
    rule = poll_rule_of(step, status, good ? &x : NULL);
    if (rule)
        return by_meaning(rule->means);
    if (status < 200 || status > 299)
        return by_status(status);
    return good && read_all(in, &x, arena, ret) ? INSIGHTS_OK : INSIGHTS_INVALID_RETURN;
}

static enum insights_error by_meaning(enum poll_meaning means)
{
    switch (means) {
    case POLL_MEANS_RATE_LIMITED:
        return INSIGHTS_RATE_LIMITED;
    case POLL_MEANS_AUTH_ERROR:
        return INSIGHTS_AUTH_ERROR;
    case POLL_MEANS_CONFIG_ERROR:
        return INSIGHTS_CONFIG_ERROR;
    case POLL_MEANS_COULD_NOT_ASK:
    case POLL_MEANS_WORKING: /* no rule of insights, nor are the next */
    case POLL_MEANS_NOT_MINE:
    case POLL_MEANS_FAILED:
    case POLL_MEANS_MISSING:
        break;
    }
    return INSIGHTS_FETCH_ERROR;
}

/* What no rule speaks of. A redirect is not followed: it would take the token along. */
static enum insights_error by_status(int status)
{
    if (status == 401 || status == 403)
        return INSIGHTS_AUTH_ERROR;
    if (status == 429)
        return INSIGHTS_RATE_LIMITED;
    if (status == 400 || status == 404)
        return INSIGHTS_CONFIG_ERROR;
    return INSIGHTS_FETCH_ERROR;
}

static bool read_all(const struct insights *in, struct extract *x, struct arena *arena, struct span *ret)
{
    char *text = arena_alloc(arena, TEXT_BYTES);
    size_t len = 0;

    if (in->when && !extract_at(x, in->when).doc)
        return false;
    for (size_t i = 0; i < in->nfigures; i++) {
        const struct figure *f = &in->figures[i];
        char number[INSIGHTS_FIGURE_BYTES];

        if (!read_figure(f, x, number))
            return false;
        len += (size_t)snprintf(text + len, TEXT_BYTES - len, "%c\"%.*s\":%s", i == 0 ? '{' : ',',
                                SPAN_ARG(f->name), number);
    }
    len += (size_t)snprintf(text + len, TEXT_BYTES - len, "}");
    *ret = (struct span){text, len};
    return true;
}

/* A list that is empty has the sum 0; one that is not there is no answer. */
static bool read_figure(const struct figure *f, struct extract *x, char ret[INSIGHTS_FIGURE_BYTES])
{
    struct tally t = {.x = x, .figure = f, .good = true};

    if (f->kind == FIGURE_AT)
        return read_one(f, x, ret);
    if (!extract_has_list(x, f->at))
        return false;
    extract_each(x, f->at, add_element, &t);
    if (f->kind == FIGURE_COUNT)
        snprintf(ret, INSIGHTS_FIGURE_BYTES, "%lld", (long long)t.n);
    else if (fabs(t.sum) < WHOLE_MAX && t.sum == (double)(int64_t)t.sum)
        snprintf(ret, INSIGHTS_FIGURE_BYTES, "%.0f", t.sum);
    else
        snprintf(ret, INSIGHTS_FIGURE_BYTES, "%.17g", t.sum);
    return t.good && isfinite(t.sum);
}

static bool read_one(const struct figure *f, struct extract *x, char ret[INSIGHTS_FIGURE_BYTES])
{
    struct place at = extract_at(x, f->at);
    struct span text = f->usual;
    double number;

    if (shape_is_given(at) ? !number_of(at, x->arena, &text, &number) : !text.at)
        return false;
    snprintf(ret, INSIGHTS_FIGURE_BYTES, "%.*s", SPAN_ARG(text));
    return true;
}

static bool add_element(void *ctx, struct place element)
{
    struct tally *t = ctx;
    struct span text;
    double number = 0;

    (void)element;
    t->n++;
    if (t->figure->kind == FIGURE_SUM)
        t->good = number_of(extract_at(t->x, t->figure->at), t->x->arena, &text, &number);
    t->sum += number;
    return t->good;
}

/* As the platform writes it, but for an exponent: the store writes numbers out, and one of any size is refused there. */
static bool number_of(struct place at, struct arena *arena, struct span *ret_text, double *ret)
{
    char text[INSIGHTS_FIGURE_BYTES];

    if (!at.doc || at.doc->nodes[at.node].type != DOC_NUMBER)
        return false;
    *ret_text = doc_text(at.doc, at.node, arena);
    if (ret_text->len >= sizeof(text))
        return false;
    snprintf(text, sizeof(text), "%.*s", SPAN_ARG(*ret_text));
    errno = 0;
    *ret = strtod(text, NULL); /* the locale is C: nothing here sets another */
    if (strpbrk(text, "eE"))
        *ret_text = span_of(arena_print(arena, "%.17g", *ret));
    return isfinite(*ret) && errno != ERANGE;
}
