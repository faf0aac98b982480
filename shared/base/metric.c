#include "base/metric.h"

#include "base/now.h"
#include "base/span.h"

#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* GAUGE: one process writes it, the page takes the largest of all slots. GAUGE_SUM: each process has its part.
 * MIRROR: a counter that somebody else keeps; a cell holds one more than its value, and 0 while it is not known. */
enum kind { COUNTER, MIRROR, GAUGE, GAUGE_SUM, HISTOGRAM, INFO };

struct row {
    const char *name;
    enum kind kind;
    bool by_platform;
    const char *label; /* second label; NULL if none */
    const char *words; /* its values, split at blanks */
    const char *help;
};

static const struct row rows[] = {
#define METRIC(id, ...) [id] = {__VA_ARGS__},
#include "base/metric_table.h"
#undef METRIC
};

/* What the requirements call some of these, shown beside our own names. Where such a name suits another type, none is told. */
static const struct alias {
    const char *name, *type;
    enum metric of;
    bool by_platform;  /* else the sum of all */
    const char *label; /* of the words; NULL: the sum of some of them is shown, without a label */
    const char *words; /* those */
} aliases[] = {
    {"reconciliation_status_total",              "counter", RECONCILE_RESULTS,       false, "status", NULL              },
    {"breaker_state_total",                      "untyped", BREAKER_STATE,           true,  "state",  NULL              },
    {"total_checked",                            "untyped", RECONCILE_CHECKED,       false, NULL,     ""                },
    {"marked_success",                           "untyped", RECONCILE_RESULTS,       false, NULL,     "success"         },
    {"marked_failed",                            "untyped", RECONCILE_RESULTS,       false, NULL,     "failed"          },
    {"skipped",                                  "untyped", RECONCILE_RESULTS,       false, NULL,     "skipped"         },
    {"helix_aggregation_last_success_timestamp", "gauge",   AGGREGATES_LAST_SUCCESS, false, NULL,     ""                },
    {"queue_depth",                              "gauge",   PUBLICATIONS,            false, NULL,     "processing retry"},
};

/* Upper bounds of the histograms' buckets; the one behind the last holds the rest. Fine where a sender's
 * deadline or our own target lies (0.45 is what ingest promises), coarse elsewhere. */
static const struct {
    int64_t us;
    const char *text;
} bounds[] = {
    {500,      "0.0005"},
    {1000,     "0.001" },
    {2500,     "0.0025"},
    {5000,     "0.005" },
    {10000,    "0.01"  },
    {25000,    "0.025" },
    {50000,    "0.05"  },
    {100000,   "0.1"   },
    {250000,   "0.25"  },
    {450000,   "0.45"  },
    {500000,   "0.5"   },
    {1000000,  "1"     },
    {2500000,  "2.5"   },
    {5000000,  "5"     },
    {10000000, "10"    },
};
enum { NBUCKETS = countof(bounds) + 1, CELLS_A_LINE = 8 };

/* One number of one series in one slot: a count, or the bits of a gauge's double. All bits zero is 0 either way. */
typedef _Atomic uint64_t cell;

/* The layout is the same in every slot and does not change after metric_open. */
static struct {
    cell *cells; /* nslots blocks of `stride` cells; NULL before metric_open */
    size_t nslots, stride, slot;
    const char **platforms;
    size_t nplatforms;
    struct {
        size_t first, nwords; /* where its series begin in a block */
    } row[NMETRICS];
} all;

static size_t lay_out(void);
static size_t nseries(enum metric m);
static size_t count_words(const char *words);
static cell *cell_of(enum metric m, size_t platform, size_t word);
static bool is_known(enum metric m, size_t at, double *ret);
static double combined(enum metric m, size_t at);
static double value_of(enum kind kind, uint64_t bits);
static void print_row(FILE *to, enum metric m);
static void print_series(FILE *to, const struct row *r, size_t platform, struct span word, double value);
static void print_histogram(FILE *to, enum metric m);
static void print_alias(FILE *to, const struct alias *a);
static void print_sum(FILE *to, const struct alias *a, const struct row *shown);
static bool sum_of(const struct alias *a, size_t platform, size_t word, double *ret);
static void print_quoted(FILE *to, const char *text);

enum status metric_open(const char *const *platforms, size_t nplatforms, size_t nslots, struct err *err)
{
    void *memory;

    assert(!all.cells && nslots > 0);
    all.platforms = calloc(nplatforms + 1, sizeof(*all.platforms)); /* the last is "": no platform */
    if (!all.platforms)
        abort();
    for (size_t i = 0; i < nplatforms; i++)
        if (!(all.platforms[i] = strdup(platforms[i])))
            abort();
    all.platforms[nplatforms] = "";
    all.nplatforms = nplatforms;
    all.nslots = nslots;
    all.stride = lay_out();

