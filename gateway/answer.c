#include "answer.h"

#include "base/attr.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RETRY_FIRST_S = 5,   /* long enough for a store to come back ... */
    RETRY_SPREAD_S = 15, /* ... and spread, so that all senders do not come back at once */
    PROBLEM_BYTES = 2048,
};

/* What the world calls our causes. The first row is for what no row knows. */
static const struct answer_kind kinds[] = {
    {"internal",               503, "The gateway has a fault",              "It is ours, not the request's. Try again later.",  true },
    {"store_unavailable",      503, "The store did not commit in time",
     "Nothing is known to be stored. Try again later.",                                                                         true },
    {"clock_suspect",          503, "The gateway's clock is in doubt",
     "Whether the signature's time is right cannot be told. Try again later.",                                                  true },
    {"overload",               503, "Too many requests wait for the store", "Nothing was taken. Try again later.",              true },
    {"bad_signature",          401, "The signature does not hold",
     "The request is not signed with a secret of this source.",                                                                 false},
    {"unknown_platform",       404, "No such platform",                     "No platform of this name takes webhooks here.",    false},
    {"not_found",              404, "Not found",                            NULL,                                               false},
    {"method_not_allowed",     405, "Method not allowed",                   NULL,                                               false},
    {"handshake_malformed",    400, "The handshake cannot be answered",
     "Its query is not what the platform sends.",                                                                               false},
    {"handshake_refused",      403, "The handshake is refused",             "It does not fit what this source is set up with.",
     false                                                                                                                           },
    {"handshake_unknown",      404, "The handshake is refused",             "It does not fit what this source is set up with.",
     false                                                                                                                           },
    {"rate_limited",           429, "Too many handshakes of this source",   "Try again later.",                                 true },
    {"over_share",             429, "Too many requests of this source",
     "The store is busy and others wait for it too. Nothing was taken. Try again later.",                                       true },
    {"too_large",              413, "The body is too large",                NULL,                                               false},
    {"malformed_framing",      400, "The request is ambiguous",             NULL,                                               false},
    {"head_too_large",         431, "The request's head is too large",      NULL,                                               false},
    {"malformed_json",         400, "The body is not JSON",                 NULL,                                               false},
    {"unauthorized",           401, "A key is wanted",                      NULL,                                               false},
    {"forbidden_scope",        403, "The key may not do this",              NULL,                                               false},
    {"other_tenant",           403, "The key is another tenant's",
     "It sees and changes the rows of its own tenant alone.",                                                                   false},
    {"key_rate_limited",       429, "The key asks too often",               "Nothing was done. Try again later.",               true },
    {"other_tenants_source",   403, "The source is another tenant's",
     "The settings name the tenant whose posts alone can be registered under it.",                                              false},
    {"caller_busy",            429, "Too many requests of one caller",
     "Others wait too. Nothing was done. Try again later.",                                                                     true },
    {"wrong_keys",             429, "Too many wrong keys",
     "From this address came too many keys that are none. Nothing was looked up. Try again later.",                             true },
    {"forbidden_host",         403, "This Host is not served",              NULL,                                               false},
    {"unsupported_media_type", 415, "The body has the wrong type",          NULL,                                               false},
    {"invalid_parameter",      422, "A parameter is wrong",                 NULL,                                               false},
    {"scheduled_without_time", 422, "The time is missing",                  "Status scheduled needs scheduled_for.",            false},
    {"age_missing",            422, "The age is missing",                   "Give older_than_days or days_to_keep.",            false},
    {"account_is_no_site",     422, "The account is no site",
     "The account of this platform is the site that it is asked about, as the platform writes it: "
     "https://www.example.com/ or "
     "sc-domain:example.com.",                                                                                                  false},
    {"unknown_account",        404, "There is no such account",
     "Only one that is there can be disconnected; errors names those that are.",                                                false},
    {"rejected",               422, "The store refuses a value",            "Perhaps a text with a NUL character in it.",       false},
    {"idempotency_conflict",   409, "The Idempotency-Key is in use",        "It came before with another body.",
     false                                                                                                                           },
    {"post_taken",             409, "The post is taken",                    "Another user has registered this post.",           false},
    {"lease_lost",             409, "The lease is lost",                    "Another worker has taken this publication since.", false},
    {"not_overridden",         409, "There is nothing to take back",        "No verdict of a person stands.",                   false},
    {"unmatched",              409, "The receipt is of no publication",     "None is registered for its post.",                 false},
    {"unknown_task_type",      400, "There is no such type of task",        "Known: platform_insights.",                        false},
    {"no_seal_key",            503, "Tokens cannot be stored",              "connections.key_file is not set or not good.",     false},
    {"cost_conflict",          409, "A key is of another cost",             "Nothing was stored; errors names the records.",
     false                                                                                                                           },
    {"cost_out_of_time",       422, "A cost cannot be taken",               "Nothing was stored; errors names the records.",
     false                                                                                                                           },
    {"range_reversed",         400, "The range ends before it begins",
     "Give an end_date that is not before start_date.",                                                                         false},
    {"range_too_long",         400, "The range is too long",                "At most 366 days at once; of an export, 3660.",    false},
    {"lock_held",              409, "Another run is under way",             NULL,                                               false},
    {"run_failed",             503, "The run failed",                       NULL,                                               true },
    {"run_timeout",            503, "The run took too long",                NULL,                                               true },
};

