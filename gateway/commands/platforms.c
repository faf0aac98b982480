/* platforms: what settle knows of each platform, and which senders of it are configured. Never a secret. */
#include "base/file.h"
#include "command.h"
#include "domain/handshake.h"
#include "domain/scheme.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static const char *origin_of(const struct platform *p, const char *folder, struct arena *arena);
static void print_json(const struct settings *settings, struct arena *arena);
static json_t *platform_json(const struct platform *p, const char *origin);
static void add_webhooks(json_t *j, const struct platform *p);
static json_t *signature_json(const struct scheme *s);
static json_t *algorithms_json(const struct scheme *s);
static json_t *formats_json(unsigned formats);
static json_t *handshakes_json(const struct platform *p);
static json_t *poll_json(const struct poll *poll);
static json_t *insights_json(const struct insights *in);
static json_t *words_json(const struct span *words, size_t n);
static json_t *sources_json(const struct platform *p);
static json_t *source_json(const struct source *s);
static json_t *text_json(struct span text);
static void print_table(const struct settings *settings, struct arena *arena);
static void print_platform(const struct platform *p, const char *origin, struct arena *arena);
static const char *joined(json_t *words, struct arena *arena);
static void print_source(const struct source *s);

const struct command platforms_command = {"platforms", "list what is known of each platform, and its sources",
                                          run};

static const struct argp_option option_table[] = {
    {"json", OPTION_JSON, NULL, 0, "Print a JSON array, one object a platform", 1},
    {NULL,   0,           NULL, 0, NULL,                                        0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = common_children,
    .doc = "Lists every platform: its signature, handshakes, bodies and answers, whether its API is asked "
           "what became "
           "of posts, where its descriptor comes from, and the sources configured, with how many secrets and "
           "their key "
           "ids. Secrets themselves are never shown.",
};

#define ROW "%-18s %-24s %-34s %-11s %-11s %-5s %s\n"

static const char builtin[] = "built-in";

/* Bits of enum body_format. */
static const struct {
    enum body_format format;
    const char *name;
} formats[] = {
    {BODY_JSON, "json"},
    {BODY_FORM, "form"},
    {BODY_ATOM, "atom"},
};

static int run(int argc, char **argv)
{
    struct common_options o = {.json = false};
    struct settings settings;
    struct arena *arena;
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o, NULL);
    if (code)
        return code;
    arena = arena_open(4096);
    if (o.json)
        print_json(&settings, arena);
    else
        print_table(&settings, arena);
    arena_close(arena);
    settings_close(&settings);
    return EX_OK;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    return command_parse(key, value, state->input, state);
}

/* The file of an operator, or "built-in". The folder was readable a moment ago. */
static const char *origin_of(const struct platform *p, const char *folder, struct arena *arena)
{
    const char **names;
    struct err err;
    size_t n;

    if (!folder || file_names(folder, ".yaml", arena, &names, &n, &err))
        return builtin;
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == p->name.len + strlen(".yaml") && span_starts(span_of(names[i]), p->name))
            return arena_print(arena, "%s/%s", folder, names[i]);
    return builtin;
}

