/*
 * platform: what settle knows of a platform, read from its YAML descriptor: how it signs, where a payload
 * says what, which words mean success or failure, time-outs. Built-in descriptors are embedded at build; an
 * operator's folder adds to or overrides them. Also the sources (senders with their secrets) of each platform.
 * All of it lives as long as the process (or until a reload replaces the whole set); nothing here changes after load.
 */
#ifndef SETTLE_DOMAIN_PLATFORM_H
#define SETTLE_DOMAIN_PLATFORM_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum algorithm { ALGORITHM_HMAC_SHA256 };
enum layout { LAYOUT_SINGLE, LAYOUT_KEY_VALUE };
enum encoding { ENCODING_HEX, ENCODING_BASE64 };

/* One piece of the signed template "{time}.{body}". */
struct signed_part {
    enum { PART_LITERAL, PART_ID, PART_TIME, PART_BODY } kind;
    struct span literal;
};

struct scheme {
    enum algorithm algorithm;
    enum layout layout;
    enum encoding encoding;
    struct span header;                 /* lower case */
    struct span prefix;                 /* before the encoded value, "sha256="; empty if none */
    struct span value_key, time_key;    /* key-value layout: "s", "t" */
    struct span time_header, id_header; /* absent if not used */
    struct signed_part *parts;
    size_t nparts;
    unsigned tolerance_s; /* both ways; 0: nothing fresh is signed */
};

/* A compiled pointer into a payload: extract.h. */
struct pointer;

/* A word of the platform that means another of ours. */
struct status_word {
    struct span from, to;
};

struct field {
    struct span name;
    struct pointer *at;
};

/* One payload shape; the first whose `when` is present decides. */
struct payload {
    struct pointer *when;
    struct pointer **event_id;
    size_t nevent_id; /* several are joined; none: no event id, the body's digest alone tells events apart */
    struct pointer *post; /* its "*" make the events; those of the others must be the same or fewer */
    struct pointer *status, *url, *reason, *time; /* NULL: not given by this shape */
    struct status_word *status_words;
    size_t nstatus_words;
    struct span status_default; /* absent: no status means unclear */
    struct field *extras;       /* further named fields kept for extra_metadata: media_url, task_id, ... */
    size_t nextras;
};

enum { SECRETS_MAX = 8 };

struct secret {
    struct span bytes; /* in locked memory */
    char key_id[17];   /* first 16 hex digits of BLAKE2b of platform, source and secret: safe to show */
    struct evp_mac_ctx_st
        *mac; /* OpenSSL's state with the key in it, started anew for each message: one thread */
};

struct source {
    struct span name; /* "default" unless named */
    struct secret secrets[SECRETS_MAX];
    size_t nsecrets;
};

struct platform {
    struct span name;
    size_t index; /* into the set, and the metric label */
    struct scheme scheme;
    struct payload *payloads;
    size_t npayloads;
    struct span *success, *failure; /* words */
    size_t nsuccess, nfailure;
    size_t max_body_bytes;    /* 0: the global cap */
    unsigned timeout_minutes; /* 0: none of its own */
    struct source *sources;   /* sorted by name */
    size_t nsources;
    size_t nsecrets_max;  /* of any source, at least 1: the keys that a request is checked with */
    struct source *decoy; /* what requests of unknown sources are checked against: a random key */
};

struct platforms; /* the set */

/* folder: the operator's descriptors (<name>.yaml), or NULL; one with the name of a built-in replaces it.
 * INVALID names file, line and what would be right. NULL on failure. */
struct platforms *platforms_load(const char *folder, struct err *err) MUST_CHECK;
void platforms_close(struct platforms *set); /* zeroes and frees; NULL is fine */
/* For a process that verifies nothing: zeroes and frees the secrets; afterwards no source has any. */
void platforms_forget_secrets(struct platforms *set);

size_t platforms_count(const struct platforms *set);
const struct platform *platforms_at(const struct platforms *set, size_t index); /* sorted by name */
const struct platform *platforms_find(const struct platforms *set, struct span name);
const struct source *platform_source(const struct platform *p, struct span name); /* NULL: unknown */

/* Adds one source with its secrets, one a line (LF or CRLF), blank lines ignored. The text is copied into locked
 * memory; the caller zeroes its own. INVALID: unknown platform, bad name, a source that is there already, no secret or
 * more than SECRETS_MAX. */
enum status platforms_add_source(struct platforms *set, struct span platform, struct span source,
                                 struct span secret_lines, struct err *err) MUST_CHECK;

/* Every SETTLE_SECRET_<PLATFORM>[_<SOURCE>][_FILE] of the environment: letters are lowered, "_" in names means "-";
 * where two platforms fit, the longer name counts. */
enum status platforms_add_environment(struct platforms *set, char *const *environment,
                                      struct err *err) MUST_CHECK;

/* 1 a success word of p, -1 a failure word, 0 unclear. "published" is a success everywhere. */
int platform_decides(const struct platform *p, struct span status);

#endif
