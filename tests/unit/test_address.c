#include "support/test.h"

#include "fetch/address.h"

#include <arpa/inet.h>

static bool may(const char *text, const struct network *allowed, size_t nallowed)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_may_be_asked((const struct sockaddr *)&v4, allowed, nallowed);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return address_may_be_asked((const struct sockaddr *)&v6, allowed, nallowed);
}

/* The first and last address of each block that is not public, and its neighbours outside, which are. */
static void edges(void **state)
{
    static const struct {
        const char *below, *first, *last, *above; /* NULL: not public either, or none */
    } blocks[] = {
        {NULL,                                      "0.0.0.0",       "0.255.255.255",                           "1.0.0.0"      },
        {"9.255.255.255",                           "10.0.0.0",      "10.255.255.255",                          "11.0.0.0"     },
        {"100.63.255.255",                          "100.64.0.0",    "100.127.255.255",                         "100.128.0.0"  },
        {"126.255.255.255",                         "127.0.0.0",     "127.255.255.255",                         "128.0.0.0"    },
        {"168.63.129.15",                           "168.63.129.16", "168.63.129.16",                           "168.63.129.17"},
        {"169.253.255.255",                         "169.254.0.0",   "169.254.255.255",                         "169.255.0.0"  },
        {"172.15.255.255",                          "172.16.0.0",    "172.31.255.255",                          "172.32.0.0"   },
        {"191.255.255.255",                         "192.0.0.0",     "192.0.0.255",                             "192.0.1.0"    },
        {"192.0.1.255",                             "192.0.2.0",     "192.0.2.255",                             "192.0.3.0"    },
        {"192.88.98.255",                           "192.88.99.0",   "192.88.99.255",                           "192.88.100.0" },
        {"192.167.255.255",                         "192.168.0.0",   "192.168.255.255",                         "192.169.0.0"  },
        {"198.17.255.255",                          "198.18.0.0",    "198.19.255.255",                          "198.20.0.0"   },
        {"198.51.99.255",                           "198.51.100.0",  "198.51.100.255",                          "198.51.101.0" },
        {"203.0.112.255",                           "203.0.113.0",   "203.0.113.255",                           "203.0.114.0"  },
        {"223.255.255.255",                         "224.0.0.0",     "255.255.255.255",                         NULL           },
        {NULL,                                      "::",            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL           },
        {NULL,                                      "2001::",        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",  "2001:200::"   },
        {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",  "2001:db8::",    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:db9::"                                                                                                          },
        {"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::",        "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "2003::"                                                                                                              },
        {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::",        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
         "3fff:1000::"                                                                                                         },
        {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::",        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         NULL                                                                                                                  },
    };

    (void)state;
    for (size_t i = 0; i < countof(blocks); i++) {
        print_message("%s\n", blocks[i].first);
        assert_false(may(blocks[i].first, NULL, 0));
        assert_false(may(blocks[i].last, NULL, 0));
        assert_true(!blocks[i].below || may(blocks[i].below, NULL, 0));
        assert_true(!blocks[i].above || may(blocks[i].above, NULL, 0));
    }
}

static void what_is_named(void **state)
{
    struct network allowed[2];

    (void)state;
    assert_true(network_parse(SPAN("10.1.0.0/16"), &allowed[0]) &&
                network_parse(SPAN("fd00:1::/32"), &allowed[1]));
    assert_true(may("10.1.2.3", allowed, 2));
    assert_true(may("::ffff:10.1.2.3", allowed, 2));
    assert_true(may("fd00:1::5", allowed, 2));
    assert_false(may("10.2.0.1", allowed, 2)); /* what is named, and nothing beside it */
    assert_false(may("127.0.0.1", allowed, 2));
    assert_false(may("fd00:2::5", allowed, 2));
    assert_false(may("fd00:1::5", allowed, 1));
    assert_true(may("8.8.8.8", allowed, 2));
}

static void other_families(void **state)
{
    const struct sockaddr local = {.sa_family = AF_UNIX};

    (void)state;
    assert_false(address_may_be_asked(&local, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges),
        cmocka_unit_test(what_is_named),
        cmocka_unit_test(other_families),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
