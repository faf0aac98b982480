#include "support/test.h"

#include "peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

enum { MOST = 3, ROOM = 64 };

union any {
    struct sockaddr plain;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static union any address(const char *text)
{
    union any a = {.in = {.sin_family = AF_INET}};

    if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1)
        return a;
    a = (union any){.in6 = {.sin6_family = AF_INET6}};
    if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) != 1)
        a = (union any){.un = {.sun_family = AF_UNIX}};
    return a;
}

static bool enters(struct peers *p, const char *text, uint64_t *ret_ticket)
{
    union any from = address(text);

    return peers_enter(p, &from.plain, ret_ticket);
}

/* What is counted as one: the second address, when the first has all it may. */
static const struct {
    const char *why, *first, *second;
    bool lets_second_in, lets_first_in;
} cases[] = {
    {"an address by itself",                        "192.0.2.1",        "192.0.2.1",        false, false},
    {"another address",                             "192.0.2.1",        "192.0.2.2",        true,  false},
    {"two of a /64",                                "2001:db8::1",      "2001:db8::ffff:2", false, false},
    {"two of neighbouring /64",                     "2001:db8:0:1::1",  "2001:db8:0:2::1",  true,  false},
    {"IPv4 on an IPv6 socket",                      "::ffff:192.0.2.1", "192.0.2.1",        false, false},
    {"the loopback of IPv6, whose first half is 0", "::1",              "::1",              false, false},
    {"a trusted address",                           "10.1.2.3",         "10.1.2.3",         true,  true },
    {"a trusted address on an IPv6 socket",         "::ffff:10.1.2.3",  "10.1.2.3",         true,  true },
    {"a unix socket",                               "unix",             "unix",             true,  true },
};

static void test_who_counts_as_one(void **state)
{
    struct network trusted;

    (void)state;
    assert_true(network_parse(SPAN("10.0.0.0/8"), &trusted));
    for (size_t i = 0; i < countof(cases); i++) {
        struct peers *p = peers_open(MOST, &trusted, 1, ROOM);
        uint64_t ticket, ignored;
        for (unsigned k = 0; k < MOST; k++)
            assert_true(enters(p, cases[i].first, &ticket));
        if (enters(p, cases[i].first, &ignored) != cases[i].lets_first_in ||
            enters(p, cases[i].second, &ignored) != cases[i].lets_second_in)
            fail_msg("%s", cases[i].why);
        peers_leave(p, ticket);
        assert_true(enters(p, cases[i].first, &ignored));
        peers_close(p);
    }
}

/* Also where it is exempt from the limit. */
static void test_what_an_address_is_counted_by(void **state)
{
    static const struct {
        const char *one, *other;
        bool same;
    } pairs[] = {
        {"192.0.2.1",   "192.0.2.1",        true },
        {"192.0.2.1",   "192.0.2.2",        false},
        {"192.0.2.1",   "::ffff:192.0.2.1", true },
        {"2001:db8::1", "2001:db8::2",      true },
        {"2001:db8::1", "2001:db8:1::1",    false},
        {"::1",         "unix",             false},
    };

    (void)state;
    for (size_t i = 0; i < countof(pairs); i++) {
        union any one = address(pairs[i].one), other = address(pairs[i].other);

        if ((peers_address(&one.plain) == peers_address(&other.plain)) != pairs[i].same)
            fail_msg("%s and %s", pairs[i].one, pairs[i].other);
    }
}

static void test_0_is_no_limit(void **state)
{
    struct peers *p = peers_open(0, NULL, 0, ROOM);
    uint64_t ticket;

    (void)state;
    for (unsigned k = 0; k < 3 * ROOM; k++)
        assert_true(enters(p, "192.0.2.1", &ticket));
    peers_close(p);
}

/* Against plain counters: comings and goings of many addresses in a table that is as full as it gets. */
static void test_counts_are_right_whoever_comes_and_goes(void **state)
{
    enum { ADDRESSES = 40, STEPS = 200000 };
    struct peers *p = peers_open(MOST, NULL, 0, ROOM);
    unsigned counts[ADDRESSES] = {0}, all = 0, random = 1;
    uint64_t tickets[ADDRESSES] = {0};

    (void)state;
    for (unsigned i = 0; i < STEPS; i++) {
        char text[32];
        unsigned who;
        random = random * 1664525 + 1013904223;
        who = (random >> 16) % ADDRESSES;
        snprintf(text, sizeof(text), "192.0.2.%u", who);
        if (random >> 31 && counts[who] > 0) {
            peers_leave(p, tickets[who]);
            counts[who]--;
            all--;
        } else if (all < ROOM) {
            bool let_in = enters(p, text, &tickets[who]);
            assert_int_equal(let_in, counts[who] < MOST);
            counts[who] += let_in;
            all += let_in;
        }
    }
    peers_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_counts_as_one),
        cmocka_unit_test(test_what_an_address_is_counted_by),
        cmocka_unit_test(test_0_is_no_limit),
        cmocka_unit_test(test_counts_are_right_whoever_comes_and_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
