#include "base/form.h"

#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cyaml/cyaml.h>
#include <yaml.h>

enum { DEPTH_MAX = 16 };

/* Where a value stands in the file: "payloads[0].post". */
struct mark {
    struct mark *next;
    const char *path;
    size_t line, column; /* of the key, or of a sequence's entry; from 1 */
};

struct form {
    struct arena *arena;
    const char *name;
    const cyaml_schema_value_t *schema;
    void *data;
    struct mark *marks, **last;
    char complaint[200]; /* libcyaml's first line on what is wrong */
    size_t line, column; /* and where it stood: behind the last value it took */
};

/* The walk of the events: one level a mapping or sequence that is open. */
struct walk {
    yaml_parser_t *parser;
    struct form *form;
    size_t depth;
    struct level {
        const char *path;
        bool mapping;
        bool at_key; /* the next scalar is a key */
        const char *child;
        size_t index; /* of the next entry of a sequence */
    } levels[DEPTH_MAX];
};

static enum status survey(struct form *f, struct span text, struct err *err);
static enum status survey_document(struct walk *w, struct err *err);
static enum status take(struct walk *w, const yaml_event_t *event, struct err *err);
static enum status take_key(struct walk *w, const yaml_event_t *event, struct err *err);
static void mark(struct walk *w, const char *path, const yaml_event_t *event);
static enum status fill(struct form *f, struct span text, struct err *err);
static void on_cyaml_log(cyaml_log_t level, void *ctx, const char *format, va_list args) PRINTF_LIKE(3, 0);
static enum status unknown_key(const struct form *f, struct err *err, const struct mark *at, const char *key);
static enum status wrong_at(const struct form *f, struct err *err, const struct mark *at, const char *text);
static const struct mark *mark_of_key(const struct form *f, const char *key);
static const struct mark *mark_before(const struct form *f);
static bool is_before(const struct mark *m, size_t line, size_t column);
static const char *last_name(const char *path);
static const cyaml_schema_field_t *fields_around(const cyaml_schema_value_t *schema, const char *path);

static const cyaml_config_t cyaml_settings = {
    .log_fn = on_cyaml_log, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS};

struct form *form_open(const char *name, struct span text, const struct cyaml_schema_value *schema,
                       struct err *err)
{
    struct arena *arena = arena_open(4096);
    struct form *f = arena_zero(arena, sizeof(*f));

    *f = (struct form){.arena = arena, .schema = schema, .last = &f->marks};
    f->name = arena_copy(arena, span_of(name)).at;
    if (survey(f, text, err) == OK && fill(f, text, err) == OK)
        return f;
    form_close(f);
    return NULL;
}

void form_close(struct form *f)
{
    if (!f)
        return;
    cyaml_free(&cyaml_settings, f->schema, f->data, 0);
    arena_close(f->arena);
}

void *form_data(const struct form *f)
{
    return f->data;
}

bool form_has(const struct form *f, const char *path)
{
    const struct mark *m = f->marks;

    while (m && strcmp(m->path, path) != 0)
        m = m->next;
    return m != NULL;
}

enum status form_wrong(const struct form *f, struct err *err, const char *path, const char *format, ...)
{
    const struct mark *m = f->marks;
    char text[sizeof(err->text)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    while (m && strcmp(m->path, path) != 0)
        m = m->next;
    return m ? wrong_at(f, err, m, text) : err_set(err, INVALID, "%s: %s: %s", f->name, path, text);
}

/* Sees to what libcyaml lets pass (nothing at all, more than one document, a NUL in a scalar) and notes the marks. */
static enum status survey(struct form *f, struct span text, struct err *err)
{
    yaml_parser_t parser;
    struct walk w = {.parser = &parser, .form = f};
    enum status status;

    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.at, text.len);
    status = survey_document(&w, err);
    yaml_parser_delete(&parser);
    return status;
}

static enum status survey_document(struct walk *w, struct err *err)
{
    const char *name = w->form->name;
    enum status status = OK;
    unsigned documents = 0;
    bool more = true;

    while (status == OK && more) {
        yaml_event_t event;
        if (!yaml_parser_parse(w->parser, &event))
            return err_set(err, INVALID, "%s:%zu:%zu: %s", name, w->parser->problem_mark.line + 1,
                           w->parser->problem_mark.column + 1, w->parser->problem);
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        more = event.type != YAML_STREAM_END_EVENT;
        if (documents > 1)
            status = err_set(err, INVALID, "%s:%zu:1: a second document; one file is one document", name,
                             event.start_mark.line + 1);
        else
            status = take(w, &event, err);
        yaml_event_delete(&event);
    }
    if (status == OK && documents == 0)
        return err_set(err, INVALID, "%s: the file is empty", name);
    return status;
}

static enum status take(struct walk *w, const yaml_event_t *event, struct err *err)
{
    struct level *l = w->depth ? &w->levels[w->depth - 1] : NULL;
    bool opens = event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    const char *path = "";

    if (event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT) {
        w->depth--;
        return OK;
    }
    if (event->type == YAML_ALIAS_EVENT)
        return err_set(err, INVALID, "%s:%zu:%zu: an alias; write the value out", w->form->name,
                       event->start_mark.line + 1, event->start_mark.column + 1);
    if (event->type != YAML_SCALAR_EVENT && !opens)
        return OK;
    if (l && l->at_key)
        return take_key(w, event, err);

