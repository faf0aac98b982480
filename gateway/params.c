#include "params.h"

#include "base/now.h"
#include "base/number.h"
#include "base/utf8.h"
#include "domain/moment.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

enum {
    CURSOR_BYTES_MAX = 400,
    RFC3339_BYTES_MIN =
        20, /* a shorter moment is a bare number: platforms may write so, our clients need not */
};

/* What a reader works with. */
struct reading {
    struct params *ret;
    const struct param *table;
    size_t ntable;
    const struct param_input *input;
    struct arena *arena;
    struct doc body;
    bool no_key;        /* a secret came that nothing can seal */
    bool other_tenant;  /* a tenant was named who is not the caller's */
    uint32_t *nodes;    /* by row of the table: the body's member; 0 if none, or null */
    struct span *texts; /* by row of the table: the query's value, decoded; absent if none */
};

static size_t encode(char c, char ret[3]);
static void bind_list(const struct param_value *v, struct pg_args *args);
static enum status read_body(struct reading *r, struct err *err);
static void read_members(struct reading *r, uint32_t object);
static void read_query(struct reading *r);
static enum status read_row(struct reading *r, size_t row, size_t *path_at, struct err *err);
static void put_member(struct reading *r, const struct param *p, uint32_t node);
static void put_list(struct reading *r, const struct param *p, uint32_t list);
static void put_object(struct reading *r, const struct param *p, uint32_t object, size_t nth,
                       struct param_value *columns);
static void put_text(struct reading *r, const struct param *p, struct span text);
static void put_words(struct reading *r, const struct param *p);
static void check_tenant(struct reading *r, const struct param *p);
static void check_route(struct reading *r, const struct param *p, struct span text);
static struct param_value *put(struct reading *r, const struct param *p);
static void put_secret(struct reading *r, const struct param *p, struct span text);
static void seal(struct reading *r, struct param_value *secret, struct param_value *key_id);
static void put_cursor(struct reading *r, const struct param *p, struct span text);
static void complain(struct reading *r, struct span field, const char *message);
static const char *message_of(const struct param *p, struct arena *arena);

static size_t row_of(const struct reading *r, enum param_from from, struct span name);
static struct span path_text(const struct param *p, struct span piece, struct arena *arena);
static struct span decode(struct span text, bool form, struct arena *arena);
static bool decode_hex(struct span text, struct arena *arena, struct span *ret);
static int hex_digit(char c);
static bool parse(const struct param *p, struct span text, struct arena *arena, struct param_value *ret);
static bool is_amount(struct span s, int64_t whole_max, int64_t decimals_max);
static bool is_word(struct span s);
static bool is_visible(struct span s);
static bool is_one_of(struct span s, const char *words);

enum status params_read(struct params *ret, const struct param *table, size_t ntable,
                        const struct param_input *input, struct arena *arena, struct err *err)
{
    struct reading r = {.ret = ret, .table = table, .ntable = ntable, .input = input, .arena = arena};
    size_t path_at = 0;

    *ret = (struct params){.nvalues = 0};
    r.nodes = arena_zero(arena, (ntable + 1) * sizeof(*r.nodes));
    r.texts = arena_zero(arena, (ntable + 1) * sizeof(*r.texts));
    read_query(&r);
    if (input->body.at && read_body(&r, err))
        return err->code;
    for (size_t i = 0; i < ntable; i++)
        if (read_row(&r, i, &path_at, err))
            return err->code;
    if (r.other_tenant)
        return err_cause(err, INVALID, "other_tenant", "the key is another tenant's");
    if (r.no_key)
        return err_cause(err, BROKEN, "no_seal_key", "there is no key to seal a token with");
    if (ret->nerrors > 0)
        return err_cause(err, INVALID, "invalid_parameter", "%.*s %s", SPAN_ARG(ret->errors[0].field),
                         ret->errors[0].message);
    return OK;
}

