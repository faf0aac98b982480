#include "support/test.h"

#include "base/network.h"

#include <arpa/inet.h>

static const struct {
    const char *text;
    bool is_fine;
    const char *in, *out; /* an address that it holds, and one that it does not; as IPv6 */
} cases[] = {
    {"192.0.2.7",                                         true,  "::ffff:192.0.2.7",      "::ffff:192.0.2.6" },
    {"10.0.0.0/8",                                        true,  "::ffff:10.255.255.255", "::ffff:11.0.0.0"  },
    {"10.0.0.0/9",                                        true,  "::ffff:10.127.0.1",     "::ffff:10.128.0.1"},
    {"0.0.0.0/0",                                         true,  "::ffff:203.0.113.9",    "2001:db8::1"      },
    {"192.0.2.7/32",                                      true,  "::ffff:192.0.2.7",      "::ffff:192.0.2.8" },
    {"::1",                                               true,  "::1",                   "::2"              },
    {"2001:db8::/33",                                     true,  "2001:db8:7fff::1",      "2001:db8:8000::1" },
    {"::/0",                                              true,  "2001:db8::1",           NULL               },
    {"::ffff:10.0.0.0/104",                               true,  "::ffff:10.1.2.3",       "::ffff:11.1.2.3"  },
    {"10.0.0.1/8",                                        false, NULL,                    NULL               },
    {"2001:db8::1/64",                                    false, NULL,                    NULL               },
    {"10.0.0.0/33",                                       false, NULL,                    NULL               },
    {"::/129",                                            false, NULL,                    NULL               },
    {"10.0.0.0/",                                         false, NULL,                    NULL               },
    {"10.0.0.0/+8",                                       false, NULL,                    NULL               },
    {"10.0.0",                                            false, NULL,                    NULL               },
    {"/8",                                                false, NULL,                    NULL               },
    {"",                                                  false, NULL,                    NULL               },
    {"proxy.example.com",                                 false, NULL,                    NULL               },
    {"[::1]",                                             false, NULL,                    NULL               },
    {"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa", false, NULL,                    NULL               },
};

static bool holds(const struct network *n, const char *text)
{
    uint8_t address[NETWORK_ADDRESS_BYTES];

    assert_int_equal(inet_pton(AF_INET6, text, address), 1);
    return network_holds(n, address);
}

static void test_addresses_and_blocks_hold_what_they_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct network n;
        if (network_parse(span_of(cases[i].text), &n) != cases[i].is_fine)
            fail_msg("%s", cases[i].text);
        if (cases[i].in && !holds(&n, cases[i].in))
            fail_msg("%s does not hold %s", cases[i].text, cases[i].in);
        if (cases[i].out && holds(&n, cases[i].out))
            fail_msg("%s holds %s", cases[i].text, cases[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_and_blocks_hold_what_they_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
