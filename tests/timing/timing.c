/*
 * timing: does the time that a refusal takes tell anything? In the manner of dudect (Reparaz, Balasch, Verbauwhede:
 * "Dude, is my code constant time?"): two kinds of request in random order, a t-test on the difference of their times.
 * |t| above 4.5 is a leak, if the difference is more than half a hundredth of the time: below it shows where in memory the one
 * thing and the other lie, which changes with each build and reload. The machine's noise comes in waves, so the test is on the differences within short batches,
 * which a wave lifts whole; times by themselves would find leaks in it. usage: timing [RUNS]      each question is asked RUNS times (default 1,000,000)
 *
 * The same program, built with a comparison that stops at the first difference, must find its leak: otherwise it would
 * find none anywhere (timing_leaky; it exits 0 when t is above 10).
 */
#include "base/attr.h"
#include "base/now.h"
#include "domain/scheme.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#include <sodium.h>

/* Times above some percentile are noise of the machine: the test is done on several cuts, and the worst counts. */
enum { NCUTS = 4, BATCH_RUNS = 2000, WARM_RUNS = 20000 };

/* Two kinds of one request, which lies in one place: even where a byte lies can be seen in its time. */
struct question {
    const char *why;
    size_t wrong_at[2];        /* which digit of the signature is wrong */
    const char last_letter[2]; /* of the source's name, "default" being the one that is known */
};

/* Signed well; before each run one digit is spoilt. */
struct subject {
    const struct platform *platform;
    struct request request;
    struct header headers[SIGNED_HEADERS_MAX];
    char *digits;
    char source[sizeof("default")];
};

/* What was found out: t, and the difference as a part of the whole time. */
struct answer {
    double t, part;
};

/* Of values: their number, their mean, the sum of their squared distances from it. */
struct sums {
    double n, mean, m2;
};

static struct answer ask(struct subject *s, const struct question *q, size_t nruns);
static void measure(struct subject *s, const struct question *q, unsigned kind, double *ret_ns);
static void find_cuts(struct subject *s, const struct question *q, double ret[NCUTS]);
static int by_size(const void *a, const void *b);
static void add(struct sums *s, double value);
static double t_of(const struct sums *differences);
static void measure_batch(struct subject *s, const struct question *q, const double cuts[NCUTS],
                          struct sums differences[NCUTS]);
static void sign(struct subject *s, struct arena *a);

int main(int argc, char **argv)
{
    size_t nruns = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    struct arena *a = arena_open(4096);
    struct err err = {.text = ""};
    struct platforms *set = platforms_load(NULL, &err);
    static const struct question questions[] = {
        {"the first against the last digit wrong", {0, 63}, {'t', 't'}},
        {"a known against an unknown source",      {0, 0},  {'t', 'u'}},
    };
    struct subject s = {.source = "default"};
    bool leaks = false, found = false;

    if (!set || platforms_add_source(set, SPAN("instagram"), SPAN("default"), SPAN("a-secret-of-some-length"),
                                     &err)) {
        fprintf(stderr, "timing: %s\n", err.text);
        return EX_SOFTWARE;
    }
    s.platform = platforms_find(set, SPAN("instagram"));
    sign(&s, a);
    for (size_t i = 0; i < countof(questions); i++) {
        struct answer got = ask(&s, &questions[i], nruns);
        printf("%s: t = %.2f, %.3f %% of the time\n", questions[i].why, got.t, 100 * got.part);
        leaks |= fabs(got.t) > 4.5 && fabs(got.part) > 0.005;
        found |= fabs(got.t) > 10 && fabs(got.part) > 0.005;
    }
    platforms_close(set);
    arena_close(a);
    (void)leaks;
    (void)found;
#ifdef LEAKY
    return found ? EX_OK : 1;
#else
    return leaks ? 1 : EX_OK;
#endif
}

