/*
 * descriptor_reader: a descriptor as it is written, and what each part of the language is read with. Private to
 * descriptor.c and descriptor_*.c. All scalars are text here; what they mean is found out by who reads the part.
 */
#ifndef SETTLE_DOMAIN_DESCRIPTOR_READER_H
#define SETTLE_DOMAIN_DESCRIPTOR_READER_H

#include "base/arena.h"
#include "base/err.h"
#include "base/form.h"
#include "domain/extract.h"
#include "domain/platform.h"

/* NULL: the key is not there. */
struct raw {
    char *name, *title, *about;
    struct raw_verify {
        char *header, *algorithm, *layout, *separator, *value, *time, *prefix, *encoding, *key, *key_prefix,
            *user;
        char *time_header, *time_format, *tolerance_s, *future_tolerance_s, *id_header, *template;
        struct raw_also {
            char *prefix, *algorithm, *key_prefix;
        } * also;
        uint32_t nalso;
    } verify;
    struct raw_answer {
        char *stored, *forged;
    } answer;
    struct raw_handshake {
        char *method, *at, *header, *unless, *verify_token, *topic, *no_topic, *value, *value_form;
        char *answer, *json, *encoding, *refused, *status;
        struct raw_query {
            char *name, **is;
            uint32_t nis;
        } * query;
        char **is;
        uint32_t nquery, nis;
    } * handshakes;
    struct raw_payload {
        char *when, *each, *post, *url, *reason, *time, **is, **event_id;
        struct raw_where {
            char *at, **is;
            uint32_t nis;
        } where;
        struct raw_status {
            char *at, *usual;
            struct raw_word {
                char *from, *to;
            } * words;
            uint32_t nwords;
        } status;
        struct raw_extra {
            char *name, *at;
        } * extras;
        uint32_t nis, nevent_id, nextras;
    } * payloads;
    struct raw_subscribe {
        char *hub, *topic, *lease_s;
    } subscribe;
    struct raw_poll {
        char *budget_per_minute, *give_up_minutes;
        struct raw_request {
            char *method, *url, *body, *separator, *batch, *post_digits, *missing;
            struct raw_header {
                char *name, *value;
            } * headers;
            struct raw_rule {
                char *at, *reason, *means, **status, **is;
                uint32_t nstatus, nis;
            } * rules;
            struct raw_payload *answers;
            char **success, **failure, **working, **not_found;
            uint32_t nheaders, nrules, nanswers, nsuccess, nfailure, nworking, nnot_found;
        } * requests;
        uint32_t nrequests;
    } poll;
    struct raw_insights {
        char *budget_per_minute, *days, *lag_days, *when;
        struct raw_request request; /* but for its answers and words */
        struct raw_figure {
            char *name, *at, *sum, *count, *usual;
        } * figures;
        uint32_t nfigures;
    } insights;
    char **body, **success, **failure, *max_body_bytes, *timeout_minutes;
    uint32_t nhandshakes, npayloads, nbody, nsuccess, nfailure;
};

/* One descriptor on its way. */
struct reader {
    const struct raw *raw;
    struct arena *arena;
    struct form *form;
    struct err *err;
};

/* NULL on failure: INVALID. The caller closes r->form. */
struct form *reader_open(struct reader *r, const char *path, struct span text) MUST_CHECK;

/* The parts of the language, each in its file. */
enum status descriptor_verify(struct reader *r, struct scheme *s) MUST_CHECK;
enum status descriptor_payloads(struct reader *r, struct platform *p) MUST_CHECK;
enum status descriptor_poll(struct reader *r, struct platform *p) MUST_CHECK;
enum status descriptor_insights(struct reader *r, struct platform *p) MUST_CHECK;
/* A request's method, URL, headers and body. places: bits of enum poll_place that may stand in the URL and in the body; a
 * token may stand in headers and body besides. */
enum status descriptor_request(struct reader *r, const char *path, const struct raw_request *from,
                               unsigned places, struct poll_step *s) MUST_CHECK;
/* words: what a rule may mean, in the order of meanings. */
struct rule_words {
    const char *const *words;
    const enum poll_meaning *meanings;
    size_t n;
};
enum status descriptor_rules(struct reader *r, const char *path, const struct raw_request *from,
                             const struct rule_words *words, struct poll_step *s) MUST_CHECK;
/* One shape of JSON, of payloads and of what a poll is answered. */
enum status descriptor_shape(struct reader *r, const char *path, const struct raw_payload *from,
                             struct payload *p) MUST_CHECK;
enum status descriptor_handshakes(struct reader *r,
                                  struct platform *p) MUST_CHECK; /* after verify and body */

/* "base.key", as form_wrong wants it. */
const char *reader_path(struct reader *r, const char *base, const char *key);
/* Absent for NULL. */
struct span reader_copy(struct reader *r, const char *text);
struct span *reader_copies(struct reader *r, char **texts, size_t n);

/* Of each: text NULL means that the key is not there, and *ret stays as it is. */
enum status reader_number(struct reader *r, const char *path, const char *text, uint64_t least, uint64_t most,
                          uint64_t *ret) MUST_CHECK;
enum status reader_header(struct reader *r, const char *path, const char *text, struct span *ret) MUST_CHECK;
/* *ret is the place of text among the words. */
enum status reader_word(struct reader *r, const char *path, const char *text, const char *const *words,
                        size_t nwords, size_t *ret) MUST_CHECK;
/* lead: the pointer whose "*" make the events; NULL: this one. */
enum status reader_pointer(struct reader *r, const char *path, const char *text, const struct pointer *lead,
                           struct pointer **ret) MUST_CHECK;
/* One without "*". */
enum status reader_plain_pointer(struct reader *r, const char *path, const char *text,
                                 struct pointer **ret) MUST_CHECK;

#endif