void params_bind(const struct params *p, struct pg_args *args)
{
    for (size_t i = 0; i < p->nvalues; i++) {
        const struct param_value *v = &p->values[i];

        switch (v->type) {
        case PARAM_TEXT:
        case PARAM_TENANT:
        case PARAM_WORD:
        case PARAM_CHOICE:
        case PARAM_ACTOR:
        case PARAM_WORDS:
        case PARAM_DATE:
        case PARAM_AMOUNT:
            pg_arg_text(args, v->text);
            break;
        case PARAM_INT:
            if (v->given)
                pg_arg_int(args, v->number);
            else
                pg_arg_text(args, SPAN_NONE); /* null has no type of its own */
            break;
        case PARAM_BOOL:
            pg_arg_bool(args, v->number != 0);
            break;
        case PARAM_UUID:
        case PARAM_NEW_ID:
            pg_arg_uuid(args, v->given ? &v->id : NULL);
            break;
        case PARAM_KEY:
        case PARAM_SECRET:
            pg_arg_bytes(args, v->text);
            break;
        case PARAM_TIME:
            pg_arg_time(args, v->given ? v->number : TIME_NONE);
            break;
        case PARAM_OBJECT:
        case PARAM_WHOLE:
            pg_arg_json(args, v->text);
            break;
        case PARAM_LIST:
            bind_list(v, args);
            break;
        case PARAM_CURSOR: /* was put as its parts */
        case PARAM_COST_DAYS:
        case PARAM_ROUTE:
            abort();
        }
    }
}

/* Times and integers as such, all else as texts. An integer has a default, or must be given. */
static void bind_list(const struct param_value *v, struct pg_args *args)
{
    int64_t *numbers = arena_alloc(args->arena, v->neach * sizeof(*numbers));
    struct span *texts = arena_alloc(args->arena, v->neach * sizeof(*texts));

    for (size_t i = 0; i < v->neach; i++) {
        numbers[i] = v->each[i].given ? v->each[i].number : TIME_NONE;
        texts[i] = v->each[i].text;
    }
    if (v->each[0].type == PARAM_TIME)
        pg_arg_times(args, numbers, v->neach);
    else if (v->each[0].type == PARAM_INT)
        pg_arg_ints(args, numbers, v->neach);
    else
        pg_arg_texts(args, texts, v->neach);
}

bool param_fits(const struct param *p, struct span text)
{
    struct arena *arena = arena_open(256);
    struct param_value value;
    bool fits = parse(p, path_text(p, text, arena), arena, &value);

    arena_close(arena);
    return fits;
}

bool query_holds(struct span query, const char *pair)
{
    while (query.at)
        if (span_eq(span_cut(&query, '&'), span_of(pair)))
            return true;
    return false;
}

struct span query_without(struct span query, const char *name, struct arena *arena)
{
    char *out = arena_alloc(arena, 3 * query.len + 1);
    size_t n = 0;

    while (query.at) {
        struct span piece = span_cut(&query, '&'), value = piece;

        if (piece.len == 0 || span_eq(decode(span_cut(&value, '='), true, arena), span_of(name)))
            continue;
        if (n > 0)
            out[n++] = '&';
        for (size_t i = 0; i < piece.len; i++)
            n += encode(piece.at[i], out + n);
    }
    return (struct span){out, n};
}

/* What already is an escape stays one. */
static size_t encode(char c, char ret[3])
{
    static const char hex[] = "0123456789ABCDEF";

    ret[0] = c;
    if (isalnum((unsigned char)c) || (c != '\0' && strchr("-._~%=+,:@/", c)))
        return 1;
    ret[0] = '%';
    ret[1] = hex[(unsigned char)c >> 4];
    ret[2] = hex[(unsigned char)c & 15];
    return 3;
}

static enum status read_body(struct reading *r, struct err *err)
{
    if (doc_parse(&r->body, r->input->body, r->arena, err))
        return err->code;
    if (r->body.nodes[0].type != DOC_OBJECT)
        return err_cause(err, INVALID, "malformed_json", "the body must be a JSON object");
    read_members(r, 0);
    return OK;
}

/* Finds each member's row; what has none is refused, so that a misspelt name is not taken for its default. */
static void read_members(struct reading *r, uint32_t object)
{
    uint32_t name, value;

    for (name = object + 1; name < r->body.nodes[object].next; name = r->body.nodes[value].next) {
        struct span text = doc_text(&r->body, name, r->arena);
        size_t row = row_of(r, FROM_BODY, text);

        value = name + 1;
        if (row == r->ntable)
            complain(r, text.at ? text : doc_raw(&r->body, name), "is not known here");
        else
            r->nodes[row] = r->body.nodes[value].type == DOC_NULL ? 0 : value;
    }
}