static const char *const by_status[] = {
    [OK] = "internal",     [INVALID] = "malformed_framing", [FORGED] = "bad_signature",
    [BUSY] = "overload",   [REJECTED] = "internal",         [UNAVAILABLE] = "store_unavailable",
    [BROKEN] = "internal",
};

static const struct answer_kind *find(const char *cause);
static size_t print_problem(char *room, size_t size, const struct answer_kind *kind,
                            const struct id *request_id, const struct err *err);
static const char *quotable(char *room, size_t size, const char *text);
static void add_request_id(h2o_req_t *req, const struct id *request_id);
static unsigned some_seconds(void);
static void add_retry_after(h2o_req_t *req, unsigned seconds);

const struct answer_kind *answer_kind_of(const struct err *err)
{
    const struct answer_kind *kind = find(err->cause);

    return kind ? kind : find(by_status[err->code]);
}

static const struct answer_kind *find(const char *cause)
{
    for (size_t i = 0; cause && i < countof(kinds); i++)
        if (strcmp(kinds[i].cause, cause) == 0)
            return &kinds[i];
    return NULL;
}

void answer_problem(h2o_req_t *req, const struct id *request_id, const struct err *err)
{
    answer_problem_with(req, request_id, err, SPAN_NONE);
}

void answer_problem_with(h2o_req_t *req, const struct id *request_id, const struct err *err,
                         struct span errors)
{
    const struct answer_kind *kind = answer_kind_of(err);
    char *text = h2o_mem_alloc_pool(&req->pool, PROBLEM_BYTES + errors.len);
    size_t len = print_problem(text, PROBLEM_BYTES, kind, request_id, err);

    if (errors.at)
        len = len - 1 + (size_t)sprintf(text + len - 1, ",\"errors\":%.*s}", SPAN_ARG(errors));

    if (kind->may_retry) {
        add_retry_after(req, some_seconds());
        req->http1_is_persistent = 0; /* a balancer had better try another worker */
    }
    answer_body(req, request_id, kind->code, "application/problem+json", (struct span){text, len});
}

static size_t print_problem(char *room, size_t size, const struct answer_kind *kind,
                            const struct id *request_id, const struct err *err)
{
    char id[ID_TEXT_BYTES], detail[sizeof(err->text)];
    int len;

    id_text(request_id, id);
    len = snprintf(room, size,
                   "{\"type\":\"urn:settle:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\","
                   "\"request_id\":\"%s\"}",
                   kind->cause, kind->title, kind->code,
                   kind->detail ? kind->detail : quotable(detail, sizeof(detail), err->text), id);
    return (size_t)len;
}