/* The largest t of all cuts. */
static struct answer ask(struct subject *s, const struct question *q, size_t nruns)
{
    struct sums differences[NCUTS] = {0};
    struct answer worst = {0, 0};
    double cuts[NCUTS];

    find_cuts(s, q, cuts);
    for (size_t done = 0; done < nruns; done += BATCH_RUNS)
        measure_batch(s, q, cuts, differences);
    for (size_t c = 0; c < NCUTS; c++) {
        double t = t_of(&differences[c]);
        if (fabs(t) > fabs(worst.t))
            worst = (struct answer){t, differences[c].mean / cuts[0]};
    }
    return worst;
}

static void measure_batch(struct subject *s, const struct question *q, const double cuts[NCUTS],
                          struct sums differences[NCUTS])
{
    struct sums sums[NCUTS][2] = {0};

    for (size_t i = 0; i < BATCH_RUNS; i++) {
        unsigned kind = randombytes_random() & 1;
        double ns;
        measure(s, q, kind, &ns);
        for (size_t c = 0; c < NCUTS; c++)
            if (ns <= cuts[c])
                add(&sums[c][kind], ns);
    }
    for (size_t c = 0; c < NCUTS; c++)
        if (sums[c][0].n > 10 && sums[c][1].n > 10)
            add(&differences[c], sums[c][0].mean - sums[c][1].mean);
}

static void measure(struct subject *s, const struct question *q, unsigned kind, double *ret_ns)
{
    char *digit = s->digits + q->wrong_at[kind], right = *digit;
    const struct source *source;
    struct verified verified;
    struct timespec from, to;

    *digit = right == '0' ? '1' : '0';
    s->source[sizeof(s->source) - 2] = q->last_letter[kind];
    atomic_thread_fence(
        memory_order_seq_cst); /* a byte still on its way to memory would be read more slowly */
    clock_gettime(CLOCK_MONOTONIC, &from);
    source = platform_source(s->platform, (struct span){s->source, sizeof(s->source) - 1});
    if (scheme_verify(s->platform, source, &s->request, &verified, NULL) != FORGED)
        abort();
    clock_gettime(CLOCK_MONOTONIC, &to);
    *digit = right;
    *ret_ns = (double)((to.tv_sec - from.tv_sec) * INT64_C(1000000000) + to.tv_nsec - from.tv_nsec);
}

/* Percentiles, denser towards the fast end, where the noise is least. */
static void find_cuts(struct subject *s, const struct question *q, double ret[NCUTS])
{
    static double times[WARM_RUNS];

    for (size_t i = 0; i < WARM_RUNS; i++)
        measure(s, q, randombytes_random() & 1, &times[i]);
    qsort(times, WARM_RUNS, sizeof(times[0]), by_size);
    for (size_t c = 0; c < NCUTS; c++)
        ret[c] = times[(size_t)((1 - pow(0.5, (double)(c + 1))) * (WARM_RUNS - 1))];
}

static int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, two = *(const double *)b;

    return (one > two) - (one < two);
}

/* Welford's, which does not lose what is small beside what is large. */
static void add(struct sums *s, double value)
{
    double apart = value - s->mean;

    s->n++;
    s->mean += apart / s->n;
    s->m2 += apart * (value - s->mean);
}

static double t_of(const struct sums *differences)
{
    double n = differences->n;

    return n > 30 ? differences->mean / sqrt(differences->m2 / (n - 1) / n) : 0;
}

static void sign(struct subject *s, struct arena *a)
{
    s->request = (struct request){.headers = s->headers,
                                  .body = SPAN("{\"external_post_id\":\"p\",\"status\":\"published\"}"),
                                  .received_us = 1700000000 * SECOND_US};
    if (scheme_sign(s->platform, s->platform->sources[0].secrets[0].bytes, SPAN_NONE, s->request.received_us,
                    SPAN_NONE, s->request.body, a, s->headers, &s->request.nheaders, NULL))
        abort();
    s->digits = (char *)(uintptr_t)s->headers[0].value.at + strlen("sha256=");
}