static void read_query(struct reading *r)
{
    struct span rest = r->input->query;

    while (rest.at) {
        struct span value = span_cut(&rest, '&');
        struct span name = decode(span_cut(&value, '='), true, r->arena);
        size_t row = row_of(r, FROM_QUERY, name);

        if (name.len == 0 && !value.at)
            continue; /* "?" and "&&" say nothing */
        if (row == r->ntable)
            complain(r, utf8_printable(name) ? name : SPAN("(query)"), "is not known here");
        else if (r->texts[row].at)
            complain(r, name, "is given twice");
        else
            r->texts[row] = value.at ? decode(value, true, r->arena) : SPAN("");
    }
}

static enum status read_row(struct reading *r, size_t row, size_t *path_at, struct err *err)
{
    const struct param *p = &r->table[row];

    switch (p->from) {
    case FROM_PATH:
        if (!parse(p, path_text(p, r->input->path[(*path_at)++], r->arena), r->arena, put(r, p)))
            return err_cause(err, INVALID, "not_found", "no such %s", p->name);
        check_tenant(r, p);
        break;
    case FROM_SERVER:
        put_text(r, p, SPAN_NONE);
        break;
    case FROM_BODY:
        if (p->type == PARAM_WHOLE)
            put_text(r, p, r->input->body);
        else if (r->nodes[row] && p->type == PARAM_LIST)
            put_list(r, p, r->nodes[row]);
        else if (r->nodes[row])
            put_member(r, p, r->nodes[row]);
        else
            put_text(r, p, SPAN_NONE);
        break;
    case FROM_QUERY:
        put_text(r, p, r->texts[row]);
        break;
    case FROM_HEADER:
        put_text(r, p, r->input->header(r->input->ctx, p->name));
        break;
    }
    return OK;
}

/* JSON has types of its own: "5" is no number. */
static void put_member(struct reading *r, const struct param *p, uint32_t node)
{
    const struct doc_node *nodes = r->body.nodes;
    enum doc_type type = nodes ? nodes[node].type : DOC_NULL;
    struct span text = SPAN_NONE;
    bool right = p->type == PARAM_INT      ? type == DOC_NUMBER
                 : p->type == PARAM_BOOL   ? type == DOC_TRUE || type == DOC_FALSE
                 : p->type == PARAM_AMOUNT ? type == DOC_NUMBER || type == DOC_STRING
                 : p->type == PARAM_OBJECT ? type == DOC_OBJECT
                                           : type == DOC_STRING;

    if (right)
        text = p->type == PARAM_OBJECT ? doc_raw(&r->body, node) : doc_text(&r->body, node, r->arena);
    if (text.at)
        put_text(r, p, text);
    else
        complain(r, span_of(p->name),
                 right ? "holds a character that cannot be stored" : message_of(p, r->arena));
}

static void put_list(struct reading *r, const struct param *p, uint32_t list)
{
    const struct doc_node *nodes = r->body.nodes;
    struct param_value *columns = r->ret->values + r->ret->nvalues;
    bool is_list = nodes && nodes[list].type == DOC_ARRAY;
    size_t n = 0;

    for (uint32_t at = list + 1; is_list && at < nodes[list].next; at = nodes[at].next)
        n++;
    if (!is_list || n < (size_t)p->min || n > (size_t)p->max) {
        complain(r, span_of(p->name), message_of(p, r->arena));
        return;
    }
    for (size_t i = 0; i < p->nof; i++)
        *put(r, p) = (struct param_value){
            .type = p->type, .given = true, .each = arena_zero(r->arena, n * sizeof(*columns)), .neach = n};
    n = 0;
    for (uint32_t at = list + 1; at < nodes[list].next && r->ret->nerrors < PARAM_ERRORS_MAX;
         at = nodes[at].next)
        put_object(r, p, at, n++, columns);
}

/* As a body of its own, so that its members are judged as any others. */
static void put_object(struct reading *r, const struct param *p, uint32_t object, size_t nth,
                       struct param_value *columns)
{
    uint32_t members[PG_ARGS_MAX] = {0};
    struct params one = {.nvalues = 0};
    struct reading inner = *r;

