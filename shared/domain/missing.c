#include "domain/missing.h"

static const char *const names[MISSING_REASONS] = {
    [MISSING_CIRCUIT_OPEN] = "circuit_open",
    [MISSING_HALF_OPEN_PROBE_EXHAUSTED] = "half_open_probe_exhausted",
    [MISSING_ADAPTER_MISSING] = "adapter_missing",
    [MISSING_INVALID_ADAPTER_RETURN] = "invalid_adapter_return",
    [MISSING_RATE_LIMITED] = "rate_limited",
    [MISSING_AUTH_ERROR] = "auth_error",
    [MISSING_FETCH_ERROR] = "fetch_error",
    [MISSING_TIMEOUT] = "timeout",
    [MISSING_NO_METRICS] = "no_metrics",
    [MISSING_PLATFORM_DISABLED] = "platform_disabled",
};

const char *missing_name(enum missing reason)
{
    return names[reason];
}

bool missing_parse(struct span word, enum missing *ret)
{
    for (int i = MISSING_NONE + 1; i < MISSING_REASONS; i++)
        if (span_eq(word, span_of(names[i]))) {
            *ret = (enum missing)i;
            return true;
        }
    return false;
}
