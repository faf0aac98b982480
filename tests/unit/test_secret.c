#include "support/test.h"

#include "base/arena.h"
#include "domain/platform.h"

#define TEXT_KEYS "{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, signed: '{body}'}"
#define HEX_KEYS                                                                                             \
    "{header: x-s, algorithm: hmac-sha256, layout: single, key: hex, encoding: hex, signed: '{body}'}"
#define BASE64_KEYS                                                                                          \
    "{header: x-s, algorithm: hmac-sha256, layout: single, key: base64, key_prefix: whsec_, encoding: hex, " \
    "signed: '{body}'}"
#define PUBLIC_KEYS                                                                                          \
    "{header: x-s, algorithm: ed25519, layout: single, key: hex, encoding: hex, signed: '{body}'}"
#define TWO_KINDS                                                                                            \
    "{header: x-s, algorithm: hmac-sha256, layout: list, prefix: 'v1,', key: base64, key_prefix: whsec_, "   \
    "also: [{prefix: 'v1a,', algorithm: ed25519, key_prefix: whpk_}], encoding: base64, signed: '{body}'}"
#define CREDENTIALS "{header: x-s, algorithm: credential, layout: single, encoding: base64, user: admin}"
#define LIMITS                                                                                               \
    "secret 1: behind the secret and one blank may stand not-before= and expires=, each once and with a "    \
    "time "                                                                                                  \
    "such as 2027-01-31T12:00:00Z"
#define GOOD_POINT  "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define SMALL_POINT "0100000000000000000000000000000000000000000000000000000000000000"
#define OFF_CURVE   "0200000000000000000000000000000000000000000000000000000000000000"

static enum status add(const char *verify, const char *lines, struct err *err)
{
    struct arena *a = arena_open(1024);
    const char *path = "p.yaml";
    const struct span text = span_of(arena_print(
        a, "name: p\nverify: %s\npayloads: [{when: /id, post: /id}]\nsuccess: [done]\nfailure: [broken]\n",
        verify));
    struct platforms *set = platforms_load_texts(&path, &text, 1, err);
    enum status status;

    if (!set)
        fail_msg("%s", err->text);
    status = platforms_add_source(set, SPAN("p"), SPAN("default"), span_of(lines), err);
    platforms_close(set);
    arena_close(a);
    return status;
}

