/*
 * atom: a feed as a hub pushes it (RFC 4287 with YouTube's elements, tombstones of RFC 6721), as the JSON that body.h
 * shows. Nothing is expanded and nothing fetched: a document with a DOCTYPE is refused.
 * The JSON of one entry is what its dedup key is made from: for the same XML it must stay the same, byte by byte.
 */
#ifndef SETTLE_DOMAIN_ATOM_H
#define SETTLE_DOMAIN_ATOM_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

enum { ATOM_DEPTH_MAX = 32, ATOM_ELEMENTS_MAX = 10000, ATOM_TEXT_MAX = 8192 };

/* INVALID, cause "malformed_xml": not well-formed, an unknown encoding, a DOCTYPE, more or deeper elements than above, or
 * a longer text or attribute where we read one. XML that is no feed has no entries. *ret is in the arena. */
enum status atom_as_json(struct span body, struct arena *arena, struct span *ret, struct err *err) MUST_CHECK;

#endif
