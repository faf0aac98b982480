#include "quota.h"

#include "base/now.h"

#include <string.h>

static void fill(struct quota *q, const struct quota_limits *limits, int64_t now_us);
static size_t bytes_kept(struct quota *q, const struct quota_limits *limits, int64_t now_us);

bool quota_take(struct quota *q, const struct quota_limits *limits, int64_t now_us, size_t bytes)
{
    size_t kept = bytes_kept(q, limits, now_us);

    fill(q, limits, now_us);
    if (q->tokens < 1 || kept > limits->bytes || bytes > limits->bytes - kept)
        return false;
    q->tokens -= 1;
    q->bytes[q->piece % QUOTA_PIECES] += bytes;
    return true;
}

static void fill(struct quota *q, const struct quota_limits *limits, int64_t now_us)
{
    double most = limits->per_second > 1 ? limits->per_second : 1;

    if (q->filled_us == 0)
        q->tokens = most;
    else
        q->tokens += (double)(now_us - q->filled_us) * limits->per_second / SECOND_US;
    if (q->tokens > most)
        q->tokens = most;
    q->filled_us = now_us;
}

static size_t bytes_kept(struct quota *q, const struct quota_limits *limits, int64_t now_us)
{
    int64_t piece = now_us / (limits->keep_us / (QUOTA_PIECES - 1));
    size_t sum = 0;

    if (piece - q->piece >= QUOTA_PIECES) {
        memset(q->bytes, 0, sizeof(q->bytes));
        q->piece = piece;
    }
    while (q->piece < piece)
        q->bytes[++q->piece % QUOTA_PIECES] = 0;
    for (size_t i = 0; i < QUOTA_PIECES; i++)
        sum += q->bytes[i];
    return sum;
}