    if (r->body.nodes[object].type != DOC_OBJECT) {
        complain(r, span_of(arena_print(r->arena, "%s[%zu]", p->name, nth)), "must be an object");
        return;
    }
    inner.ret = &one;
    inner.table = p->of;
    inner.ntable = p->nof;
    inner.nodes = members;
    read_members(&inner, object);
    for (size_t i = 0; i < p->nof; i++) {
        if (members[i])
            put_member(&inner, &p->of[i], members[i]);
        else
            put_text(&inner, &p->of[i], SPAN_NONE);
        columns[i].each[nth] = one.values[i];
    }
    for (size_t i = 0; i < one.nerrors; i++) {
        struct span field = one.errors[i].field;
        const char *named = arena_print(r->arena, "%s[%zu].%.*s", p->name, nth, SPAN_ARG(field));

        complain(r, span_of(named), one.errors[i].message);
    }
}

static void put_text(struct reading *r, const struct param *p, struct span text)
{
    if (!text.at && p->standard)
        text = span_of(p->standard);
    if (!text.at && p->type == PARAM_TENANT)
        text = r->input->tenant;
    if (p->type == PARAM_ROUTE)
        check_route(r, p, text);
    else if (p->type == PARAM_CURSOR)
        put_cursor(r, p, text);
    else if (p->type == PARAM_SECRET)
        put_secret(r, p, text);
    else if (p->type == PARAM_NEW_ID)
        *put(r, p) = (struct param_value){.type = p->type, .given = true, .id = id_make(r->input->wall_us)};
    else if (p->type == PARAM_COST_DAYS)
        *put(r, p) = (struct param_value){.type = PARAM_INT, .given = true, .number = r->input->cost_days};
    else if (p->type == PARAM_ACTOR)
        *put(r, p) = (struct param_value){.type = p->type, .given = true, .text = r->input->actor};
    else if (p->type == PARAM_WORDS)
        put_words(r, p);
    else if (text.at && !parse(p, text, r->arena, put(r, p)))
        complain(r, span_of(p->name), message_of(p, r->arena));
    else if (text.at)
        check_tenant(r, p);
    else {
        *put(r, p) = (struct param_value){.type = p->type};
        if (p->required)
            complain(r, span_of(p->name), "must be given");
    }
}

static void put_words(struct reading *r, const struct param *p)
{
    struct span platform = r->ret->values[0].text;
    bool named = platform.at && r->input->platforms;
    const struct platform *known = named ? platforms_find(r->input->platforms, platform) : NULL;

    *put(r, p) =
        (struct param_value){.type = p->type, .given = true, .text = platform_deciding(known, r->arena)};
}

/* Of the value that was put last. */
static void check_tenant(struct reading *r, const struct param *p)
{
    const struct param_value *last = &r->ret->values[r->ret->nvalues - 1];

    if (p->type == PARAM_TENANT && r->input->tenant.at && !span_eq(last->text, r->input->tenant))
        r->other_tenant = true;
}

static void check_route(struct reading *r, const struct param *p, struct span text)
{
    struct param_value value;

    if (text.at && !parse(p, text, r->arena, &value))
        complain(r, span_of(p->name), message_of(p, r->arena));
}

static struct param_value *put(struct reading *r, const struct param *p)
{
    assert(r->ret->nvalues < countof(r->ret->values));
    r->ret->values[r->ret->nvalues].type = p->type;
    return &r->ret->values[r->ret->nvalues++];
}

static void put_secret(struct reading *r, const struct param *p, struct span text)
{
    struct param_value *secret = put(r, p), *key_id = put(r, p);

    *secret = (struct param_value){.type = PARAM_SECRET};
    *key_id = (struct param_value){.type = PARAM_TEXT};
    if (!text.at)
        return;
    if (!parse(p, text, r->arena, secret))
        complain(r, span_of(p->name), message_of(p, r->arena));
    else if (!r->input->keys)
        r->no_key = true;
    else if (r->ret->nerrors == 0)
        seal(r, secret, key_id);
}

static void seal(struct reading *r, struct param_value *secret, struct param_value *key_id)
{
    struct span place[PG_ARGS_MAX];
    size_t n = 0;

    for (const struct param_value *v = r->ret->values; v < secret; v++)
        place[n++] = v->text;
    secret->text = seal_make(r->input->keys, place, n, secret->text, r->arena);
    key_id->given = true;
    key_id->text = arena_copy(r->arena, seal_key_id(r->input->keys));
}

