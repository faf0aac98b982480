/*
 * framing: is it beyond doubt where this request ends and what it asks for? The library takes forms that a
 * proxy before us may read in another way (two lengths, a length and chunks, bare line feeds, folded lines,
 * no or two hosts): a second request could hide in the first. Pure; looks at the head's bytes as received.
 */
#ifndef SETTLE_GATEWAY_FRAMING_H
#define SETTLE_GATEWAY_FRAMING_H

#include "base/err.h"
#include "base/span.h"

enum { FRAMING_HEAD_MAX = 16 * 1024 };

/* input starts with the request's first byte and holds its whole head, maybe more. *ret_chunked tells whether
 * the body came in chunks: such a connection is closed after its answer, since how strictly the library read
 * the chunks cannot be seen. INVALID, cause "malformed_framing" or "head_too_large". */
enum status framing_check(struct span input, bool *ret_chunked, struct err *err) MUST_CHECK;

#endif
