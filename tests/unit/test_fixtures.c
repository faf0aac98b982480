/* Every fixtures/<platform>/<case>.http is a test of verify, handshake and normalise by being there. */
#include "support/test.h"

#include "base/file.h"
#include "base/now.h"
#include "domain/event.h"
#include "domain/handshake.h"

#include <ctype.h>
#include <stdio.h>

#include <jansson.h>

enum { FILE_BYTES = 1 << 16, HEADERS_MAX = 32, LINES_MAX = 100 };

struct fixture {
    bool is_get;
    struct span target; /* "/publishing/webhooks/x?crc_token=1" */
    struct header headers[HEADERS_MAX];
    size_t nheaders;
    struct span body;
};

/* secrets.yaml */
struct lines {
    struct line {
        struct span name, value;
    } at[LINES_MAX];
    size_t n;
};

/* What the cases of one platform have shown. */
struct seen {
    bool verified, refused;
};

static struct span read_file(const char *path, struct arena *a)
{
    struct err err;
    struct span text;

    if (file_read(path, arena_alloc(a, FILE_BYTES), FILE_BYTES, &text, &err))
        fail_msg("%s", err.text);
    return text;
}

static void read_lines(struct lines *ret, struct arena *a)
{
    struct span text = read_file(SOURCE_ROOT "/fixtures/secrets.yaml", a);

    ret->n = 0;
    while (text.len > 0) {
        struct span line = span_cut(&text, '\n');
        const char *colon = line.len > 0 ? memmem(line.at, line.len, ": ", 2) : NULL;
        if (!colon || line.at[0] == '#')
            continue;
        assert_true(ret->n < LINES_MAX);
        ret->at[ret->n].name = (struct span){line.at, (size_t)(colon - line.at)};
        ret->at[ret->n++].value = span_skip(line, (size_t)(colon - line.at) + 2);
    }
}

/* The values of all lines named `name`, or `name` and more words behind a colon; one a line. Absent: there is none. */
static struct span values_of(const struct lines *lines, const char *name, struct arena *a)
{
    struct span prefix = span_of(arena_print(a, "%s:", name)), values = SPAN_NONE;

    for (size_t i = 0; i < lines->n; i++) {
        const struct line *line = &lines->at[i];
        bool more = span_starts(line->name, prefix) && !memchr(line->name.at, '.', line->name.len);
        if (span_eq(line->name, span_of(name)) || more)
            values = span_of(arena_print(a, "%.*s%.*s\n", (int)values.len, values.at ? values.at : "",
                                         SPAN_ARG(line->value)));
    }
    return values;
}

static void add_source(struct platforms *set, const char *name, const struct lines *lines, struct arena *a)
{
    struct span platform = span_of(name), secrets = values_of(lines, name, a);
    struct span token = values_of(lines, arena_print(a, "%s.verify_token", name), a);
    struct span topic = values_of(lines, arena_print(a, "%s.topic", name), a);
    const struct span source = SPAN("default");
    struct err err;

    if (!secrets.at)
        fail_msg("secrets.yaml has no secret of %s", name);
    if (platforms_add_source(set, platform, source, secrets, &err))
        fail_msg("%s", err.text);
    if (token.at && platforms_set_verify_token(set, platform, source, token, &err))
        fail_msg("%s", err.text);
    if (topic.at) {
        const char *topics[] = {arena_print(a, "%.*s", (int)topic.len - 1, topic.at)};
        if (platforms_set_topics(set, platform, source, topics, 1, &err))
            fail_msg("%s", err.text);
    }
}

static struct platforms *load_platforms(const struct lines *lines, struct arena *a)
{
    struct err err = {.text = ""};
    struct platforms *set = platforms_load(NULL, &err);

    if (!set)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < platforms_count(set); i++)
        add_source(set, platforms_at(set, i)->name.at, lines, a);
    return set;
}

static struct span lowered(struct span s, struct arena *a)
{
    char *text = arena_print(a, "%.*s", SPAN_ARG(s));

    for (char *c = text; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return span_of(text);
}

static struct fixture read_request(const char *path, struct arena *a)
{
    struct span rest = read_file(path, a), line = span_cut(&rest, '\n'), method = span_cut(&line, ' ');
    struct fixture r = {.is_get = span_eq(method, SPAN("GET")), .target = span_cut(&line, ' ')};