/* A cursor is hex over its parts with dots between them, so that nobody is tempted to make one. The last part
 * may hold dots itself. Without one its parts are null. */
static void put_cursor(struct reading *r, const struct param *p, struct span text)
{
    static const struct {
        const char *word;
        struct param part;
    } kinds[] = {
        {"time", {.type = PARAM_INT, .min = 0, .max = INT64_MAX}        },
        {"id",   {.type = PARAM_UUID}                                   },
        {"key",  {.type = PARAM_KEY}                                    },
        {"text", {.type = PARAM_TEXT, .min = 1, .max = CURSOR_BYTES_MAX}},
    };
    struct span words = span_of(p->words), rest = SPAN_NONE;
    bool right = !text.at || (text.len <= 2 * (size_t)CURSOR_BYTES_MAX && decode_hex(text, r->arena, &rest));

    while (words.at) {
        struct span word = span_cut(&words, ' ');
        struct span part = words.at ? span_cut(&rest, '.') : rest;
        size_t i = 0;
        struct param_value *value;

        while (!span_eq(span_of(kinds[i].word), word))
            i++;
        value = put(r, &kinds[i].part);
        *value = (struct param_value){.type = kinds[i].part.type};
        if (text.at && right)
            right = part.at && parse(&kinds[i].part, part, r->arena, value);
        if (kinds[i].part.type == PARAM_INT)
            value->type = PARAM_TIME; /* whose text is microseconds, here */
    }
    if (!right)
        complain(r, span_of(p->name), "is no cursor of this list");
}

static void complain(struct reading *r, struct span field, const char *message)
{
    if (r->ret->nerrors < PARAM_ERRORS_MAX)
        r->ret->errors[r->ret->nerrors++] = (struct field_error){field, message};
}

static const char *message_of(const struct param *p, struct arena *arena)
{
    switch (p->type) {
    case PARAM_TEXT:
        return arena_print(arena, "must be a text of %lld to %lld bytes without control characters",
                           (long long)p->min, (long long)p->max);
    case PARAM_TENANT:
        return arena_print(
            arena, "must be 1 to %lld bytes without control characters, and without blanks at the ends",
            (long long)p->max);
    case PARAM_WORD:
        return arena_print(arena, "must be %lld to %lld characters of a-z 0-9 . _ -", (long long)p->min,
                           (long long)p->max);
    case PARAM_CHOICE:
    case PARAM_ROUTE:
        return arena_print(arena, "must be one of: %s", p->words);
    case PARAM_INT:
        return arena_print(arena, "must be an integer from %lld to %lld", (long long)p->min,
                           (long long)p->max);
    case PARAM_BOOL:
        return "must be true or false";
    case PARAM_UUID:
        return "must be a UUID";
    case PARAM_KEY:
        return "must be 64 hex digits";
    case PARAM_TIME:
        return "must be a time with its zone, such as 2026-01-15T10:45:00Z";
    case PARAM_DATE:
        return "must be a day since 1970, such as 2026-01-31";
    case PARAM_AMOUNT:
        return arena_print(arena,
                           "must be a decimal such as \"0.25\", of at most %lld digits before the point and "
                           "%lld behind it, without sign and exponent",
                           (long long)p->max, (long long)p->min);
    case PARAM_LIST:
        return arena_print(arena, "must be a list of %lld to %lld objects", (long long)p->min,
                           (long long)p->max);
    case PARAM_SECRET:
        return arena_print(arena, "must be %lld to %lld characters of visible ASCII", (long long)p->min,
                           (long long)p->max);
    case PARAM_OBJECT:
        return "must be an object";
    case PARAM_CURSOR:
    case PARAM_WHOLE:
    case PARAM_NEW_ID:
    case PARAM_ACTOR:
    case PARAM_WORDS:
    case PARAM_COST_DAYS:
        break;
    }
    return "is wrong";
}

static size_t row_of(const struct reading *r, enum param_from from, struct span name)
{
    size_t row = 0;

    while (row < r->ntable && (r->table[row].from != from || r->table[row].type == PARAM_WHOLE || !name.at ||
                               !span_eq(span_of(r->table[row].name), name)))
        row++;
    return row;
}

