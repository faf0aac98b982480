/*
 * doc: strict JSON (RFC 8259), read in one pass into a flat table of nodes that point into the text.
 * No copies, no hash tables: the accept path pays only for what it looks at. Refuses what the RFC refuses:
 * bad UTF-8, raw control bytes, numbers like 01, trailing bytes; also a name that comes twice in an object, however it
 * is spelled, and what is deeper or has more values than below.
 * The escape of a lone surrogate is grammatical: it is taken, but is no text. For writing JSON use jansson.
 */
#ifndef SETTLE_BASE_DOC_H
#define SETTLE_BASE_DOC_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum { DOC_DEPTH_MAX = 64, DOC_NODES_MAX = 262144 };

enum doc_type { DOC_NULL, DOC_FALSE, DOC_TRUE, DOC_NUMBER, DOC_STRING, DOC_ARRAY, DOC_OBJECT };

struct doc_node {
    uint32_t at;  /* its first byte; of a string, the one behind the quote */
    uint8_t type; /* enum doc_type */
    bool escaped; /* a string that holds a backslash; an object whose names are in doc.names */
    union {
        struct {
            uint32_t len;  /* bytes of the text; a string without its quotes, a container with its brackets */
            uint32_t next; /* index of the node behind this one and all below it */
        };
        uint64_t hints; /* of an object that is still being read: a bit for each of its names */
    };
};
/* Order: an object's children are name, value, name, value ...; names are DOC_STRING nodes. Node 0 is the root. */

struct doc {
    struct span text; /* borrows */
    struct doc_node *nodes;
    struct doc_name *names; /* of the objects with many names or escaped ones; sorted */
    uint32_t nnodes, nnames;
};

/* INVALID, cause "malformed_json", with the byte it stopped at. Nodes are in the arena. Time is at most n log n, whatever
 * the text. */
enum status doc_parse(struct doc *ret, struct span text, struct arena *arena, struct err *err) MUST_CHECK;

/* The member `name` (as it stands between quotes after unescaping) of the object at `node`; 0 if none:
 * the root is nobody's member. */
uint32_t doc_member(const struct doc *d, uint32_t node, struct span name);
uint32_t doc_element(const struct doc *d, uint32_t node, size_t index); /* of an array; 0 if none */

struct span doc_raw(const struct doc *d, uint32_t node); /* its bytes as sent */

/* Text of a scalar: a string unescaped (into the arena only if it holds escapes), a number or boolean as
 * written. Absent for null, containers, and strings that hold \u0000 or a lone surrogate: Postgres takes neither. */
struct span doc_text(const struct doc *d, uint32_t node, struct arena *arena);
/* The same, but of an escaped string only as much as decides whether it has more than `most` bytes, and no word on what is
 * behind: for values that are cut or thrown away beyond. */
struct span doc_text_start(const struct doc *d, uint32_t node, size_t most, struct arena *arena);

/* s, which is UTF-8, in quotes and with JSON's escapes. */
struct span doc_quote(struct span s, struct arena *arena);

#endif
