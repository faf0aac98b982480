#include "progress.h"

#include "base/now.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_EVERY_US = 10 * SECOND_US, BAR_EVERY_US = SECOND_US / 10, BAR_CELLS = 30 };

void progress_begin(struct progress *p, int64_t boot_us)
{
    *p = (struct progress){
        .terminal = isatty(STDERR_FILENO), .began_boot_us = boot_us, .told_boot_us = boot_us};
}

bool progress_due(struct progress *p)
{
    int64_t now_us = now_boot_us();

    if (now_us - p->told_boot_us < (p->terminal ? BAR_EVERY_US : LINE_EVERY_US))
        return false;
    p->told_boot_us = now_us;
    return true;
}

double progress_rate(const struct progress *p, int64_t done)
{
    return (double)done * (double)SECOND_US / (double)(p->told_boot_us - p->began_boot_us);
}

void progress_bar(const struct progress *p, int64_t done, int64_t of)
{
    double share = of > done ? (double)done / (double)of : 1;
    int full = (int)(share * BAR_CELLS);

    fprintf(stderr, "\r[%.*s%*s] %3.0f %%  %" PRId64 " rows, %.0f/s ", full, "##############################",
            BAR_CELLS - full, "", share * 100, done, progress_rate(p, done));
}

void progress_count(const char *of_what, int64_t done)
{
    fprintf(stderr, "\r\033[K%s: %" PRId64 " ", of_what, done);
}

void progress_end(const struct progress *p)
{
    if (p->terminal && p->told_boot_us != p->began_boot_us)
        fputs("\r\033[K", stderr);
}