    memory = mmap(NULL, nslots * all.stride * sizeof(cell), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return err_set(err, BROKEN, "cannot map %zu slots for metrics: %s", nslots, strerrordesc_np(errno));
    all.cells = memory;
    return OK;
}

void metric_slot(size_t slot)
{
    if (!all.cells)
        return;
    assert(slot < all.nslots);
    all.slot = slot;
    for (enum metric m = 0; m < NMETRICS; m++)
        if (rows[m].kind == GAUGE || rows[m].kind == GAUGE_SUM)
            for (size_t i = 0; i < nseries(m); i++)
                atomic_store_explicit(&all.cells[slot * all.stride + all.row[m].first + i], 0,
                                      memory_order_relaxed);
}

void metric_add(enum metric m, size_t platform, size_t word, uint64_t n)
{
    assert(rows[m].kind == COUNTER);
    if (all.cells)
        atomic_fetch_add_explicit(cell_of(m, platform, word), n, memory_order_relaxed);
}

void metric_set(enum metric m, size_t platform, size_t word, double value)
{
    uint64_t bits;

    assert(rows[m].kind == GAUGE || rows[m].kind == GAUGE_SUM || rows[m].kind == MIRROR);
    if (rows[m].kind == MIRROR)
        bits = (uint64_t)value + 1;
    else
        memcpy(&bits, &value, sizeof(bits));
    if (all.cells)
        atomic_store_explicit(cell_of(m, platform, word), bits, memory_order_relaxed);
}

void metric_observe_us(enum metric m, int64_t us)
{
    size_t bucket = 0;
    cell *first;

    assert(rows[m].kind == HISTOGRAM);
    if (!all.cells)
        return;
    if (us < 0)
        us = 0;
    while (bucket < countof(bounds) && us > bounds[bucket].us)
        bucket++;
    first = &all.cells[all.slot * all.stride + all.row[m].first];
    atomic_fetch_add_explicit(&first[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&first[NBUCKETS], (uint64_t)us, memory_order_relaxed);
}

struct span metric_word(enum metric m, size_t word)
{
    struct span rest = rows[m].words ? span_of(rows[m].words) : SPAN("");

    while (word-- > 0)
        span_cut(&rest, ' ');
    return span_cut(&rest, ' ');
}

size_t metric_find_word(enum metric m, struct span word)
{
    for (size_t i = 0; i < metric_nwords(m); i++)
        if (span_eq(metric_word(m, i), word))
            return i;
    return SIZE_MAX;
}

size_t metric_nwords(enum metric m)
{
    return count_words(rows[m].words);
}

void metric_page(FILE *to)
{
    if (!all.cells)
        return;
    for (enum metric m = 0; m < NMETRICS; m++)
        print_row(to, m);
    for (size_t i = 0; i < countof(aliases); i++)
        print_alias(to, &aliases[i]);
}

/* Returns the cells of one block, rounded up to whole cache lines: two processes never write the same one. */
static size_t lay_out(void)
{
    size_t n = 0;

    for (enum metric m = 0; m < NMETRICS; m++) {
        all.row[m].nwords = count_words(rows[m].words);
        all.row[m].first = n;
        n += nseries(m);
    }
    return (n + CELLS_A_LINE - 1) / CELLS_A_LINE * CELLS_A_LINE;
}

static size_t nseries(enum metric m)
{
    if (rows[m].kind == HISTOGRAM)
        return NBUCKETS + 1; /* and the sum in microseconds */
    return (rows[m].by_platform ? all.nplatforms + 1 : 1) * all.row[m].nwords;
}

static size_t count_words(const char *words)
{
    size_t n = 1;

    for (; words && *words; words++)
        n += *words == ' ';
    return n;
}

static cell *cell_of(enum metric m, size_t platform, size_t word)
{
    if (!rows[m].by_platform)
        platform = 0;
    else if (platform == METRIC_NO_PLATFORM)
        platform = all.nplatforms;
    assert(platform <= all.nplatforms && word < all.row[m].nwords);
    return &all.cells[all.slot * all.stride + all.row[m].first + platform * all.row[m].nwords + word];
}

/* Not: a mirror that shows nothing yet. It has no line, as a 0 that becomes a large number would look like as many events. */
static bool is_known(enum metric m, size_t at, double *ret)
{
    *ret = combined(m, all.row[m].first + at);
    return rows[m].kind != MIRROR || (*ret)-- > 0;
}

static double combined(enum metric m, size_t at)
{
    double sum = 0, largest = 0;

    for (size_t slot = 0; slot < all.nslots; slot++) {
        double value = value_of(
            rows[m].kind, atomic_load_explicit(&all.cells[slot * all.stride + at], memory_order_relaxed));
        sum += value;
        if (value > largest)
            largest = value;
    }
    return rows[m].kind == GAUGE || rows[m].kind == MIRROR ? largest : sum;
}

static double value_of(enum kind kind, uint64_t bits)
{
    double value;

    if (kind != GAUGE && kind != GAUGE_SUM)
        return (double)bits;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void print_row(FILE *to, enum metric m)
{
    static const char *const types[] = {
        [COUNTER] = "counter", [MIRROR] = "counter",      [GAUGE] = "gauge",
        [GAUGE_SUM] = "gauge", [HISTOGRAM] = "histogram", [INFO] = "gauge",
    };

    fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", rows[m].name, rows[m].help, rows[m].name,
            types[rows[m].kind]);
    if (rows[m].kind == HISTOGRAM) {
        print_histogram(to, m);
        return;
    }
    for (size_t at = 0; at < nseries(m);) {
        struct span rest = rows[m].words ? span_of(rows[m].words) : SPAN("");

        for (size_t i = 0; i < all.row[m].nwords; i++, at++) {
            struct span word = span_cut(&rest, ' ');
            double value;

            if (is_known(m, at, &value))
                print_series(to, &rows[m], at / all.row[m].nwords, word, value);
        }
    }
}

static void print_series(FILE *to, const struct row *r, size_t platform, struct span word, double value)
{
    fputs(r->name, to);
    if (r->by_platform) {
        fputs("{platform=\"", to);
        print_quoted(to, all.platforms[platform]);
        fputc('"', to);
    }
    if (r->label)
        fprintf(to, "%s%s=\"%.*s\"", r->by_platform ? "," : "{", r->label, SPAN_ARG(word));
    fprintf(to, "%s %.16g\n", r->by_platform || r->label ? "}" : "", r->kind == INFO ? 1.0 : value);
}

/* The count is the sum of the buckets and not a number of its own: so it can never disagree with them. */
static void print_histogram(FILE *to, enum metric m)
{
    const char *name = rows[m].name;
    double count = 0;

    for (size_t i = 0; i < countof(bounds); i++) {
        count += combined(m, all.row[m].first + i);
        fprintf(to, "%s_bucket{le=\"%s\"} %.16g\n", name, bounds[i].text, count);
    }
    count += combined(m, all.row[m].first + countof(bounds));
    fprintf(to, "%s_bucket{le=\"+Inf\"} %.16g\n", name, count);
    fprintf(to, "%s_sum %.16g\n", name, combined(m, all.row[m].first + NBUCKETS) / (double)SECOND_US);
    fprintf(to, "%s_count %.16g\n", name, count);
}

static void print_alias(FILE *to, const struct alias *a)
{
    const struct row shown = {.name = a->name, .by_platform = a->by_platform, .label = a->label};

    fprintf(to, "# HELP %s The same as %s.\n# TYPE %s %s\n", a->name, rows[a->of].name, a->name, a->type);
    if (!a->label) {
        print_sum(to, a, &shown);
        return;
    }
    for (size_t platform = 0; platform < (a->by_platform ? all.nplatforms + 1 : 1); platform++)
        for (size_t i = 0; i < all.row[a->of].nwords; i++) {
            double value;

            if (sum_of(a, platform, i, &value))
                print_series(to, &shown, platform, metric_word(a->of, i), value);
        }
}

static void print_sum(FILE *to, const struct alias *a, const struct row *shown)
{
    struct span rest = span_of(a->words);
    double sum = 0, value;
    bool any = false;

    while (rest.at) {
        size_t word = metric_find_word(a->of, span_cut(&rest, ' '));

        if (word != SIZE_MAX && sum_of(a, 0, word, &value)) {
            sum += value;
            any = true;
        }
    }
    if (any)
        print_series(to, shown, 0, SPAN(""), sum);
}

/* Of one platform, or of all. False: nothing is known of any. */
static bool sum_of(const struct alias *a, size_t platform, size_t word, double *ret)
{
    size_t nwords = all.row[a->of].nwords;
    bool any = false;

    *ret = 0;
    for (size_t at = word; at < nseries(a->of); at += nwords) {
        double value;

        if ((!a->by_platform || at / nwords == platform) && is_known(a->of, at, &value)) {
            *ret += value;
            any = true;
        }
    }
    return any;
}

static void print_quoted(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' || *text == '"')
            fputc('\\', to);
        if (*text == '\n')
            fputs("\\n", to);
        else
            fputc(*text, to);
    }
}
