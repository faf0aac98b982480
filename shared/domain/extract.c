#include "domain/extract.h"

enum { STEPS_MAX = 16, REREAD_ROOMS = 4 };

struct step {
    bool star;
    bool reread;      /* the value is JSON in a string */
    size_t index;     /* if the value is an array; SIZE_MAX: the name is no index */
    struct span name; /* unescaped */
};

struct pointer {
    struct span text;
    size_t nsteps, nstars;
    size_t behind_star[STARS_MAX]; /* the step that follows each "*" */
    struct step steps[STEPS_MAX];
};

/* JSON that was found in a string: read once, whatever the number of pointers that lead through it. */
struct reread {
    struct reread *next;
    struct place string;
    struct doc doc;
    bool good;
};

static enum status add_step(struct pointer *p, struct span token, struct arena *arena, struct err *err);
static bool unescape(struct span token, struct arena *arena, struct span *ret);
static size_t index_of(struct span name);
static bool choose(struct extract *x, const struct pointer *lead, struct place element, size_t star,
                   extract_choice *on_choice, void *ctx);
static struct place walk(struct extract *x, struct place at, const struct step *steps, size_t nsteps);
static struct place reread(struct extract *x, struct place string);
static void more_rooms(struct extract *x);
static struct reread **room_of(const struct extract *x, struct place string);

static const struct place nowhere = {NULL, 0};

enum status pointer_compile(struct span text, struct arena *arena, struct pointer **ret, struct err *err)
{
    struct pointer *p = arena_zero(arena, sizeof(*p));
    struct span rest = text;

    p->text = text;
    if (text.len > 0 && text.at[0] != '/')
        return err_set(err, INVALID, "a pointer starts with \"/\", such as \"/data/id\"");
    if (text.len > 0)
        span_cut(&rest, '/');
    while (text.len > 0 && rest.at)
        if (add_step(p, span_cut(&rest, '/'), arena, err))
            return INVALID;
    *ret = p;
    return OK;
}

size_t pointer_stars(const struct pointer *p)
{
    return p ? p->nstars : 0;
}

bool pointer_follows(const struct pointer *p, const struct pointer *lead)
{
    size_t same = p->nstars ? p->behind_star[p->nstars - 1] : 0;

    if (p->nstars > lead->nstars)
        return false;
    for (size_t i = 0; i < same; i++) {
        const struct step *a = &p->steps[i], *b = &lead->steps[i];
        if (a->star != b->star || a->reread != b->reread || !span_eq(a->name, b->name))
            return false;
    }
    return true;
}

enum status extract_open(struct extract *x, struct span body, struct arena *arena, struct err *err)
{
    *x = (struct extract){.arena = arena};
    return doc_parse(&x->body, body, arena, err);
}

struct place extract_at(struct extract *x, const struct pointer *p)
{
    struct place from = {&x->body, 0};
    size_t done = 0;

    if (!p)
        return nowhere;
    if (p->nstars > 0) {
        from = x->chosen[p->nstars - 1];
        done = p->behind_star[p->nstars - 1];
    }
    return walk(x, from, p->steps + done, p->nsteps - done);
}

bool extract_has_list(struct extract *x, const struct pointer *lead)
{
    struct place at = {&x->body, 0};

    if (lead->nstars == 0)
        return false;
    at = walk(x, at, lead->steps, lead->behind_star[0] - 1);
    return at.doc && at.doc->nodes[at.node].type == DOC_ARRAY;
}

void extract_each(struct extract *x, const struct pointer *lead, extract_choice *on_choice, void *ctx)
{
    const struct place whole = {&x->body, 0};

    if (lead)
        choose(x, lead, whole, 0, on_choice, ctx);
    else
        on_choice(ctx, whole);
}

static enum status add_step(struct pointer *p, struct span token, struct arena *arena, struct err *err)
{
    struct step *s = &p->steps[p->nsteps];

    if (p->nsteps == STEPS_MAX)
        return err_set(err, INVALID, "a pointer has at most %d steps", STEPS_MAX);
    p->nsteps++;
    if (token.len > 0 && token.at[token.len - 1] == '#') {
        s->reread = true;
        token.len--;
    }
    if (!unescape(token, arena, &s->name))
        return err_set(err, INVALID, "in a pointer \"~\" is written \"~0\" and \"/\" is written \"~1\"");
    s->index = index_of(s->name);
    s->star = span_eq(token, SPAN("*"));
    if (!s->star)
        return OK;
    if (p->nstars == STARS_MAX)
        return err_set(err, INVALID, "a pointer has at most %d \"*\"", STARS_MAX);
    p->behind_star[p->nstars++] = p->nsteps;
    return OK;
}

