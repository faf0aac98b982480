#include "asking.h"

#include "base/log.h"
#include "session.h"

struct fetch_config asking_config(const struct config *c)
{
    return (struct fetch_config){
        .at_once = c->fetch.at_once,
        .at_once_per_lane = c->fetch.at_once_per_platform,
        .connect_ms = c->fetch.connect_timeout_ms,
        .whole_ms = c->fetch.timeout_ms,
        .backoff_ms = c->fetch.backoff_ms,
        .answer_bytes = c->fetch.max_answer_bytes,
        .allow_http = c->fetch.allow_http,
        .allowed = c->fetch.allow_private.at,
        .nallowed = c->fetch.allow_private.n,
        .ca_file = c->fetch.ca_file,
        .stopping = session_stopping,
    };
}

void asking_log_try(struct span platform, const struct fetch_answer *answer, enum missing why)
{
    if (why == MISSING_NONE || answer->error == FETCH_HELD || answer->error == FETCH_STOPPED)
        return;
    log_warn(answer->again ? "poll_retry_scheduled" : "fetch_error", LOG_SPAN("platform", platform),
             LOG_INT("attempt", answer->attempt),
             LOG_INT("backoff_seconds", (answer->backoff_ms + 999) / 1000),
             LOG_TEXT("error_code", missing_name(why)), LOG_TEXT("cause", fetch_error_name(answer->error)),
             LOG_INT("http_status", answer->status), LOG_INT("took_ms", answer->took_ms),
             LOG_TEXT("why", answer->why));
}

void asking_log_held(struct span platform, unsigned attempt, unsigned backoff_s, enum missing why)
{
    log_warn("circuit_open", LOG_SPAN("platform", platform), LOG_INT("attempt", attempt),
             LOG_INT("backoff_seconds", backoff_s), LOG_TEXT("error_code", missing_name(why)));
}