/* A text that may hold pieces of the request, made fit to stand between quotes. */
static const char *quotable(char *room, size_t size, const char *text)
{
    size_t len = 0;

    for (; *text && len + 1 < size; text++)
        room[len++] = (*text >= ' ' && *text <= '~' && *text != '"' && *text != '\\') ? *text : '?';
    room[len] = '\0';
    return room;
}

static unsigned some_seconds(void)
{
    return RETRY_FIRST_S + arc4random_uniform(RETRY_SPREAD_S + 1);
}

static void add_retry_after(h2o_req_t *req, unsigned seconds)
{
    char *text = h2o_mem_alloc_pool(&req->pool, 16);
    int len = snprintf(text, 16, "%u", seconds);

    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("retry-after"), 0, NULL, text,
                          (size_t)len);
}

void answer_crowd(h2o_req_t *req, const struct id *request_id, const struct err *err, unsigned retry_s)
{
    const struct answer_kind *kind = answer_kind_of(err);
    char *text = h2o_mem_alloc_pool(&req->pool, PROBLEM_BYTES);
    size_t len = print_problem(text, PROBLEM_BYTES, kind, request_id, err);

    add_retry_after(req, retry_s > 0 ? retry_s : some_seconds());
    answer_body(req, request_id, kind->code, "application/problem+json", (struct span){text, len});
}

void answer_overload(h2o_req_t *req, const struct id *request_id, unsigned retry_s)
{
    const struct err overload = {.code = BUSY};
    static char made[PROBLEM_BYTES];
    static size_t len;
    char id[ID_TEXT_BYTES], *text;

    if (len == 0)
        len = print_problem(made, sizeof(made), answer_kind_of(&overload), request_id, &overload);
    text = h2o_mem_alloc_pool(&req->pool, len);
    memcpy(text, made, len);
    id_text(request_id, id);
    memcpy(text + len - strlen("\"}") - strlen(id), id, strlen(id)); /* it stands last */
    add_retry_after(req, retry_s > 0 ? retry_s : some_seconds());
    answer_body(req, request_id, 503, "application/problem+json", (struct span){text, len});
}

void answer_body(h2o_req_t *req, const struct id *request_id, int code, const char *content_type,
                 struct span body)
{
    static h2o_generator_t whole = {NULL, NULL};
    h2o_iovec_t bytes = h2o_iovec_init(body.at, body.len);
    bool is_head = span_eq((struct span){req->method.base, req->method.len}, SPAN("HEAD"));

    answer_head(req, request_id, code, content_type, code == 204 ? SIZE_MAX : body.len);
    h2o_start_response(req, &whole);
    h2o_send(req, &bytes, is_head || body.len == 0 ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void answer_head(h2o_req_t *req, const struct id *request_id, int code, const char *content_type,
                 size_t length)
{
    req->res.status = code;
    req->res.reason = answer_reason(code);
    req->res.content_length = length;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, content_type,
                   strlen(content_type));
    add_request_id(req, request_id);
    if (req->conn->ctx->shutdown_requested)
        req->http1_is_persistent = 0;
}

static void add_request_id(h2o_req_t *req, const struct id *request_id)
{
    char *text = h2o_mem_alloc_pool(&req->pool, ID_TEXT_BYTES);

    id_text(request_id, text);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-request-id"), 0, NULL, text,
                          ID_TEXT_BYTES - 1);
}

const char *answer_reason(int code)
{
    static const struct {
        int code;
        const char *reason;
    } reasons[] = {
        {200, "OK"                             },
        {201, "Created"                        },
        {202, "Accepted"                       },
        {204, "No Content"                     },
        {400, "Bad Request"                    },
        {401, "Unauthorized"                   },
        {403, "Forbidden"                      },
        {404, "Not Found"                      },
        {405, "Method Not Allowed"             },
        {409, "Conflict"                       },
        {413, "Content Too Large"              },
        {415, "Unsupported Media Type"         },
        {422, "Unprocessable Content"          },
        {429, "Too Many Requests"              },
        {431, "Request Header Fields Too Large"},
        {503, "Service Unavailable"            },
    };

    for (size_t i = 0; i < countof(reasons); i++)
        if (reasons[i].code == code)
            return reasons[i].reason;
    return "Unknown";
}
