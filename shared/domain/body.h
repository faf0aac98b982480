/*
 * body: what a platform sends, as JSON, so that one kind of pointer reads all of it.
 */
#ifndef SETTLE_DOMAIN_BODY_H
#define SETTLE_DOMAIN_BODY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

/* formats: of enum body_format. Told by the first byte that is no blank (nor a byte order mark): "{" or "[" is JSON, "<"
 * is Atom, all else a form, if the platform has that; otherwise JSON, whose reader will say what is wrong. JSON is *ret
 * as it stands.
 * A form becomes an object of strings; of a name that comes twice the first counts; what is no UTF-8 is left out.
 * An Atom feed becomes {"entries":[{"id","videoId","channelId","title","link","published","updated"}],
 * "deleted":[{"ref","when","channel"}]}, each text as sent; what is missing is left out. Its limits: atom.h.
 * INVALID, cause "malformed_form", "malformed_xml" (also for any DOCTYPE). *ret borrows body or is in the arena. */
enum status body_as_json(unsigned formats, struct span body, struct arena *arena, struct span *ret,
                         struct err *err) MUST_CHECK;

#endif