static bool unescape(struct span token, struct arena *arena, struct span *ret)
{
    char *name = arena_alloc(arena, token.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < token.len; i++) {
        name[len] = token.at[i];
        if (token.at[i] == '~') {
            i++;
            if (i == token.len || (token.at[i] != '0' && token.at[i] != '1'))
                return false;
            name[len] = token.at[i] == '0' ? '~' : '/';
        }
        len++;
    }
    *ret = (struct span){name, len};
    return true;
}

/* RFC 6901, 4: digits without leading zeros. */
static size_t index_of(struct span name)
{
    size_t index = 0;

    if (name.len == 0 || name.len > 6 || (name.at[0] == '0' && name.len > 1))
        return SIZE_MAX;
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] < '0' || name.at[i] > '9')
            return SIZE_MAX;
        index = index * 10 + (size_t)(name.at[i] - '0');
    }
    return index;
}

/* One level a "*". False: on_choice wants no more. */
/* NOLINTNEXTLINE(misc-no-recursion): STARS_MAX deep at most */
static bool choose(struct extract *x, const struct pointer *lead, struct place element, size_t star,
                   extract_choice *on_choice, void *ctx)
{
    size_t from = star ? lead->behind_star[star - 1] : 0;
    struct place at = star ? x->chosen[star - 1] : element;
    const struct doc_node *array;

    if (star == lead->nstars || star == STARS_MAX) /* the latter is for compilers, which cannot know */
        return on_choice(ctx, element);
    at = walk(x, at, lead->steps + from, lead->behind_star[star] - 1 - from);
    if (!at.doc || at.doc->nodes[at.node].type != DOC_ARRAY)
        return true;

    array = &at.doc->nodes[at.node];
    for (uint32_t i = at.node + 1; i < array->next; i = at.doc->nodes[i].next) {
        element = (struct place){at.doc, i};
        x->chosen[star] = lead->steps[lead->behind_star[star] - 1].reread ? reread(x, element) : element;
        if (!choose(x, lead, element, star + 1, on_choice, ctx))
            return false;
    }
    return true;
}

/* No "*" among the steps. */
static struct place walk(struct extract *x, struct place at, const struct step *steps, size_t nsteps)
{
    for (size_t i = 0; i < nsteps && at.doc; i++) {
        if (steps[i].index != SIZE_MAX && at.doc->nodes[at.node].type == DOC_ARRAY)
            at.node = doc_element(at.doc, at.node, steps[i].index);
        else
            at.node = doc_member(at.doc, at.node, steps[i].name);
        if (at.node == 0)
            return nowhere;
        if (steps[i].reread)
            at = reread(x, at);
    }
    return at;
}

/* Found again by a table: there may be as many strings as values. */
static struct place reread(struct extract *x, struct place string)
{
    struct reread *r;
    struct span text;

    if (x->nrereads == x->nrooms)
        more_rooms(x);
    r = *room_of(x, string);
    while (r && (r->string.doc != string.doc || r->string.node != string.node))
        r = r->next;
    if (!r) {
        r = arena_zero(x->arena, sizeof(*r));
        r->string = string;
        text = doc_text(string.doc, string.node, x->arena);
        r->good = string.doc->nodes[string.node].type == DOC_STRING && text.at &&
                  doc_parse(&r->doc, text, x->arena, NULL) == OK;
        r->next = *room_of(x, string);
        *room_of(x, string) = r;
        x->nrereads++;
    }
    return r->good ? (struct place){&r->doc, 0} : nowhere;
}

static void more_rooms(struct extract *x)
{
    struct reread **old = x->rereads, *r, *next;
    size_t nold = x->nrooms;

    x->nrooms = nold ? 4 * nold : REREAD_ROOMS;
    x->rereads = arena_zero(x->arena, x->nrooms * sizeof(struct reread *));
    for (size_t i = 0; i < nold; i++)
        for (r = old[i]; r; r = next) {
            next = r->next;
            r->next = *room_of(x, r->string);
            *room_of(x, r->string) = r;
        }
}

/* Multiplied, because the strings of like elements stand at even distances. */
static struct reread **room_of(const struct extract *x, struct place string)
{
    uint64_t hash = (string.node + (uint64_t)(uintptr_t)string.doc) * UINT64_C(0x9e3779b97f4a7c15);

    return &x->rereads[(hash >> 32) & (x->nrooms - 1)];
}