/* A text may hold what a path cannot show; all other types stand as they are. */
static struct span path_text(const struct param *p, struct span piece, struct arena *arena)
{
    return p->type == PARAM_TEXT || p->type == PARAM_TENANT ? decode(piece, false, arena) : piece;
}

/* Percent, and in a form plus, as curl writes them. A "%" that is no escape stays what it is. */
static struct span decode(struct span text, bool form, struct arena *arena)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.at[i + 2]) : -1;

        if (text.at[i] == '%' && low >= 0) {
            out[n++] = (char)(16 * high + low);
            i += 2;
        } else if (form && text.at[i] == '+') {
            out[n++] = ' ';
        } else {
            out[n++] = text.at[i];
        }
    }
    return (struct span){out, n};
}

static bool decode_hex(struct span text, struct arena *arena, struct span *ret)
{
    char *out = arena_alloc(arena, text.len / 2 + 1);

    for (size_t i = 0; i + 1 < text.len; i += 2) {
        int high = hex_digit(text.at[i]), low = hex_digit(text.at[i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i / 2] = (char)(16 * high + low);
    }
    *ret = (struct span){out, text.len / 2};
    return text.len % 2 == 0 && text.len > 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse(const struct param *p, struct span text, struct arena *arena, struct param_value *ret)
{
    uint64_t number;
    bool sized = text.len >= (size_t)p->min && text.len <= (size_t)p->max;

    *ret = (struct param_value){.type = p->type, .given = true, .text = text};
    switch (p->type) {
    case PARAM_TEXT:
        return sized && utf8_printable(text);
    case PARAM_TENANT:
        return utf8_names_tenant(text, (size_t)p->max);
    case PARAM_WORD:
        return sized && is_word(text);
    case PARAM_SECRET:
        return sized && is_visible(text);
    case PARAM_CHOICE:
    case PARAM_ROUTE:
        return is_one_of(text, p->words);
    case PARAM_INT:
        if (!number_parse(text, (uint64_t)p->min, (uint64_t)p->max, &number))
            return false;
        ret->number = (int64_t)number;
        return true;
    case PARAM_BOOL:
        ret->number = span_eq(text, SPAN("true"));
        return ret->number || span_eq(text, SPAN("false"));
    case PARAM_UUID:
        return id_parse(text, &ret->id);
    case PARAM_KEY:
        return text.len == 64 && decode_hex(text, arena, &ret->text);
    case PARAM_TIME:
        return text.len >= RFC3339_BYTES_MIN && moment_parse(text, &ret->number);
    case PARAM_DATE: /* its midnight tells whether there is such a day */
        return text.len == strlen("2026-01-31") &&
               moment_parse(span_of(arena_print(arena, "%.*sT00:00:00Z", SPAN_ARG(text))), &ret->number) &&
               ret->number >= 0;
    case PARAM_AMOUNT:
        return is_amount(text, p->max, p->min);
    case PARAM_OBJECT:
    case PARAM_WHOLE:
        return true; /* read_body has parsed it */
    case PARAM_CURSOR:
    case PARAM_LIST:
    case PARAM_NEW_ID:
    case PARAM_ACTOR:
    case PARAM_WORDS:
    case PARAM_COST_DAYS:
        break;
    }
    return false;
}

/* Postgres reads it: so nothing but digits and one point between them. */
static bool is_amount(struct span s, int64_t whole_max, int64_t decimals_max)
{
    struct span decimals = s, whole = span_cut(&decimals, '.');

    for (size_t i = 0; i < s.len; i++)
        if ((s.at[i] < '0' || s.at[i] > '9') && s.at + i != whole.at + whole.len)
            return false;
    return whole.len >= 1 && whole.len <= (size_t)whole_max &&
           (!decimals.at || (decimals.len >= 1 && decimals.len <= (size_t)decimals_max));
}

static bool is_word(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789._-", s.at[i]) || s.at[i] == '\0')
            return false;
    return true;
}

static bool is_visible(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < ' ' || s.at[i] > '~')
            return false;
    return true;
}

static bool is_one_of(struct span s, const char *words)
{
    struct span rest = span_of(words);

    while (rest.at)
        if (span_eq(span_cut(&rest, ' '), s))
            return true;
    return false;
}
