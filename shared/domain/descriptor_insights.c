#include "domain/descriptor_reader.h"
#include "domain/insights.h"

enum {
    BUDGET_MOST = 100000,
    DAYS = 28,
    DAYS_MOST = 366,
    FIGURE_NAME_BYTES = 64,
};

static enum status read_period(struct reader *r, const struct raw_insights *from, struct insights *in);
static enum status read_question(struct reader *r, const struct raw_insights *from, struct poll_step *s);
static bool has_site(const struct poll_template *t);
static enum status read_figures(struct reader *r, const struct raw_insights *from, struct insights *in);
static enum status read_figure(struct reader *r, const char *path, const struct raw_figure *from,
                               struct figure *ret);
static enum status read_place(struct reader *r, const char *path, const struct raw_figure *from,
                              struct figure *ret);
static bool is_number(struct span text, struct arena *arena);

enum status descriptor_insights(struct reader *r, struct platform *p)
{
    const struct raw_insights *from = &r->raw->insights;
    struct insights *in;

    if (!from->request.url)
        return OK;
    in = p->insights = arena_zero(r->arena, sizeof(*in));
    in->asks.nrequests = 1;
    in->asks.requests = arena_zero(r->arena, sizeof(*in->asks.requests));
    if (read_period(r, from, in) || read_question(r, from, in->asks.requests) || read_figures(r, from, in))
        return INVALID;
    return reader_plain_pointer(r, "insights.when", from->when, &in->when);
}

static enum status read_period(struct reader *r, const struct raw_insights *from, struct insights *in)
{
    uint64_t budget = 0, days = DAYS, lag_days = 0;

    if (reader_number(r, "insights.budget_per_minute", from->budget_per_minute, 1, BUDGET_MOST, &budget) ||
        reader_number(r, "insights.days", from->days, 1, DAYS_MOST, &days) ||
        reader_number(r, "insights.lag_days", from->lag_days, 0, DAYS_MOST, &lag_days))
        return INVALID;
    in->asks.budget_per_minute = (unsigned)budget;
    in->days = (unsigned)days;
    in->lag_days = (unsigned)lag_days;
    return OK;
}

static enum status read_question(struct reader *r, const struct raw_insights *from, struct poll_step *s)
{
    static const char *const words[] = {"could_not_ask", "rate_limited", "auth_error", "config_error"};
    static const enum poll_meaning meanings[] = {POLL_MEANS_COULD_NOT_ASK, POLL_MEANS_RATE_LIMITED,
                                                 POLL_MEANS_AUTH_ERROR, POLL_MEANS_CONFIG_ERROR};
    static const struct rule_words rule_words = {words, meanings, countof(words)};
    const unsigned places = 1U << POLL_SITE | 1U << POLL_FROM | 1U << POLL_TO | 1U << POLL_ACCOUNT;

    if (descriptor_request(r, "insights", &from->request, places, s) ||
        descriptor_rules(r, "insights", &from->request, &rule_words, s))
        return INVALID;
    if (!has_site(&s->url) && !has_site(&s->body))
        return form_wrong(r->form, r->err, "insights.url", "{site}, here or in the body");
    return OK;
}

static bool has_site(const struct poll_template *t)
{
    for (size_t i = 0; i < t->nparts; i++)
        if (t->parts[i].place == POLL_SITE)
            return true;
    return false;
}

static enum status read_figures(struct reader *r, const struct raw_insights *from, struct insights *in)
{
    if (from->nfigures > INSIGHTS_FIGURES_MAX)
        return form_wrong(r->form, r->err, "insights.figures", "at most %d", INSIGHTS_FIGURES_MAX);
    in->nfigures = from->nfigures;
    in->figures = arena_zero(r->arena, in->nfigures * sizeof(*in->figures));
    for (size_t i = 0; i < in->nfigures; i++) {
        const char *path = arena_print(r->arena, "insights.figures[%zu]", i);

        if (read_figure(r, path, &from->figures[i], &in->figures[i]))
            return INVALID;
        for (size_t k = 0; k < i; k++)
            if (span_eq(in->figures[k].name, in->figures[i].name))
                return form_wrong(r->form, r->err, reader_path(r, path, "name"), "%s is there already",
                                  from->figures[i].name);
    }
    return OK;
}

static enum status read_figure(struct reader *r, const char *path, const struct raw_figure *from,
                               struct figure *ret)
{
    ret->name = reader_copy(r, from->name);
    if (ret->name.len == 0 || ret->name.len > FIGURE_NAME_BYTES ||
        strspn(from->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") !=
            ret->name.len)
        return form_wrong(r->form, r->err, reader_path(r, path, "name"),
                          "at most %d letters, digits and \"_\"", FIGURE_NAME_BYTES);
    if (read_place(r, path, from, ret))
        return INVALID;
    ret->usual = reader_copy(r, from->usual);
    if (from->usual && (ret->kind != FIGURE_AT || !is_number(ret->usual, r->arena)))
        return form_wrong(r->form, r->err, reader_path(r, path, "default"), "a number, and only beside at");
    return OK;
}

static enum status read_place(struct reader *r, const char *path, const struct raw_figure *from,
                              struct figure *ret)
{
    const struct {
        const char *name, *text;
        enum figure_kind kind;
    } kinds[] = {
        {"at",    from->at,    FIGURE_AT   },
        {"sum",   from->sum,   FIGURE_SUM  },
        {"count", from->count, FIGURE_COUNT},
    };
    size_t given = 0;

    for (size_t i = 0; i < countof(kinds); i++) {
        const char *place = reader_path(r, path, kinds[i].name);

        given += kinds[i].text != NULL;
        if (!kinds[i].text)
            continue;
        ret->kind = kinds[i].kind;
        if (reader_pointer(r, place, kinds[i].text, NULL, &ret->at))
            return INVALID;
        if ((pointer_stars(ret->at) > 0) != (ret->kind != FIGURE_AT))
            return form_wrong(r->form, r->err, place,
                              ret->kind == FIGURE_AT ? "without \"*\"" : "with \"*\": which elements");
    }
    if (given != 1)
        return form_wrong(r->form, r->err, reader_path(r, path, "name"), "one of at, sum and count");
    return OK;
}

static bool is_number(struct span text, struct arena *arena)
{
    struct doc doc;

    return text.len < INSIGHTS_FIGURE_BYTES && doc_parse(&doc, text, arena, NULL) == OK &&
           doc.nodes[0].type == DOC_NUMBER;
}