static void print_json(const struct settings *settings, struct arena *arena)
{
    json_t *all = json_array();

    for (size_t i = 0; i < platforms_count_all(settings->platforms); i++) {
        const struct platform *p = platforms_at_all(settings->platforms, i);
        json_array_append_new(all, platform_json(p, origin_of(p, settings->config->platforms.folder, arena)));
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static json_t *platform_json(const struct platform *p, const char *origin)
{
    json_t *j = json_pack("{so so* so* ss}", "name", text_json(p->name), "title", text_json(p->title),
                          "about", text_json(p->about), "from", origin);

    if (p->sends_webhooks)
        add_webhooks(j, p);
    if (p->poll)
        json_object_set_new(j, "poll", poll_json(p->poll));
    if (p->insights)
        json_object_set_new(j, "insights", insights_json(p->insights));
    json_object_set_new(j, "sources", sources_json(p));
    return j;
}

static void add_webhooks(json_t *j, const struct platform *p)
{
    json_object_set_new(j, "signature", signature_json(&p->scheme));
    json_object_set_new(j, "body", formats_json(p->formats));
    json_object_set_new(j, "handshakes", handshakes_json(p));
    json_object_set_new(
        j, "answers",
        json_pack("{si ss}", "stored", p->stored_status, "forged", p->drops_forged ? "drop" : "refuse"));
    json_object_set_new(j, "success", words_json(p->success, p->nsuccess));
    json_object_set_new(j, "failure", words_json(p->failure, p->nfailure));
    if (p->max_body_bytes > 0)
        json_object_set_new(j, "max_body_bytes", json_integer((json_int_t)p->max_body_bytes));
    if (p->timeout_minutes > 0)
        json_object_set_new(j, "timeout_minutes", json_integer(p->timeout_minutes));
    if (p->hub.at)
        json_object_set_new(j, "subscribe",
                            json_pack("{so so sI}", "hub", text_json(p->hub), "topic",
                                      text_json(p->topic_url), "lease_s", (json_int_t)p->lease_s));
}

static json_t *signature_json(const struct scheme *s)
{
    json_t *j = json_pack("{so so so* so*}", "algorithms", algorithms_json(s), "header", text_json(s->header),
                          "time_header", text_json(s->time_header), "id_header", text_json(s->id_header));

    if (s->past_s > 0 || s->future_s > 0) {
        json_object_set_new(j, "tolerance_s", json_integer(s->past_s));
        json_object_set_new(j, "future_tolerance_s", json_integer(s->future_s));
    }
    return j;
}

/* Each once: kinds of a header may differ in their prefix alone. */
static json_t *algorithms_json(const struct scheme *s)
{
    json_t *j = json_array();

    for (size_t i = 0; i < s->nproofs; i++) {
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= s->proofs[k].algorithm == s->proofs[i].algorithm;
        if (!again)
            json_array_append_new(j, json_string(scheme_algorithm_name(s->proofs[i].algorithm)));
    }
    return j;
}

static json_t *formats_json(unsigned bits)
{
    json_t *j = json_array();

    for (size_t i = 0; i < countof(formats); i++)
        if (bits & formats[i].format)
            json_array_append_new(j, json_string(formats[i].name));
    return j;
}

/* "get echo token", "post json hmac": how it asks, what it hears, and by what it is known. Each once. */
static json_t *handshakes_json(const struct platform *p)
{
    static const char *const answers[] = {
        [HANDSHAKE_ECHO] = "echo", [HANDSHAKE_JSON] = "json", [HANDSHAKE_STATUS] = "status"};
    json_t *j = json_array();

    for (size_t i = 0; i < p->nhandshakes; i++) {
        const struct handshake *h = &p->handshakes[i];
        bool macs = h->json.at && memmem(h->json.at, h->json.len, "{hmac}", strlen("{hmac}"));
        char text[64];

        snprintf(text, sizeof(text), "%s %s%s%s", h->is_post ? "post" : "get", answers[h->answer],
                 macs ? " hmac" : "",
                 h->verify_token.at              ? " token"
                 : h->topic.at || h->no_topic.at ? " topic"
                                                 : "");
        if (i == 0 || strcmp(json_string_value(json_array_get(j, json_array_size(j) - 1)), text) != 0)
            json_array_append_new(j, json_string(text));
    }
    return j;
}

/* Where its API is asked what became of posts: each request's URL up to what is put in. */
static json_t *poll_json(const struct poll *poll)
{
    json_t *urls = json_array();

    for (size_t i = 0; i < poll->nrequests; i++)
        json_array_append_new(urls, text_json(poll->requests[i].url.parts[0].literal));
    return json_pack("{so sI sI}", "urls", urls, "budget_per_minute", (json_int_t)poll->budget_per_minute,
                     "give_up_minutes", (json_int_t)poll->give_up_minutes);
}

static json_t *insights_json(const struct insights *in)
{
    json_t *names = json_array();

    for (size_t i = 0; i < in->nfigures; i++)
        json_array_append_new(names, text_json(in->figures[i].name));
    return json_pack("{so so sI}", "url", text_json(in->asks.requests[0].url.parts[0].literal), "figures",
                     names, "budget_per_minute", (json_int_t)in->asks.budget_per_minute);
}

static json_t *words_json(const struct span *words, size_t n)
{
    json_t *j = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(j, text_json(words[i]));
    return j;
}

static json_t *sources_json(const struct platform *p)
{
    json_t *j = json_array();

    for (size_t i = 0; i < p->nsources; i++)
        json_array_append_new(j, source_json(&p->sources[i]));
    return j;
}

static json_t *source_json(const struct source *s)
{
    json_t *ids = json_array();

    for (size_t i = 0; i < s->nsecrets; i++)
        json_array_append_new(ids, json_string(s->secrets[i].key_id));
    return json_pack("{so sI so sb so}", "name", text_json(s->name), "secrets", (json_int_t)s->nsecrets,
                     "key_ids", ids, "verify_token", (int)(s->verify_token.at != NULL), "topics",
                     words_json(s->topics, s->ntopics));
}

/* NULL, which json_pack leaves out, of an absent one. */
static json_t *text_json(struct span text)
{
    return text.at ? json_stringn(text.at, text.len) : NULL;
}

/* One line a platform, and under it one a source. */
static void print_table(const struct settings *settings, struct arena *arena)
{
    printf(ROW, "PLATFORM", "SIGNATURE", "HEADER", "BODY", "ANSWERS", "POLL", "HANDSHAKES");
    for (size_t i = 0; i < platforms_count_all(settings->platforms); i++) {
        const struct platform *p = platforms_at_all(settings->platforms, i);
        print_platform(p, origin_of(p, settings->config->platforms.folder, arena), arena);
    }
}

static void print_platform(const struct platform *p, const char *origin, struct arena *arena)
{
    if (p->sends_webhooks)
        printf(ROW, p->name.at, joined(algorithms_json(&p->scheme), arena), p->scheme.header.at,
               joined(formats_json(p->formats), arena),
               arena_print(arena, "%d%s", p->stored_status, p->drops_forged ? ", drops" : ""),
               p->poll ? "yes" : "-", joined(handshakes_json(p), arena));
    else
        printf(ROW, p->name.at, "-", "-", "-", "-", "-", "sends no webhooks, has insights");
    if (strcmp(origin, builtin) != 0)
        printf("    descriptor %s\n", origin);
    for (size_t i = 0; i < p->nsources; i++)
        print_source(&p->sources[i]);
}

static const char *joined(json_t *words, struct arena *arena)
{
    const char *text = "-";
    json_t *word;
    size_t i;

    json_array_foreach(words, i, word)
        text = i ? arena_print(arena, "%s, %s", text, json_string_value(word))
                 : arena_print(arena, "%s", json_string_value(word));
    json_decref(words);
    return text;
}

static void print_source(const struct source *s)
{
    printf("    source %.*s: %zu secret%s, key id", SPAN_ARG(s->name), s->nsecrets,
           s->nsecrets == 1 ? "" : "s");
    for (size_t i = 0; i < s->nsecrets; i++)
        printf(" %s", s->secrets[i].key_id);
    printf("; verify token: %s", s->verify_token.at ? "yes" : "no");
    for (size_t i = 0; i < s->ntopics; i++)
        printf("%s%.*s", i ? ", " : "; topics: ", SPAN_ARG(s->topics[i]));
    putchar('\n');
}
