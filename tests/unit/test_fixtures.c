/* Every fixtures/<platform>/<case>.http is a test of verify and normalise by being there. */
#include "support/test.h"

#include "base/file.h"
#include "base/now.h"
#include "domain/event.h"

#include <ctype.h>
#include <stdio.h>

#include <jansson.h>

enum { FILE_BYTES = 1 << 16, HEADERS_MAX = 32 };

struct request {
    struct header headers[HEADERS_MAX];
    size_t nheaders;
    struct span body;
};

static struct span read_file(const char *path, struct arena *a)
{
    struct err err;
    struct span text;

    if (file_read(path, arena_alloc(a, FILE_BYTES), FILE_BYTES, &text, &err))
        fail_msg("%s", err.text);
    return text;
}

static struct platforms *load_platforms(struct arena *a)
{
    struct platforms *set = platforms_load(NULL, NULL);
    struct span text = read_file(SOURCE_ROOT "/fixtures/secrets.yaml", a);
    struct err err;

    while (text.len > 0) {
        struct span secret = span_cut(&text, '\n'), platform = span_cut(&secret, ':');
        if (platform.len == 0 || platform.at[0] == '#')
            continue;
        if (platforms_add_source(set, platform, SPAN("default"), span_skip(secret, 1), &err))
            fail_msg("%s", err.text);
    }
    return set;
}

static struct span lowered(struct span s, struct arena *a)
{
    char *text = arena_print(a, "%.*s", SPAN_ARG(s));

    for (char *c = text; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return span_of(text);
}

static struct request read_request(const char *path, struct arena *a)
{
    struct span rest = read_file(path, a);
    struct request r = {.nheaders = 0};
    struct span line = span_cut(&rest, '\n'); /* the request line */

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

static void check(const struct platform *p, const char *folder, const char *file, struct arena *a)
{
    const char *path = arena_print(a, "%s/%s", folder, file);
    struct request r = read_request(path, a);
    struct span text = read_file(arena_print(a, "%.*s.events.json", (int)strlen(path) - 5, path), a);
    json_t *want = json_loadb(text.at, text.len, 0, NULL), *got = json_array();
    struct verified verified;
    struct event *events;
    struct err err = {.text = ""};
    size_t nevents = 0;
    bool good;

    assert_non_null(want);
    good = scheme_verify(p, platform_source(p, SPAN("default")), r.headers, r.nheaders, r.body,
                         json_integer_value(json_object_get(want, "now")) * SECOND_US, &verified, &err) == OK;
    if (good != json_is_true(json_object_get(want, "verified")))
        fail_msg("%s: %s", path, good ? "verified, but must not" : err.text);
    if (good)
        events_read(p, SPAN("default"), &verified, r.body, a, &events, &nevents);
    for (size_t i = 0; i < nevents; i++)
        json_array_append_new(got, event_as_json(&events[i]));
    if (!json_equal(got, json_object_get(want, "events")))
        fail_msg("%s: got %s", path, json_dumps(got, JSON_INDENT(2)));
    json_decref(want);
    json_decref(got);
}

static void test_each_request_becomes_what_its_file_says(void **state)
{
    struct arena *a = arena_open(4096);
    struct platforms *set = load_platforms(a);
    size_t ncases = 0;

    (void)state;
    for (size_t i = 0; i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        const char *folder = arena_print(a, "%s/fixtures/%s", SOURCE_ROOT, p->name.at), **files;
        size_t nfiles;
        struct err err;
        if (file_names(folder, ".http", a, &files, &nfiles, &err))
            fail_msg("%s", err.text);
        for (size_t k = 0; k < nfiles; k++)
            check(p, folder, files[k], a);
        ncases += nfiles;
    }
    print_message("%zu cases\n", ncases);
    assert_true(ncases >= 30);
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
