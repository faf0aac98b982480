/*
 * platform: what settle knows of a platform, read from its YAML descriptor: how it signs, where a payload
 * says what, which words mean success or failure, time-outs. Built-in descriptors are embedded at build; an
 * operator's folder adds to or overrides them. Also the sources (senders with their secrets) of each platform.
 * All of it lives as long as the process (or until a reload replaces the whole set); nothing here changes after load.
 */
#ifndef SETTLE_DOMAIN_PLATFORM_H
#define SETTLE_DOMAIN_PLATFORM_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum algorithm {
    ALGORITHM_HMAC_SHA256,
    ALGORITHM_HMAC_SHA512,
    ALGORITHM_HMAC_SHA1,
    ALGORITHM_ED25519,   /* the secret is the public key */
    ALGORITHM_CREDENTIAL /* signs nothing: the header holds "user:secret" itself */
};
enum layout { LAYOUT_SINGLE, LAYOUT_LIST, LAYOUT_KEY_VALUE };
enum encoding { ENCODING_HEX, ENCODING_BASE64 };
enum key_format { KEY_TEXT, KEY_HEX, KEY_BASE64 };
enum time_format { TIME_UNIX, TIME_RFC3339 };

/* One piece of the signed template "{time}.{body}". */
struct signed_part {
    enum {
        PART_LITERAL,
        PART_ID,
        PART_TIME,
        PART_BODY,
        PART_URL, /* the absolute URL that the sender called */
        PART_FORM /* Twilio's: the form's names and values, sorted and glued; without a form, nothing, and then the
                     URL must name the body's digest */
    } kind;
    struct span literal;
};

/* One kind of signature that the header may hold, told by its prefix. */
struct proof {
    struct span prefix; /* "sha256=", "v1,"; may be empty */
    enum algorithm algorithm;
    struct span key_prefix; /* "whsec_": a secret that begins with it is for this kind alone; stripped */
};

enum { PROOFS_MAX = 4 };

struct scheme {
    struct span header; /* lower case */
    enum layout layout;
    char separator;                  /* between the items of a list or of key-value pairs */
    struct span value_key, time_key; /* key-value layout: "s", "t" */
    enum encoding encoding;
    struct proof
        proofs[PROOFS_MAX]; /* at least one; no prefix is the start of another's unless it is longer */
    size_t nproofs;
    enum key_format key_format;
    struct span user; /* of a credential */
    struct span time_header,
        id_header; /* absent if not used; an id header that is not signed must be there still */
    enum time_format time_format;
    unsigned past_s, future_s; /* how far the signed time may be away; both 0: nothing fresh is signed */
    char id_forbids
        [2]; /* the characters beside {id} in the template: an id with one could be cut anew; 0: none */
    bool id_is_word; /* nothing separates it from what stands beside it: it is of [A-Za-z0-9_-] */
    bool signs_id;
    bool needs_url;
    bool
        wants_container; /* bodies start with "{" or "[": a GET handshake gives out MACs of tokens, which must be no
                             body */
    struct signed_part *parts;
    size_t nparts;
};

/* A compiled pointer into a payload: extract.h. */
struct pointer;

/* A condition: the value there is one of the words; without words, it is there at all. at NULL: always holds. */
struct condition {
    struct pointer *at;
    struct span *words;
    size_t nwords;
};

/* A word of the platform that means another of ours. */
struct status_word {
    struct span from, to;
};

struct field {
    struct span name;
    struct pointer *at; /* NULL: the value of a header */
    struct span header; /* lower case. Not signed: shown, never decided by */
};

/* One payload shape; the first whose `when` holds and that finds an event decides. */
struct payload {
    struct condition when;
    struct pointer *each;   /* its "*" make the events; those of the others must be the same or fewer */
    struct condition where; /* events that it does not hold for are not for us */
    struct pointer **event_id;
    size_t nevent_id; /* several are joined; none: no event id, the body's digest alone tells events apart */
    struct pointer *post;                         /* NULL: events of this shape name no post */
    struct pointer *status, *url, *reason, *time; /* NULL: not given by this shape */
    struct status_word *status_words;
    size_t nstatus_words;
    struct span status_default; /* absent: no status means unclear */
    struct field *extras;       /* further named fields kept for extra_metadata: media_url, task_id, ... */
    size_t nextras;
};

/* What is echoed or signed is 256 bytes at most and of [A-Za-z0-9._~-], a UUID, or of base64's characters besides. */
enum value_form { VALUE_TOKEN, VALUE_UUID, VALUE_BASE64 };

