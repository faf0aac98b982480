#include "base/now.h"

#include <stdio.h>
#include <time.h>

static int64_t clock_us(clockid_t clock);

int64_t now_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t now_boot_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

void time_text(int64_t wall_us, char *ret, size_t size)
{
    int64_t micro = wall_us % SECOND_US;
    time_t second = (time_t)(wall_us / SECOND_US);
    struct tm t;
    size_t len;

    if (micro < 0) {
        micro += SECOND_US;
        second--;
    }
    gmtime_r(&second, &t);
    len = strftime(ret, size, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(ret + len, size - len, ".%06dZ", (int)micro);
}

static int64_t clock_us(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * SECOND_US + t.tv_nsec / 1000;
}