static void test_a_secret_is_what_its_scheme_takes_for_a_key(void **state)
{
    static const struct {
        const char *why, *verify, *lines, *wrong; /* wrong NULL: it is one */
    } cases[] = {
        {"any text without a blank",            TEXT_KEYS,   "a-secret=with\"quotes\"#and-more",                                    NULL                                      },
        {"a comment is no secret",              TEXT_KEYS,   "# of the app\n#\ns\n",                                                NULL                                      },
        {"comments alone",                      TEXT_KEYS,   "# of the app\n",                                                      "there is no secret, one a line is wanted"},
        {"what may be meant as a comment",      TEXT_KEYS,   "#comment",
         "secret 1: a comment is \"#\" and a blank; a secret does not begin with \"#\""                                                                                       },
        {"a blank before",                      TEXT_KEYS,   " s",                                                                  "secret 1: the line begins with a blank"  },
        {"a blank behind",                      TEXT_KEYS,   "s ",                                                                  LIMITS                                    },
        {"a blank within",                      TEXT_KEYS,   "a secret",                                                            LIMITS                                    },
        {"two blanks",                          TEXT_KEYS,   "s  expires=2026-01-01T00:00:00Z",                                     LIMITS                                    },
        {"a tab",                               TEXT_KEYS,   "s\texpires=2026-01-01T00:00:00Z",                                     "secret 1: there is a tab in the line"    },
        {"a limit misspelt",                    TEXT_KEYS,   "s not-befor=2026-01-01T00:00:00Z",                                    LIMITS                                    },
        {"lines of a DOS file, and blank ones", TEXT_KEYS,   "one\r\n\r\ntwo\r\n",                                                  NULL                                      },
        {"no secret at all",                    TEXT_KEYS,   "\n\n",                                                                "there is no secret, one a line is wanted"},
        {"eight",                               TEXT_KEYS,   "1\n2\n3\n4\n5\n6\n7\n8",                                              NULL                                      },
        {"nine",                                TEXT_KEYS,   "1\n2\n3\n4\n5\n6\n7\n8\n9",                                           "more than 8 secrets"                     },
        {"hex digits of either case",           HEX_KEYS,    "00ffAb",                                                              NULL                                      },
        {"an odd digit",                        HEX_KEYS,    "00f",                                                                 "secret 1: not hex digits, two a byte"    },
        {"no digit",                            HEX_KEYS,    "ab\n0x00",                                                            "secret 2: not hex digits, two a byte"    },
        {"base64 behind its prefix",            BASE64_KEYS, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",                              NULL                                      },
        {"base64 without it",                   BASE64_KEYS, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",                                    NULL                                      },
        {"the prefix alone",                    BASE64_KEYS, "whsec_",                                                              "secret 1: the key is empty"              },
        {"base64 of the URL kind",              BASE64_KEYS, "whsec_-_-_",                                                          "secret 1: not base64"                    },
        {"a public key",                        PUBLIC_KEYS, GOOD_POINT,                                                            NULL                                      },
        {"a public key cut short",              PUBLIC_KEYS, "d75a",
         "secret 1: an Ed25519 public key has 32 bytes, this one 2"                                                                                                           },
        {"a small-order point",                 PUBLIC_KEYS, SMALL_POINT,
         "secret 1: no Ed25519 public key: not a point of the curve's main group"                                                                                             },
        {"no point at all",                     PUBLIC_KEYS, OFF_CURVE,
         "secret 1: no Ed25519 public key: not a point of the curve's main group"                                                                                             },
        {"one of two kinds",                    TWO_KINDS,
         "whsec_c2VjcmV0\nwhpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",                                                       NULL                                      },
        {"who knows of which kind",             TWO_KINDS,   "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
         "secret 1: write it with its prefix: the platform has keys of several kinds, and a public one taken "
         "for a "
         "secret would let anybody sign"                                                                                                                                      },
        {"a password",                          CREDENTIALS, "pass:word",                                                           NULL                                      },
        {"limits",                              TEXT_KEYS,   "s not-before=2026-01-01T00:00:00Z expires=2026-02-01T00:00:00+01:00", NULL                                      },
        {"a limit that is no time",             TEXT_KEYS,   "s expires=soon",                                                      LIMITS                                    },
        {"a limit given twice",                 TEXT_KEYS,   "s expires=2026-01-01T00:00:00Z expires=2026-01-02T00:00:00Z",
         LIMITS                                                                                                                                                               },
        {"limits the wrong way round",          TEXT_KEYS,
         "s not-before=2026-02-01T00:00:00Z expires=2026-01-01T00:00:00Z",                                                          "secret 1: expires before its not-before" },
        {"only limits",                         TEXT_KEYS,   " expires=2026-01-01T00:00:00Z",                                       "secret 1: the line begins with a blank"  },
        {"a word that only looks like one",     TEXT_KEYS,   "s until=2026",                                                        LIMITS                                    },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {.text = ""};
        enum status status = add(cases[i].verify, cases[i].lines, &err);
        const char *wrong =
            strstr(err.text, "of p: ") ? strstr(err.text, "of p: ") + strlen("of p: ") : err.text;
        if (status != (cases[i].wrong ? INVALID : OK) ||
            (cases[i].wrong && strcmp(wrong, cases[i].wrong) != 0))
            fail_msg("%s: %s", cases[i].why, err.text);
    }
}

/* An error may be logged; the secret may not. */
static void test_no_error_shows_the_secret(void **state)
{
    static const char *const lines[] = {"hunter2", "zz", "hunter2 expires=hunter2"};

    (void)state;
    for (size_t i = 0; i < countof(lines); i++) {
        struct err err = {.text = ""};
        assert_int_equal(add(HEX_KEYS, lines[i], &err), INVALID);
        assert_null(strstr(err.text, "hunter2"));
        assert_null(strstr(err.text, "zz"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_secret_is_what_its_scheme_takes_for_a_key),
        cmocka_unit_test(test_no_error_shows_the_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