    while ((line = span_cut(&rest, '\n')).len > 1) {
        struct span value = {line.at, line.len - 1}, name = span_cut(&value, ':');
        assert_int_equal(line.at[line.len - 1], '\r');
        assert_true(r.nheaders < HEADERS_MAX);
        r.headers[r.nheaders++] = (struct header){lowered(name, a), span_skip(value, 1)};
    }
    r.body = rest.at ? rest : SPAN("");
    return r;
}

static void set_text(json_t *object, const char *name, struct span text)
{
    if (text.at)
        json_object_set_new(object, name, json_stringn(text.at, text.len));
}

static json_t *event_as_json(const struct event *e)
{
    json_t *object = json_object();
    char time[TIME_TEXT_BYTES];

    set_text(object, "post_id", e->post_id);
    set_text(object, "status", e->status);
    json_object_set_new(object, "decisive", json_integer(e->decisive));
    set_text(object, "url", e->url);
    set_text(object, "reason", e->reason);
    if (e->happened_us != TIME_NONE) {
        time_text(e->happened_us, time, sizeof(time));
        set_text(object, "happened_at", span_of(time));
    }
    if (e->extras.at)
        json_object_set_new(object, "extras", json_loadb(e->extras.at, e->extras.len, 0, NULL));
    set_text(object, "parse_error", e->parse_error);
    return object;
}

static json_t *answer_as_json(const struct handshake_answer *answer)
{
    json_t *object = json_object();

    json_object_set_new(object, "status", json_integer(answer->status));
    set_text(object, "type", span_of(answer->content_type));
    if (answer->good)
        set_text(object, "body", answer->content_type ? answer->body : SPAN_NONE);
    return object;
}

static json_t *get_as_json(const struct platform *p, const struct fixture *r, int64_t now_us, struct arena *a)
{
    struct handshake_answer answer;
    struct span query = r->target;

    span_cut(&query, '?');
    handshake_get(p, platform_source(p, SPAN("default")), query, now_us, a, &answer);
    return json_pack("{so}", "handshake", answer_as_json(&answer));
}

/* What the delivery became, in the words of the .events.json. */
static json_t *post_as_json(const struct platform *p, const struct request *request, struct err *err,
                            struct arena *a)
{
    const struct source *source = platform_source(p, SPAN("default"));
    struct verified verified;
    struct handshake_answer answer;
    struct event *events;
    size_t nevents = 0;
    json_t *object = json_object(), *list = json_array();
    bool good = scheme_verify(p, source, request, &verified, err) == OK;

    json_object_set_new(object, "verified", json_boolean(good));
    json_object_set_new(object, "events", list);
    if (good && handshake_post(p, source, verified.secret, request, a, &answer)) {
        json_object_set_new(object, "handshake", answer_as_json(&answer));
        return object;
    }
    if (good)
        events_read(p, SPAN("default"), &verified, request, a, &events, &nevents);
    for (size_t i = 0; i < nevents; i++)
        json_array_append_new(list, event_as_json(&events[i]));
    return object;
}

static void check(const struct platform *p, const char *path, struct span public_url, struct seen *seen,
                  struct arena *a)
{
    struct fixture r = read_request(path, a);
    struct span text = read_file(arena_print(a, "%.*s.events.json", (int)strlen(path) - 5, path), a);
    json_t *want = json_loadb(text.at, text.len, 0, NULL), *got;
    int64_t now_us = json_integer_value(json_object_get(want, "now")) * SECOND_US;
    const char *url = arena_print(a, "%.*s%.*s", (int)public_url.len - 1, public_url.at, SPAN_ARG(r.target));
    struct request request = {r.headers, r.nheaders, r.body, span_of(url), now_us};
    struct err err = {.text = ""};

    if (!want || !json_is_string(json_object_get(want, "why")) || now_us == 0)
        fail_msg("%s: its .events.json needs a why and a now", path);
    json_object_del(want, "why");
    json_object_del(want, "now");
    got = r.is_get ? get_as_json(p, &r, now_us, a) : post_as_json(p, &request, &err, a);
    if (!json_equal(got, want))
        fail_msg("%s: got %s %s", path, json_dumps(got, JSON_INDENT(2)), err.text);
    seen->verified |= json_is_true(json_object_get(got, "verified"));
    seen->refused |= json_is_false(json_object_get(got, "verified"));
    json_decref(want);
    json_decref(got);
}

static size_t check_platform(const struct platform *p, struct span public_url, struct arena *a)
{
    const char *folder = arena_print(a, "%s/fixtures/%s", SOURCE_ROOT, p->name.at), **files;
    struct seen seen = {.verified = false};
    size_t nfiles;
    struct err err;

    if (file_names(folder, ".http", a, &files, &nfiles, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < nfiles; i++)
        check(p, arena_print(a, "%s/%s", folder, files[i]), public_url, &seen, a);
    if (!seen.verified || !seen.refused)
        fail_msg("%s needs a request that is verified and one that is refused", folder);
    return nfiles;
}

static void test_each_request_becomes_what_its_file_says(void **state)
{
    struct arena *a = arena_open(4096);
    struct lines lines;
    struct platforms *set;
    size_t ncases = 0;

    (void)state;
    read_lines(&lines, a);
    set = load_platforms(&lines, a);
    for (size_t i = 0; i < platforms_count(set); i++)
        ncases += check_platform(platforms_at(set, i), values_of(&lines, "public_url", a), a);
    print_message("%zu cases of %zu platforms\n", ncases, platforms_count(set));
    platforms_close(set);
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_request_becomes_what_its_file_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