    if (l && l->mapping) {
        path = l->child;
        l->at_key = true;
    } else if (l) {
        path = arena_print(w->form->arena, "%s[%zu]", l->path, l->index++);
        mark(w, path, event);
    }
    if (event->type == YAML_SCALAR_EVENT && memchr(event->data.scalar.value, 0, event->data.scalar.length))
        return form_wrong(w->form, err, path, "a NUL byte");
    if (opens && w->depth == DEPTH_MAX)
        return form_wrong(w->form, err, path, "nested too deeply");
    if (opens) {
        bool mapping = event->type == YAML_MAPPING_START_EVENT;
        w->levels[w->depth++] = (struct level){.path = path, .mapping = mapping, .at_key = mapping};
    }
    return OK;
}

static enum status take_key(struct walk *w, const yaml_event_t *event, struct err *err)
{
    struct level *l = &w->levels[w->depth - 1];
    const char *key = event->type == YAML_SCALAR_EVENT ? (const char *)event->data.scalar.value : "";

    if (key[0] == '\0' || strpbrk(key, ".[]")) /* these make up our paths */
        return err_set(err, INVALID, "%s:%zu:%zu: a key must be a word", w->form->name,
                       event->start_mark.line + 1, event->start_mark.column + 1);
    l->child = arena_print(w->form->arena, "%s%s%s", l->path, l->path[0] ? "." : "", key);
    l->at_key = false;
    mark(w, l->child, event);
    return OK;
}

static void mark(struct walk *w, const char *path, const yaml_event_t *event)
{
    struct form *f = w->form;
    struct mark *m = arena_zero(f->arena, sizeof(*m));

    *m = (struct mark){
        .path = path, .line = event->start_mark.line + 1, .column = event->start_mark.column + 1};
    *f->last = m;
    f->last = &m->next;
}

static enum status fill(struct form *f, struct span text, struct err *err)
{
    cyaml_config_t settings = cyaml_settings;
    char key[sizeof(f->complaint)];
    cyaml_err_t status;

    settings.log_ctx = f;
    status = cyaml_load_data((const uint8_t *)text.at, text.len, &settings, f->schema, &f->data, NULL);
    if (status == CYAML_OK)
        return OK;
    if (sscanf(f->complaint, "Load: Unexpected key: %199[^\n]", key) == 1)
        return unknown_key(f, err, mark_of_key(f, key), key);
    if (sscanf(f->complaint, "Load: Mapping field already seen: %199[^\n]", key) == 1)
        return wrong_at(f, err, mark_of_key(f, key), "the key is there twice");
    return wrong_at(f, err, mark_before(f),
                    f->complaint[0] ? f->complaint + strlen("Load: ") : cyaml_strerror(status));
}

/* libcyaml says what is wrong in its first line, and then, from the inside out, where it was. */
static void on_cyaml_log(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
    struct form *f = ctx;
    char line[200], *end;
    const char *place;

    (void)level;
    vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\n")] = '\0';
    if (!f->complaint[0])
        memcpy(f->complaint, line, sizeof(line));
    place = strstr(line, "(line: ");
    if (place && f->line == 0) {
        f->line = strtoul(place + strlen("(line: "), &end, 10);
        f->column = strtoul(end + strcspn(end, "0123456789"), NULL, 10);
    }
}

static enum status unknown_key(const struct form *f, struct err *err, const struct mark *at, const char *key)
{
    const cyaml_schema_field_t *fields = fields_around(f->schema, at->path);
    char known[300] = "";

    for (size_t len = 0; fields && fields->key && len < sizeof(known); fields++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len ? ", " : "", fields->key);
    return err_set(err, INVALID, "%s:%zu:%zu: unknown key \"%s\"; known here: %s", f->name, at->line,
                   at->column, key, known);
}

static enum status wrong_at(const struct form *f, struct err *err, const struct mark *at, const char *text)
{
    return err_set(err, INVALID, "%s:%zu:%zu: %s%s%s", f->name, at->line, at->column, at->path,
                   at->path[0] ? ": " : "", text);
}

/* libcyaml complains of a key when it stands on the value before it. */
static const struct mark *mark_of_key(const struct form *f, const char *key)
{
    const struct mark *m = f->marks;

    while (m->next && (is_before(m, f->line, f->column) || strcmp(last_name(m->path), key) != 0))
        m = m->next;
    return m;
}

/* The key or entry whose value libcyaml stands on. */
static const struct mark *mark_before(const struct form *f)
{
    static const struct mark top = {.path = "", .line = 1, .column = 1};
    const struct mark *found = &top;

    for (const struct mark *m = f->marks; m && is_before(m, f->line, f->column + 1); m = m->next)
        found = m;
    return found;
}

static bool is_before(const struct mark *m, size_t line, size_t column)
{
    return m->line < line || (m->line == line && m->column < column);
}

static const char *last_name(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot ? dot + 1 : path;
}

/* The fields of the mapping in which the key at path stands. NULL: the schema knows no such place. */
static const cyaml_schema_field_t *fields_around(const cyaml_schema_value_t *schema, const char *path)
{
    const char *end = last_name(path);

    while (path < end && schema->type == CYAML_MAPPING) {
        const cyaml_schema_field_t *field = schema->mapping.fields;
        size_t len = strcspn(path, ".[");
        while (field->key && (strlen(field->key) != len || memcmp(field->key, path, len) != 0))
            field++;
        if (!field->key)
            return NULL;
        schema = &field->value;
        path += len;
        if (*path == '[' && schema->type == CYAML_SEQUENCE) {
            schema = schema->sequence.entry;
            path = strchr(path, ']') + 1;
        }
        path++;
    }
    return schema->type == CYAML_MAPPING ? schema->mapping.fields : NULL;
}
