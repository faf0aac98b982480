#include "support/test.h"

#include "framing.h"

#include <stdlib.h>

#define POST "POST /a HTTP/1.1\r\nHost: x\r\n"
#define GET  "GET /a HTTP/1.1\r\nHost: x\r\n"

static const struct {
    const char *why, *head;
    bool is_fine, chunked;
} cases[] = {
    {"a plain POST",                  POST "Content-Length: 3\r\n\r\nabc",                                     true,  false},
    {"no body at all",                GET "\r\n",                                                              true,  false},
    {"HTTP/1.0 needs no Host",        "GET /a HTTP/1.0\r\n\r\n",                                               true,  false},
    {"one empty line before it",      "\r\n" GET "\r\n",                                                       true,  false},
    {"chunks",                        POST "Transfer-Encoding: chunked\r\n\r\n",                               true,  true },
    {"names in any letters",          "POST /a HTTP/1.1\r\nHOST: x\r\ncontent-LENGTH: 0\r\n\r\n",              true,  false},
    {"a colon in a value",            "GET /a HTTP/1.1\r\nHost: x:80\r\n\r\n",                                 true,  false},
    {"what follows is not looked at", GET "\r\nGET /b HTTP/9.9\n\n",                                           true,  false},
    {"length and chunks",             POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",          false, true },
    {"chunks and length",             POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",          false, true },
    {"two lengths",                   POST "Content-Length: 3\r\nContent-Length: 30\r\n\r\n",                  false, false},
    {"two lengths, though equal",     POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n",                   false, false},
    {"a list of lengths",             POST "Content-Length: 3, 3\r\n\r\n",                                     false, false},
    {"a signed length",               POST "Content-Length: +3\r\n\r\n",                                       false, false},
    {"a hexadecimal length",          POST "Content-Length: 0x3\r\n\r\n",                                      false, false},
    {"an empty length",               POST "Content-Length:\r\n\r\n",                                          false, false},
    {"a length beyond all numbers",   POST "Content-Length: 9999999999999999999\r\n\r\n",                      false, false},
    {"two encodings",                 POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", false, true },
    {"a list of encodings",           POST "Transfer-Encoding: gzip, chunked\r\n\r\n",                         false, true },
    {"another encoding",              POST "Transfer-Encoding: identity\r\n\r\n",                              false, true },
    {"chunks in HTTP/1.0",            "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",                false, true },
    {"a bare line feed",              "POST /a HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\n",                false, false},
    {"a bare line feed at the end",   GET "\n",                                                                false, false},
    {"a bare carriage return",        "GET /a HTTP/1.1\r\nHost: x\rContent-Length: 3\r\n\r\n",                 false, false},
    {"a folded header",               GET "X: a\r\n b\r\n\r\n",                                                false, false},
    {"a header folded by a tab",      GET "X: a\r\n\tb: c\r\n\r\n",                                            false, false},
    {"a blank before the colon",      POST "Content-Length : 3\r\n\r\n",                                       false, false},
    {"a header without a colon",      POST "Content-Length 3\r\n\r\n",                                         false, false},
    {"a header without a name",       GET ": 3\r\n\r\n",                                                       false, false},
    {"no Host",                       "GET /a HTTP/1.1\r\n\r\n",                                               false, false},
    {"two Hosts",                     GET "Host: y\r\n\r\n",                                                   false, false},
    {"another version",               "GET /a HTTP/1.2\r\nHost: x\r\n\r\n",                                    false, false},
    {"a blank in the target",         "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",                                  false, false},
    {"a whole URL as the target",     "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",                            false, false},
    {"a method in small letters",     "get /a HTTP/1.1\r\nHost: x\r\n\r\n",                                    false, false},
    {"a method that is no token",     "GE(T /a HTTP/1.1\r\nHost: x\r\n\r\n",                                   false, false},
    {"a body that was left over",     "{}GET /a HTTP/1.1\r\nHost: x\r\n\r\n",                                  false, false},
    {"no method",                     " /a HTTP/1.1\r\nHost: x\r\n\r\n",                                       false, false},
    {"a method with a dash",          "VERSION-CONTROL /a HTTP/1.1\r\nHost: x\r\n\r\n",                        true,  false},
    {"a fragment in the target",      "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",                                  false, false},
    {"a tab in the target",           "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n",                                 false, false},
    {"UTF-8 in the target",           "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",                             false, false},
    {"all that a path may hold",      "GET /!$&'()*+,;=:@-._~%20?a=/?[] HTTP/1.1\r\nHost: x\r\n\r\n",          true,  false},
    {"an empty Host",                 "GET /a HTTP/1.1\r\nHost: \r\n\r\n",                                     false, false},
    {"a list of Hosts",               "GET /a HTTP/1.1\r\nHost: x, y\r\n\r\n",                                 false, false},
    {"a Host with a path",            "GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n",                                  false, false},
    {"a Host with a user",            "GET /a HTTP/1.1\r\nHost: y@x\r\n\r\n",                                  false, false},
    {"a Host of IPv6",                "GET /a HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",                     true,  false},
    {"a Host of a container",         "GET /a HTTP/1.1\r\nHost: Web_1.example:8080\r\n\r\n",                   true,  false},
    {"an underscore in the length",   POST "Content_Length: 3\r\n\r\n",                                        false, false},
    {"underscored chunks",            POST "Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\n",          false, false},
    {"no target",                     "GET  HTTP/1.1\r\nHost: x\r\n\r\n",                                      false, false},
};

static void test_what_could_be_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {0};
        bool chunked;
        enum status want = cases[i].is_fine ? OK : INVALID;
        if (framing_check(span_of(cases[i].head), &chunked, &err) != want || chunked != cases[i].chunked)
            fail_msg("%s: %s", cases[i].why, err.text);
        if (want)
            assert_string_equal(err.cause, "malformed_framing");
    }
}

static void test_a_head_over_16_kib_is_told_apart(void **state)
{
    static char head[FRAMING_HEAD_MAX + 100];
    const char *start = "GET /a HTTP/1.1\r\nHost: x\r\nX: ";
    struct err err = {0};
    bool chunked;

    (void)state;
    memset(head, 'a', sizeof(head));
    memcpy(head, start, strlen(start));
    memcpy(head + FRAMING_HEAD_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(framing_check((struct span){head, FRAMING_HEAD_MAX}, &chunked, &err), OK);
    memset(head + FRAMING_HEAD_MAX - 4, 'a', 4);
    memcpy(head + FRAMING_HEAD_MAX - 3, "\r\n\r\n", 4);
    assert_int_equal(framing_check((struct span){head, FRAMING_HEAD_MAX + 1}, &chunked, &err), INVALID);
    assert_string_equal(err.cause, "head_too_large");
}

/* Whatever the bytes, nothing is read beyond them: the copy ends where they end, and the sanitizer watches. */
static void test_a_cut_head_is_never_read_past_its_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++)
        for (size_t len = 1; len <= strlen(cases[i].head); len++) {
            char *copy = malloc(len);
            struct err err;
            bool chunked;
            enum status ignored;
            memcpy(copy, cases[i].head, len);
            ignored = framing_check((struct span){copy, len}, &chunked, &err);
            (void)ignored;
            free(copy);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(test_a_head_over_16_kib_is_told_apart),
        cmocka_unit_test(test_a_cut_head_is_never_read_past_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