/* How a platform asks whether the endpoint is ours; handshake.h answers. A row of the descriptor's list. */
struct handshake {
    bool is_post; /* then it comes signed */
    struct condition_in_query {
        struct span name;
        struct span *words;
        size_t nwords;
    } * query; /* of a GET: all must hold for the row to be meant */
    size_t nquery;
    struct condition at;    /* of a POST: this must hold ... */
    struct pointer *unless; /* ... and nothing be here */
    struct span header;     /* or: of a POST: this header must be one of header_words */
    struct span *header_words;
    size_t nheader_words;
    struct span verify_token; /* query name whose value must be the source's verify token; absent: none */
    struct span topic;        /* query name whose value must be one of the source's topics */
    struct span no_topic;     /* ... must be none of them */
    struct span value;        /* query name of what is echoed or signed; absent: none, or value_at */
    struct pointer *value_at; /* the same of a POST */
    enum value_form value_form;
    enum handshake_kind { HANDSHAKE_ECHO, HANDSHAKE_JSON, HANDSHAKE_STATUS } answer;
    struct span json;       /* of HANDSHAKE_JSON: a template; {value} and {hmac} are put in */
    enum encoding encoding; /* of {hmac} */
    int status;             /* of a good answer: 200, or as the descriptor says */
    int refused;            /* of a GET that is not answered: 403, 404, 400 */
};

/* One piece of a template that a request to the platform is made of. */
struct poll_part {
    enum poll_place {
        POLL_LITERAL,
        POLL_POST,
        POLL_POSTS,
        POLL_TOKEN,
        POLL_ACCOUNT,
        POLL_SITE, /* of insights alone, as the next two */
        POLL_FROM,
        POLL_TO,
    } place;
    struct span literal;
};
struct poll_template {
    struct poll_part *parts;
    size_t nparts; /* 0: there is none */
};

/* What a rule, or a post that no answer names, means. */
enum poll_meaning {
    POLL_MEANS_COULD_NOT_ASK,
    POLL_MEANS_WORKING,
    POLL_MEANS_NOT_MINE,
    POLL_MEANS_FAILED,
    POLL_MEANS_MISSING, /* of a rule: what `missing` says */
    POLL_MEANS_RATE_LIMITED,
    POLL_MEANS_AUTH_ERROR,
    POLL_MEANS_CONFIG_ERROR, /* of insights alone */
};

/* What an HTTP status, a value of the answer, or both together mean for all posts asked. */
struct poll_rule {
    int *statuses; /* of HTTP; none: any */
    size_t nstatuses;
    struct condition at;
    struct pointer *reason; /* of POLL_MEANS_FAILED; may be NULL */
    enum poll_meaning means;
};

/* One way to ask the platform, and how to read what it says. */
struct poll_step {
    bool is_post;
    struct poll_template url; /* its first piece reaches behind the host */
    struct poll_header {
        struct span name; /* lower case */
        struct poll_template value;
    } * headers;
    size_t nheaders;
    struct poll_template body; /* JSON */
    struct span separator;     /* between the posts of a URL */
    unsigned batch;            /* posts a request at most; 1 unless it names {posts}; of insights 0 */
    unsigned post_digits;      /* a post's id is a number of at most so many; 0: any text */
    struct poll_rule *rules;   /* the first that holds decides, before answers are looked at */
    size_t nrules;
    struct payload
        *answers; /* the first that names a post tells of it; without `post` it is of the one asked */
    size_t nanswers;
    struct span *success, *failure, *working;
    struct span *not_found; /* statuses that mean what `missing` says */
    size_t nsuccess, nfailure, nworking, nnot_found;
    enum poll_meaning missing; /* could_not_ask, working, not_mine or failed */
};

struct poll {
    struct poll_step *requests; /* tried in order */
    size_t nrequests;
    unsigned budget_per_minute; /* requests a token */
    unsigned give_up_minutes;   /* for so long "could not ask" keeps a publication from its time-out */
};

/* One number of an answer. */
struct figure {
    struct span name;
    enum figure_kind {
        FIGURE_AT,   /* the number there */
        FIGURE_SUM,  /* of the numbers that "*" chooses */
        FIGURE_COUNT /* of the elements that "*" chooses */
    } kind;
    struct pointer *at;
    struct span usual; /* of FIGURE_AT: where there is none; absent: there must be one */
};

/* How a platform is asked for the figures of a site, and where its answer says them: insights.h. */
struct insights {
    struct poll asks;     /* one request, about no post; of its reading only the rules */
    struct pointer *when; /* an answer has it, be it null; NULL: any JSON is one */
    struct figure *figures;
    size_t nfigures;
    unsigned days, lag_days; /* of the period: so many days, the last of them so many days ago */
};

/* What a body may be written in; each is told by its first byte. A bit each. */
enum body_format { BODY_JSON = 1, BODY_FORM = 2, BODY_ATOM = 4 };

enum { SECRETS_MAX = 8 };

struct key; /* key.h */

struct secret {
    struct span bytes; /* as given, in locked memory */
    char key_id[17];   /* first 16 hex digits of BLAKE2b of platform, source and secret: safe to show */
    int64_t not_before_us,
        expires_us; /* wall; counts from the one until before the other; TIME_NONE: always */
    const struct key *keys[PROOFS_MAX]; /* by the scheme's proofs; NULL: not for that kind */
};

