/*
 * extract: pointers into a payload, compiled once, followed for each event. RFC 6901 with two additions:
 *   a step that is "*" means each element of an array, one event each;
 *   a step that ends in "#", as in "/content#/id": the value is JSON in a string, and is read as such.
 * So a name cannot be "*" nor end in "#". At most STARS_MAX "*" in a pointer.
 */
#ifndef SETTLE_DOMAIN_EXTRACT_H
#define SETTLE_DOMAIN_EXTRACT_H

#include "base/arena.h"
#include "base/doc.h"
#include "base/err.h"
#include "base/span.h"

enum { STARS_MAX = 4 };

struct pointer;

/* INVALID says what is wrong with text. The pointer is in the arena; text is borrowed. */
enum status pointer_compile(struct span text, struct arena *arena, struct pointer **ret,
                            struct err *err) MUST_CHECK;
size_t pointer_stars(const struct pointer *p); /* of NULL: none */

/* True if the "*" of p choose along the same way as the first ones of lead: only then has p a value in each event. */
bool pointer_follows(const struct pointer *p, const struct pointer *lead);

/* A value in the payload, or in the JSON that a string of it holds. doc NULL: there is none. */
struct place {
    const struct doc *doc;
    uint32_t node;
};

/* One payload while it is read. */
struct extract {
    struct arena *arena;
    struct doc body;
    struct place chosen[STARS_MAX]; /* the element that each "*" stands for at present */
    struct reread **rereads; /* by where their strings stand: a table of nrooms lists, 0 or a power of two */
    size_t nrooms, nrereads;
};

/* INVALID, cause "malformed_json". Borrows body and arena. */
enum status extract_open(struct extract *x, struct span body, struct arena *arena,
                         struct err *err) MUST_CHECK;

/* The value at p for the elements chosen at present. p may be NULL: nothing there. */
struct place extract_at(struct extract *x, const struct pointer *p);

/* Whether there is an array, be it empty, where the first "*" of lead chooses. False if it has none. */
bool extract_has_list(struct extract *x, const struct pointer *lead);

/* Calls on_choice for each choice of elements that lead's "*" make, in order, until it returns false; once
 * if lead has no "*" or is NULL. element: the innermost chosen, or the whole payload. */
typedef bool extract_choice(void *ctx, struct place element);
void extract_each(struct extract *x, const struct pointer *lead, extract_choice *on_choice, void *ctx);

#endif