struct source {
    struct span name; /* "default" unless named */
    struct secret secrets[SECRETS_MAX];
    size_t nsecrets;
    struct span verify_token; /* in locked memory; absent: none, and such handshakes are refused */
    struct span *topics;      /* WebSub: what we subscribe to; text as the operator wrote it */
    size_t ntopics;
};

struct platform {
    struct span name;
    struct span title, about; /* for people: "TikTok", the URL of its documentation; absent if not given */
    size_t index;             /* into the set, and the metric label */
    struct scheme scheme;
    struct handshake *handshakes;
    size_t nhandshakes;
    int stored_status; /* of the answer when a delivery is durable: 200, 202, 204 */
    bool drops_forged; /* WebSub: a bad signature is answered as a good one, and dropped */
    struct span hub,
        topic_url; /* WebSub: where to subscribe; "https://...{topic}". Absent: no subscriptions */
    unsigned lease_s;
    unsigned formats; /* enum body_format */
    struct payload *payloads;
    size_t npayloads;
    struct span *success, *failure; /* words */
    size_t nsuccess, nfailure;
    size_t max_body_bytes;     /* 0: the global cap */
    unsigned timeout_minutes;  /* 0: none of its own */
    struct poll *poll;         /* NULL: it cannot be asked */
    struct insights *insights; /* NULL: it has none */
    bool sends_webhooks;       /* false: it has insights alone, and nothing above but its names */
    struct source *sources;    /* sorted by name */
    size_t nsources;
    size_t nsecrets_max;    /* of any source, at least 1: the keys that a request is checked with */
    bool has_dated_secrets; /* any that counts only from or until some time */
    struct source *decoy;   /* what requests of unknown sources are checked against: a random key */
};

struct platforms; /* the set */

/* folder: the operator's descriptors (<name>.yaml), or NULL; one with the name of a built-in replaces it.
 * INVALID names file, line and what would be right. NULL on failure. */
struct platforms *platforms_load(const char *folder, struct err *err) MUST_CHECK;
/* The same of these descriptors alone: for tests. */
struct platforms *platforms_load_texts(const char *const *paths, const struct span *texts, size_t n,
                                       struct err *err) MUST_CHECK;
/* A set is shared by whoever still works with it when another takes its place. One thread. */
struct platforms *platforms_share(struct platforms *set);
void platforms_close(struct platforms *set); /* the last one zeroes and frees; NULL is fine */
/* Keeps the secrets out of swap, again: a fork inherits no locks, and where RLIMIT_MEMLOCK is too low there were none.
 * False: not all of them. */
bool platforms_lock(struct platforms *set);
/* For a process that verifies nothing: zeroes and frees the secrets; afterwards no source has any. */
void platforms_forget_secrets(struct platforms *set);

/* Those that send webhooks. */
size_t platforms_count(const struct platforms *set);
const struct platform *platforms_at(const struct platforms *set, size_t index); /* sorted by name */
const struct platform *platforms_find(const struct platforms *set, struct span name);
/* All, those without webhooks behind the others; the index is not theirs. */
size_t platforms_count_all(const struct platforms *set);
const struct platform *platforms_at_all(const struct platforms *set, size_t place);
/* The one that is asked for insights; NULL: none of that name, or it has none. */
const struct platform *platforms_find_insights(const struct platforms *set, struct span name);
const struct source *platform_source(const struct platform *p, struct span name); /* NULL: unknown */

/* Adds one source with its secrets, one a line as secret.h says. Behind a secret may stand
 * " not-before=TIME" and " expires=TIME", RFC 3339. The text is copied into locked memory; the caller zeroes its own.
 * INVALID: unknown platform, bad name, a source that is there already, no secret or more than SECRETS_MAX, one that is
 * no key of the platform's scheme. */
enum status platforms_add_source(struct platforms *set, struct span platform, struct span source,
                                 struct span secret_lines, struct err *err) MUST_CHECK;

/* Of a source that is there. The token may end in one newline. INVALID: no such source, empty, over 256 bytes. */
enum status platforms_set_verify_token(struct platforms *set, struct span platform, struct span source,
                                       struct span token, struct err *err) MUST_CHECK;
enum status platforms_set_topics(struct platforms *set, struct span platform, struct span source,
                                 const char *const *topics, size_t n, struct err *err) MUST_CHECK;

/* Every SETTLE_SECRET_<PLATFORM>[_<SOURCE>][_FILE] of the environment, then every SETTLE_VERIFY_TOKEN_... of the same
 * form: letters are lowered, "_" in names means "-"; where two platforms fit, the longer name counts. */
enum status platforms_add_environment(struct platforms *set, char *const *environment,
                                      struct err *err) MUST_CHECK;

/* 1 a success word of p, -1 a failure word, 0 unclear. "published" is a success everywhere. */
int platform_decides(const struct platform *p, struct span status);
/* Every status that decides, as a JSON array of text, in the arena; for p == NULL, of which no descriptor is known, too. */
struct span platform_deciding(const struct platform *p, struct arena *arena);

#endif
