/* doc against jansson, the oracle: what one takes the other takes, and every value is the same. Where they are known
 * to differ, the text is changed in just that place and asked again; limits are counted in the oracle's own tree. */
#include "support/test.h"

#include "base/doc.h"
#include "base/file.h"
#include "domain/extract.h"
#include "domain/platform.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { TEXT_BYTES = 1 << 14, FILE_BYTES = 1 << 16, PATH_BYTES = 1024, BODIES_MAX = 1000, ROUNDS = 10000 };

/* With its length, so that a case may hold a NUL. */
#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        (literal), sizeof(literal) - 1                                                                       \
    }

/* clang-format off */
static const struct {
    const char *what;
    struct span text;
} cases[] = {
    {"a plain integer", TEXT("[123]")},
    {"zero", TEXT("[0]")},
    {"minus zero", TEXT("[-0]")},
    {"minus zero with an exponent", TEXT("[-0e1]")},
    {"minus zero with a fraction", TEXT("[-0.0]")},
    {"an exponent with plus", TEXT("[1e+2]")},
    {"an exponent with minus", TEXT("[1e-2]")},
    {"an exponent of zeros", TEXT("[1e00]")},
    {"a capital exponent", TEXT("[1E22]")},
    {"a fraction and an exponent", TEXT("[123.456e78]")},
    {"a fraction near zero", TEXT("[-0.000000000000000000000000000000000000000000000001]")},
    {"an exponent of nothing, a zero", TEXT("[0e1]")},
    {"a zero's exponent with plus", TEXT("[0e+1]")},
    {"too small for a double", TEXT("[1e-400]")},
    {"the largest of 64 bits", TEXT("[9223372036854775807]")},
    {"the smallest of 64 bits", TEXT("[-9223372036854775808]")},
    {"one more than 64 bits hold", TEXT("[9223372036854775808]")},
    {"one less than 64 bits hold", TEXT("[-9223372036854775809]")},
    {"an integer of thirty digits", TEXT("[100000000000000000000000000000]")},
    {"a negative one of thirty digits", TEXT("[-100000000000000000000000000000]")},
    {"larger than a double", TEXT("[1e309]")},
    {"less than minus a double", TEXT("[-1e309]")},
    {"an exponent larger than an integer", TEXT("[0.4e00669999999999999999999999999999999999999999999999999999999999]")},
    {"a huge negative exponent", TEXT("[123e-10000000]")},
    {"the largest double", TEXT("[1.7976931348623157e308]")},
    {"a double in many digits", TEXT("[3.14159265358979323846264338327950288419716939937510]")},
    {"a large one in a small list of good ones", TEXT("[1,2,1e999,3]")},
    {"a bare number", TEXT("42")},
    {"a number and a blank", TEXT("42 ")},
    {"a leading zero", TEXT("[01]")},
    {"two zeros", TEXT("[00]")},
    {"minus and a leading zero", TEXT("[-012]")},
    {"a bare minus", TEXT("[-]")},
    {"a minus and a letter", TEXT("[-x]")},
    {"two minuses", TEXT("[--1]")},
    {"a plus", TEXT("[+1]")},
    {"plus and minus", TEXT("[1+2]")},
    {"a point last", TEXT("[1.]")},
    {"a point and an exponent", TEXT("[2.e3]")},
    {"a point first", TEXT("[.5]")},
    {"minus and a point", TEXT("[-.5]")},
    {"two points", TEXT("[1.2.3]")},
    {"an exponent without digits", TEXT("[0e]")},
    {"a signed exponent without digits", TEXT("[1.0e+]")},
    {"an exponent of two signs", TEXT("[1e+-2]")},
    {"a fraction in the exponent", TEXT("[1e2.5]")},
    {"hexadecimal", TEXT("[0x42]")},
    {"a letter behind", TEXT("[1a]")},
    {"NaN", TEXT("[NaN]")},
    {"Infinity", TEXT("[Infinity]")},
    {"minus Infinity", TEXT("[-Infinity]")},
    {"digits of another script", TEXT("[\xef\xbc\x91]")},
    {"a blank within", TEXT("[1 000]")},
    {"a comma within", TEXT("[1,000]")},
    {"an underscore within", TEXT("[1_000]")},
    {"a minus and a blank", TEXT("[- 1]")},
    {"an empty string", TEXT("[\"\"]")},
    {"a blank", TEXT("\" \"")},
    {"every short escape", TEXT("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]")},
    {"an escaped letter", TEXT("[\"\\u0061\"]")},
    {"hex digits of both cases", TEXT("[\"\\uABcd\\u0aF0\"]")},
    {"a surrogate pair", TEXT("[\"\\uD801\\udc37\"]")},
    {"two pairs", TEXT("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]")},
    {"the last pair", TEXT("[\"\\uDBFF\\uDFFE\"]")},
    {"an escaped backslash before a u", TEXT("[\"\\\\u0000\"]")},
    {"an escaped NUL", TEXT("[\"\\u0000\"]")},
    {"an escaped NUL among others", TEXT("[\"a\\u0000b\"]")},
    {"an escaped control byte", TEXT("[\"\\u0012\"]")},
    {"an escaped DEL", TEXT("[\"\\u007F\"]")},
    {"a DEL", TEXT("[\"\x7f\"]")},
    {"a non-character", TEXT("[\"\xef\xbf\xbf\"]")},
    {"an escaped non-character", TEXT("[\"\\uFFFE\"]")},
    {"line separators, which JavaScript minds", TEXT("[\"\xe2\x80\xa8\xe2\x80\xa9\"]")},
    {"a byte order mark inside", TEXT("[\"\xef\xbb\xbf\"]")},
    {"a comment inside", TEXT("[\"a/*b*/c/*d//e\"]")},
    {"brackets inside", TEXT("[\"[{]},:\"]")},
    {"escapes at both ends of eight bytes", TEXT("[\"\\n234567\\n\\n234567\\n\"]")},
    {"a quote as the eighth byte", TEXT("[\"1234567\"]")},
    {"a quote as the ninth byte", TEXT("[\"12345678\"]")},
    {"two bytes across the eighth", TEXT("[\"1234567\xc3\xa9\"]")},
    {"four bytes across the eighth", TEXT("[\"123456\xf0\x9f\x98\x80\"]")},
    {"a lone high surrogate", TEXT("[\"\\ud800\"]")},
    {"a lone low surrogate", TEXT("[\"\\uDC00\"]")},
    {"a pair turned round", TEXT("[\"\\udc00\\ud800\"]")},
    {"two highs", TEXT("[\"\\ud800\\ud800\"]")},
    {"a high, then a pair", TEXT("[\"\\ud800\\ud83d\\ude00\"]")},
    {"a high, then a letter", TEXT("[\"\\ud800a\"]")},
    {"a high, then another escape", TEXT("[\"\\ud800\\n\"]")},
    {"a high, then an escaped letter", TEXT("[\"\\ud800\\u0061\"]")},
    {"a high, then a cut escape", TEXT("[\"\\ud800\\u\"]")},
    {"a high, then a short escape", TEXT("[\"\\ud800\\u1x\"]")},
    {"a high, then a backslash", TEXT("[\"\\ud800\\\"]")},
    {"a lone surrogate and a comma too many", TEXT("[\"\\ud800\",]")},
    {"an unknown escape", TEXT("[\"\\a\"]")},
    {"a hex escape of another language", TEXT("[\"\\x00\"]")},
    {"an octal escape", TEXT("[\"\\0\"]")},
    {"a capital U", TEXT("[\"\\U0061\"]")},
    {"an escaped quote of the other kind", TEXT("[\"\\'\"]")},
    {"an escape of three digits", TEXT("[\"\\u00A\"]")},
    {"an escape of no digits", TEXT("[\"\\u\"]")},
    {"a wrong digit", TEXT("[\"\\u00G0\"]")},
    {"a sign in the digits", TEXT("[\"\\u+061\"]")},
    {"blanks in the digits", TEXT("[\"\\u 061\"]")},
    {"an escaped line end", TEXT("[\"\\\x0a\"]")},
    {"an escaped tab byte", TEXT("[\"\\\x09\"]")},
    {"an escaped character beyond ASCII", TEXT("[\"\\\xc3\xa5\"]")},
    {"a cut escape at the end", TEXT("[\"\\")},
    {"a cut unicode escape at the end", TEXT("[\"\\u00")},
    {"a string without end", TEXT("[\"x")},
    {"a string that ends escaped", TEXT("[\"x\\\"]")},
    {"a line end", TEXT("[\"a\x0a" "b\"]")},
    {"a NUL byte", TEXT("[\"a\x00" "b\"]")},
    {"a tab", TEXT("[\"\x09\"]")},
    {"the last control byte", TEXT("[\"\x1f\"]")},
    {"single quotes", TEXT("['x']")},
    {"no quotes", TEXT("[x]")},
    {"a quote too many", TEXT("[\"x\"\"]")},
    {"two, three and four bytes", TEXT("[\"\xc3\xa9\xe3\x81\x82\xf0\x9d\x84\x9e\"]")},
    {"the first of two bytes", TEXT("[\"\xc2\x80\"]")},
    {"the last of two", TEXT("[\"\xdf\xbf\"]")},
    {"the first of three", TEXT("[\"\xe0\xa0\x80\"]")},
    {"the last before the surrogates", TEXT("[\"\xed\x9f\xbf\"]")},
    {"the first behind them", TEXT("[\"\xee\x80\x80\"]")},
    {"the first of four", TEXT("[\"\xf0\x90\x80\x80\"]")},
    {"the last of all", TEXT("[\"\xf4\x8f\xbf\xbf\"]")},
    {"a continuation alone", TEXT("[\"\x81\"]")},
    {"an overlong NUL", TEXT("[\"\xc0\x80\"]")},
    {"an overlong letter", TEXT("[\"\xc1\xbf\"]")},
    {"an overlong three", TEXT("[\"\xe0\x9f\xbf\"]")},
    {"an overlong four", TEXT("[\"\xf0\x8f\xbf\xbf\"]")},
    {"a surrogate", TEXT("[\"\xed\xa0\x80\"]")},
    {"the last surrogate", TEXT("[\"\xed\xbf\xbf\"]")},
    {"a surrogate pair in six bytes", TEXT("[\"\xed\xa0\xbd\xed\xb8\x80\"]")},
    {"one beyond the last", TEXT("[\"\xf4\x90\x80\x80\"]")},
    {"a five-byte form", TEXT("[\"\xf8\x88\x80\x80\x80\"]")},
    {"a six-byte form", TEXT("[\"\xfc\x84\x80\x80\x80\x80\"]")},
    {"FE", TEXT("[\"\xfe\"]")},
    {"FF", TEXT("[\"\xff\"]")},
    {"Latin-1", TEXT("[\"\xe9\"]")},
    {"two bytes cut by a quote", TEXT("[\"\xc3\"]")},
    {"three bytes cut by a quote", TEXT("[\"\xe2\x82\"]")},
    {"four bytes cut by a letter", TEXT("[\"\xf0\x9f\x98x\"]")},
    {"cut by the end", TEXT("[\"\xf0\x9f")},
    {"bad bytes in a name", TEXT("{\"\xff\":1}")},
    {"good bytes in a name", TEXT("{\"\xc3\xa9\":1}")},
    {"UTF-8 outside a string", TEXT("[\xc3\xa9]")},
    {"a byte order mark", TEXT("\xef\xbb\xbf[]")},
    {"a mark alone", TEXT("\xef\xbb\xbf")},
    {"UTF-16 with a mark", TEXT("\xff\xfe[\x00]\x00")},
    {"UTF-16 without", TEXT("[\x00]\x00")},
    {"an escape with a bad byte in it", TEXT("[\"\\u00\xe9\"]")},
    {"an empty object", TEXT("{}")},
    {"an empty array", TEXT("[]")},
    {"nothing", TEXT("")},
    {"blanks alone", TEXT(" \x09\x0d\x0a")},
    {"a NUL byte alone", TEXT("\x00")},
    {"null", TEXT("null")},
    {"true", TEXT("true")},
    {"false", TEXT("false")},
    {"a bare string", TEXT("\"x\"")},
    {"blanks everywhere", TEXT(" [ { \"a\" : [ ] , \"b\" : null } , true ] ")},
    {"a line end at the end", TEXT("[]\x0a")},
    {"a form feed", TEXT("[\x0c]")},
    {"a vertical tab", TEXT("[\x0b]")},
    {"a hard space", TEXT("[\xc2\xa0]")},
    {"a word joiner", TEXT("[\xe2\x81\xa0]")},
    {"a NUL behind", TEXT("[]\x00")},
    {"a letter behind", TEXT("[]x")},
    {"a bracket behind", TEXT("[]]")},
    {"a second value", TEXT("1 2")},
    {"a second object", TEXT("{}{}")},
    {"a trailing comma", TEXT("[1,]")},
    {"a leading comma", TEXT("[,1]")},
    {"two commas", TEXT("[1,,2]")},
    {"a comma alone", TEXT("[,]")},
    {"no comma", TEXT("[1 true]")},
    {"a colon in an array", TEXT("[\"a\":1]")},
    {"an open array", TEXT("[")},
    {"an open array with a value", TEXT("[1")},
    {"an open array with a comma", TEXT("[1,")},
    {"an open object", TEXT("{")},
    {"an open object with a name", TEXT("{\"a\"")},
    {"an open object with a colon", TEXT("{\"a\":")},
    {"an open object with a value", TEXT("{\"a\":1")},
    {"an open object with a comma", TEXT("{\"a\":1,")},
    {"a closing bracket alone", TEXT("]")},
    {"a closing brace alone", TEXT("}")},
    {"the wrong bracket", TEXT("[1}")},
    {"the wrong brace", TEXT("{\"a\":1]")},
    {"a trailing comma in an object", TEXT("{\"a\":1,}")},
    {"two commas in an object", TEXT("{\"a\":1,,\"b\":2}")},
    {"a comma alone in an object", TEXT("{,}")},
    {"no colon", TEXT("{\"a\" 1}")},
    {"two colons", TEXT("{\"a\"::1}")},
    {"no value", TEXT("{\"a\":}")},
    {"no name", TEXT("{:1}")},
    {"a name alone", TEXT("{\"a\"}")},
    {"a comma for a colon", TEXT("{\"a\",1}")},
    {"a name without quotes", TEXT("{a:1}")},
    {"single quotes around a name", TEXT("{'a':1}")},
    {"a number as a name", TEXT("{1:1}")},
    {"null as a name", TEXT("{null:1}")},
    {"an array as a name", TEXT("{[]:1}")},
    {"an assignment", TEXT("{\"a\"=1}")},
    {"a comment", TEXT("[1/*x*/]")},
    {"a line's comment", TEXT("[1]//x")},
    {"a hash comment", TEXT("[1]#x")},
    {"a cut true", TEXT("[tru]")},
    {"a cut null", TEXT("[nul")},
    {"a cut false at the end", TEXT("fals")},
    {"a capital word", TEXT("[True]")},
    {"all capitals", TEXT("[NULL]")},
    {"a word that goes on", TEXT("[nullx]")},
    {"two words in one", TEXT("[truefalse]")},
    {"undefined", TEXT("[undefined]")},
    {"a word behind a digit", TEXT("[1true]")},
    {"a star", TEXT("[*]")},
    {"a paste", TEXT("<null>")},
    {"an escape outside a string", TEXT("[\\u000A\"\"]")},
    {"a name twice", TEXT("{\"a\":1,\"a\":2}")},
    {"with the same value", TEXT("{\"a\":1,\"a\":1}")},
    {"three names, the first and last equal", TEXT("{\"a\":1,\"b\":2,\"a\":3}")},
    {"an empty name twice", TEXT("{\"\":1,\"\":2}")},
    {"in two objects", TEXT("[{\"a\":1},{\"a\":2}]")},
    {"in an object and its child", TEXT("{\"a\":{\"a\":{\"a\":1}}}")},
    {"behind a child that has it", TEXT("{\"b\":{\"a\":1},\"a\":2}")},
    {"behind a child, twice", TEXT("{\"a\":{\"b\":1},\"a\":2}")},
    {"in a child only", TEXT("{\"a\":{\"b\":1,\"b\":2}}")},
    {"of different case", TEXT("{\"a\":1,\"A\":2}")},
    {"one the start of the other", TEXT("{\"a\":1,\"ab\":2,\"abc\":3}")},
    {"same length, same ends", TEXT("{\"axb\":1,\"ayb\":2}")},
    {"escaped and plain", TEXT("{\"\\u0061\":1,\"a\":2}")},
    {"plain and escaped", TEXT("{\"a\":1,\"\\u0061\":2}")},
    {"escaped in two cases", TEXT("{\"\\u00e9\":1,\"\\u00E9\":2}")},
    {"bytes and escape", TEXT("{\"\xc3\xa9\":1,\"\\u00e9\":2}")},
    {"a pair and its bytes", TEXT("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}")},
    {"an escaped slash and a slash", TEXT("{\"\\/\":1,\"/\":2}")},
    {"an escaped slash and its number", TEXT("{\"\\/\":1,\"\\u002f\":2}")},
    {"an escaped backslash and a plain n", TEXT("{\"\\\\n\":1,\"\\n\":2}")},
    {"different escapes", TEXT("{\"\\n\":1,\"\\r\":2}")},
    {"composed and decomposed", TEXT("{\"\xc3\xa9\":1,\"e\xcc\x81\":2}")},
    {"a NUL in a name", TEXT("{\"a\\u0000b\":1}")},
    {"names that differ behind a NUL", TEXT("{\"a\\u0000b\":1,\"a\\u0000c\":2}")},
    {"names equal with a NUL", TEXT("{\"a\\u0000b\":1,\"a\\u0000b\":2}")},
    {"a lone surrogate as a name", TEXT("{\"\\ud800\":1}")},
    {"two of them", TEXT("{\"\\ud800\":1,\"\\ud801\":2}")},
    {"one of them twice", TEXT("{\"\\ud800\":1,\"\\uD800\":2}")},
    {"a broken object with a name twice", TEXT("{\"a\":1,\"a\":2")},
    {"a broken escape in the second name", TEXT("{\"a\":1,\"\\u006\":2}")},
};
/* clang-format on */

static const char *subject = "at random"; /* what is compared, for messages */

/* How many texts each way; a test that never sees one of them checks nothing. */
static struct {
    unsigned taken, refused, softened, limited;
} count;

/* Where we are in both trees. */
struct walk {
    struct extract *x;
    struct arena *arena;
    bool softened;
    bool expressible; /* a pointer can lead here */
    char path[PATH_BYTES];
    size_t npath, nsteps;
};

static unsigned long rounds(void)
{
    return getenv("SETTLE_TEST_LONG") ? 100UL * ROUNDS : ROUNDS;
}

static size_t below(size_t n)
{
    return (size_t)rand() % n;
}

/* The unit of an escape \uXXXX at the start of s; -1 if there is none. */
static long unit_of(struct span s)
{
    char digits[5] = "";

    if (s.len < 6 || s.at[0] != '\\' || s.at[1] != 'u')
        return -1;
    memcpy(digits, s.at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/* How long what begins s, inside a string, is: a byte, an escape, a pair of them. ret_unit: the unit that no text can
 * hold, NUL or a lone surrogate; -1 if it is good. */
static size_t escape_length(struct span s, long *ret_unit)
{
    long unit = unit_of(s), low = unit < 0 ? -1 : unit_of(span_skip(s, 6));

    *ret_unit = -1;
    if (unit < 0)
        return s.at[0] == '\\' && s.len > 1 ? 2 : 1;
    if (unit >= 0xd800 && unit < 0xdc00 && low >= 0xdc00 && low < 0xe000)
        return 12;
    if (unit == 0 || (unit >= 0xd800 && unit < 0xe000))
        *ret_unit = unit;
    return 6;
}

static bool is_no_text(struct span raw)
{
    long unit = -1;

    while (raw.len > 0 && unit < 0)
        raw = span_skip(raw, escape_length(raw, &unit));
    return unit >= 0;
}

/* A number with less digits where it may be too large: as good or as bad as it was. Returns what it read of s. */
static size_t shrink_number(struct span s, char **to)
{
    static const char signs[] = "0123456789+-.eE", digits[] = "0123456789";
    bool in_exponent = false;
    size_t at = 0;

    while (at < s.len && memchr(signs, s.at[at], strlen(signs))) {
        size_t from = at;
        while (at < s.len && memchr(digits, s.at[at], strlen(digits)))
            at++;
        size_t len = at - from, most = in_exponent ? 2 : 18;
        *to = mempcpy(*to, s.at + from, len <= most ? len : in_exponent ? 1 : 2);
        if (at < s.len && len == 0) {
            in_exponent |= s.at[at] == 'e' || s.at[at] == 'E';
            *(*to)++ = s.at[at++];
        }
    }
    return at;
}

/* A character of a private plane, another for each unit: names that differ go on differing. */
static char *put_private(char *to, long unit)
{
    *to++ = (char)0xf3;
    *to++ = (char)(0xb0 | unit >> 12);
    *to++ = (char)(0x80 | (unit >> 6 & 0x3f));
    *to++ = (char)(0x80 | (unit & 0x3f));
    return to;
}

/* The text as jansson can follow it: without lone surrogates, escaped NULs and numbers that it has no type for. */
static struct span soften(struct span s, struct arena *a)
{
    char *text = arena_alloc(a, s.len + 1), *to = text;
    bool in_string = false;

    while (s.len > 0) {
        long unit = -1;
        size_t len = in_string ? escape_length(s, &unit) : 1;
        if (!in_string && memchr("-0123456789", s.at[0], 11)) {
            s = span_skip(s, shrink_number(s, &to));
            continue;
        }
        in_string ^= s.at[0] == '"';
        to = unit >= 0 ? put_private(to, unit) : mempcpy(to, s.at, len);
        s = span_skip(s, len);
    }
    return (struct span){text, (size_t)(to - text)};
}

/* That alone: any other refusal of the oracle's is ours too. */
static bool is_known_difference(const json_error_t *why)
{
    enum json_error_code code = json_error_code(why);

    return code == json_error_null_byte_in_key || code == json_error_numeric_overflow ||
           strncmp(why->text, "invalid Unicode '", strlen("invalid Unicode '")) == 0;
}

static json_t *ask(struct span text, json_error_t *why)
{
    return json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, why);
}

static json_t *ask_oracle(struct span text, bool *ret_softened, json_error_t *why, struct arena *a)
{
    json_t *root = ask(text, why);

    *ret_softened = !root && is_known_difference(why);
    if (!*ret_softened)
        return root;
    count.softened++;
    root = ask(soften(text, a), why);
    if (!root && is_known_difference(why))
        fail_msg("softened in vain (%s): %.*s", why->text, SPAN_ARG(text));
    return root;
}

/* Levels and values of a tree, as doc counts them. */
static void measure(json_t *value, size_t depth, size_t *deepest, size_t *nnodes)
{
    const char *name;
    json_t *child;
    size_t i;

    *nnodes += 1;
    if (json_is_array(value) || json_is_object(value))
        depth++;
    if (depth > *deepest)
        *deepest = depth;
    json_array_foreach(value, i, child)
        measure(child, depth, deepest, nnodes);
    json_object_foreach(value, name, child) {
        *nnodes += 1;
        measure(child, depth, deepest, nnodes);
    }
}

static bool is_within_limits(json_t *root)
{
    size_t deepest = 0, nnodes = 0;

    measure(root, 0, &deepest, &nnodes);
    return deepest <= DOC_DEPTH_MAX && nnodes <= DOC_NODES_MAX;
}

static void assert_number(struct walk *w, struct span got, const json_t *want)
{
    char *text = arena_alloc(w->arena, got.len + 1), *to = text;

    if (w->softened)
        assert_int_equal(shrink_number(got, &to), got.len);
    else
        to = mempcpy(to, got.at, got.len);
    *to = '\0';
    if (json_is_integer(want) ? strtoll(text, NULL, 10) != json_integer_value(want)
                              : strtod(text, NULL) != json_real_value(want))
        fail_msg("%s: %.*s is another number", w->path, SPAN_ARG(got));
}

static void assert_scalar(struct walk *w, uint32_t node, const json_t *want)
{
    const struct doc *d = &w->x->body;
    struct span raw = doc_raw(d, node), text = doc_text(d, node, w->arena), is = SPAN_NONE;
    struct pointer *p;
    struct place at;

    if (json_is_number(want)) {
        assert_int_equal(d->nodes[node].type, DOC_NUMBER);
        assert_number(w, text, want);
    } else {
        if (json_is_string(want) && !is_no_text(raw))
            is = (struct span){json_string_value(want), json_string_length(want)};
        else if (json_is_boolean(want))
            is = json_is_true(want) ? SPAN("true") : SPAN("false");
        if (!is.at != !text.at || !span_eq(is, text))
            fail_msg("%s: got \"%.*s\", want \"%.*s\"", w->path, SPAN_ARG(text), SPAN_ARG(is));
    }
    if (!w->expressible)
        return;
    assert_int_equal(pointer_compile((struct span){w->path, w->npath}, w->arena, &p, NULL), OK);
    at = extract_at(w->x, p);
    if (at.doc != d || at.node != node)
        fail_msg("the pointer %s leads elsewhere", w->path);
}

/* Puts a step behind the path, if a pointer may have it. */
static void step_into(struct walk *w, struct span name)
{
    char *to = w->path + w->npath;

    w->nsteps++;
    if (!name.at || w->nsteps > 16 || w->npath + 2 * name.len + 2 > PATH_BYTES || span_eq(name, SPAN("*")) ||
        (name.len > 0 && name.at[name.len - 1] == '#')) {
        w->expressible = false;
        return;
    }
    *to++ = '/';
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] == '~' || name.at[i] == '/') {
            *to++ = '~';
            *to++ = name.at[i] == '~' ? '0' : '1';
        } else {
            *to++ = name.at[i];
        }
    }
    *to = '\0';
    w->npath = (size_t)(to - w->path);
}

static void assert_same(struct walk *w, uint32_t node, json_t *want);

static void assert_child(const struct walk *parent, struct span name, uint32_t node, json_t *want)
{
    struct walk w = *parent;

    step_into(&w, name);
    assert_same(&w, node, want);
}

static void assert_member(struct walk *w, uint32_t object, uint32_t key, const char *name, json_t *want)
{
    const struct doc *d = &w->x->body;
    struct span text = doc_text(d, key, w->arena);

    if (is_no_text(doc_raw(d, key)) != !text.at)
        fail_msg("%s: the name is %s text", w->path, text.at ? "a" : "no");
    if (text.at) {
        assert_true(span_eq(text, span_of(name)));
        assert_int_equal(doc_member(d, object, text), key + 1);
    }
    assert_child(w, text, key + 1, want);
}

static void assert_same(struct walk *w, uint32_t node, json_t *want)
{
    const struct doc *d = &w->x->body;
    const char *name;
    uint32_t at = node + 1;
    json_t *child;
    size_t i;

    if (!json_is_array(want) && !json_is_object(want)) {
        assert_scalar(w, node, want);
        return;
    }
    assert_int_equal(d->nodes[node].type, json_is_array(want) ? DOC_ARRAY : DOC_OBJECT);
    json_array_foreach(want, i, child) {
        assert_true(at < d->nodes[node].next);
        assert_int_equal(doc_element(d, node, i), at);
        assert_child(w, span_of(arena_print(w->arena, "%zu", i)), at, child);
        at = d->nodes[at].next;
    }
    json_object_foreach(want, name, child) { /* in the order of the text, as ours */
        assert_true(at < d->nodes[node].next);
        assert_member(w, node, at, name, child);
        at = d->nodes[at + 1].next;
    }
    assert_int_equal(at, d->nodes[node].next);
}

static void compare(struct span text)
{
    struct arena *a = arena_open(TEXT_BYTES);
    /* A copy of the very size: the sanitizer sees a read behind the end. */
    char *exact = malloc(text.len + (text.len == 0));
    struct extract x;
    struct walk w = {.x = &x, .arena = a, .expressible = true};
    json_error_t why;
    json_t *root = ask_oracle(text, &w.softened, &why, a);
    bool within = !root || is_within_limits(root), ours;

    memcpy(exact, text.at, text.len);
    ours = extract_open(&x, (struct span){exact, text.len}, a, NULL) == OK;
    if (ours != (root && within))
        fail_msg("%s: %s by us only: %.*s (%s)", subject, ours ? "taken" : "refused", SPAN_ARG(text),
                 root ? "" : why.text);
    if (ours)
        assert_same(&w, 0, root);
    count.limited += !within;
    *(ours ? &count.taken : &count.refused) += 1;
    json_decref(root);
    free(exact);
    arena_close(a);
}

static void test_the_corners(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        subject = cases[i].what;
        compare(cases[i].text);
    }
}

/* {"n0":0,"n1":1,...} and behind it `last`. */
static struct span wide(unsigned n, const char *last, struct arena *a)
{
    char *text = arena_alloc(a, n * strlen("\"n999999\":999999,") + strlen(last) + 3), *to = text;

    *to++ = '{';
    for (unsigned i = 0; i < n; i++)
        to += sprintf(to, "\"n%u\":%u,", i, i);
    to += sprintf(to, "%s}", last);
    return (struct span){text, (size_t)(to - text)};
}

static struct span deep(unsigned n, const char *open, const char *close, struct arena *a)
{
    char *text = arena_alloc(a, n * (strlen(open) + strlen(close)) + 2), *to = text;

    for (unsigned i = 0; i < n; i++)
        to = stpcpy(to, open);
    *to++ = '1';
    for (unsigned i = 0; i < n; i++)
        to = stpcpy(to, close);
    return (struct span){text, (size_t)(to - text)};
}

static void test_the_limits_are_those_of_the_header(void **state)
{
    struct arena *a = arena_open(TEXT_BYTES);

    (void)state;
    for (unsigned n = 1; n < 3000; n += n < 70 ? 1 : 1000) {
        compare(deep(n, "[", "]", a));
        compare(deep(n, "{\"a\":", "}", a));
        compare(deep(n, "[{},{\"a\":", "}]", a));
    }
    for (unsigned n = 1; n < 100; n++) {
        compare(wide(n, "\"x\":{}", a));
        compare(wide(n, "\"n0\":1", a));
        compare(wide(n, "\"\\u006e0\":1", a));
        compare(wide(n, "\"\\n0\":1", a));
    }
    for (unsigned n = DOC_NODES_MAX / 2 - 5; n < DOC_NODES_MAX / 2 + 5; n++)
        compare(wide(n, "\"x\":[1]", a));
    arena_close(a);
}

static char *put_any(char *to, const char *const *words, size_t n)
{
    return stpcpy(to, words[below(n)]);
}

static char *put_blanks(char *to)
{
    static const char *const blanks[] = {"", "", "", "", " ", "\n", "\t ", "\r\n"};

    return put_any(to, blanks, countof(blanks));
}

static char *put_string(char *to)
{
    static const char *const pieces[] = {
        "a",
        "b",
        "n",
        "plain words",
        "~",
        "/",
        "#",
        "*",
        "\\u0061",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\xc3\xa9",
        "\\u00e9",
        "\\uD83D\\ude00",
        "\xf0\x9f\x98\x80",
        "\xe2\x82\xac",
        "\\ud83d",
        "\\udE00",
        "\\u0000",
        "\x7f",
    };

    *to++ = '"';
    for (size_t n = below(4); n > 0; n--)
        to = put_any(to, pieces, below(8) ? countof(pieces) - 4 : countof(pieces));
    *to++ = '"';
    return to;
}

static char *put_scalar(char *to)
{
    static const char *const scalars[] = {
        "0",
        "-0",
        "1",
        "-17",
        "1.5",
        "-0.25e-3",
        "1E9",
        "9223372036854775807",
        "0.1",
        "true",
        "false",
        "null",
        "1e400",
        "-1e+0999",
        "123456789012345678901234567890",
        "01",
        "-",
    };

    if (below(2))
        return put_string(to);
    return put_any(to, scalars, below(16) ? countof(scalars) - 5 : countof(scalars));
}

/* A document that is good but for a few of its scalars and names. */
static char *put_value(char *to, const char *end, unsigned levels)
{
    bool object = below(2);
    size_t n = below(24) ? below(5) : 30 + below(20);

    to = put_blanks(to);
    if (levels == 0 || end - to < TEXT_BYTES / 2 || below(4) == 0)
        return put_blanks(put_scalar(to));
    *to++ = object ? '{' : '[';
    for (size_t i = 0; i < n && end - to > TEXT_BYTES / 4; i++) {
        if (i > 0)
            *to++ = ',';
        to = put_blanks(to);
        if (object && below(3))
            to += sprintf(to, "\"%c%zu\":", 'a' + (int)below(3), i);
        else if (object)
            to = stpcpy(put_blanks(put_string(to)), ":");
        to = put_value(to, end, levels - 1);
    }
    *to++ = object ? '}' : ']';
    return put_blanks(to);
}

static void test_random_documents(void **state)
{
    static char text[TEXT_BYTES];

    (void)state;
    srand(20251121);
    for (unsigned long i = 0; i < rounds(); i++)
        compare((struct span){text, (size_t)(put_value(text, text + TEXT_BYTES, 6) - text)});
}

static struct span read_body(const char *path, struct arena *a)
{
    struct span text;
    const char *head_end;

    if (file_read(path, arena_alloc(a, FILE_BYTES), FILE_BYTES, &text, NULL))
        return SPAN_NONE; /* larger than what is wanted */
    head_end = memmem(text.at, text.len, "\r\n\r\n", 4);
    assert_non_null(head_end);
    return span_skip(text, (size_t)(head_end + 4 - text.at));
}

static size_t read_bodies(struct span *bodies, struct arena *a)
{
    struct platforms *set = platforms_load(NULL, NULL);
    size_t nbodies = 0;

    for (size_t i = 0; i < platforms_count(set); i++) {
        const char *folder = arena_print(a, "%s/fixtures/%s", SOURCE_ROOT, platforms_at(set, i)->name.at),
                   **files;
        size_t nfiles = 0;
        if (file_names(folder, ".http", a, &files, &nfiles, NULL))
            continue; /* test_fixtures minds that */
        for (size_t k = 0; k < nfiles; k++) {
            struct span body = read_body(arena_print(a, "%s/%s", folder, files[k]), a);
            if (body.len > 0 && body.len < TEXT_BYTES / 4 && nbodies < BODIES_MAX)
                bodies[nbodies++] = body;
        }
    }
    platforms_close(set);
    return nbodies;
}

/* One change: a byte, a word put in, a piece taken out or doubled, the end cut off. */
static size_t mutate(char *text, size_t len)
{
    static const char bytes[] = "{}[]\",:\\0123456789.eE+-utrfn \x80\xc3\xed\xf4\xff\x01\x7f";
    static const char *const words[] = {"\\ud83d", "\\ude00", "\\u0000", "\\u0061", "\"a\":", "{}",
                                        "[",       "]",       "null",    "true",    "1e999",  "-0.5",
                                        ",",       "\"\"",    "\n",      "\xc3\xa9"};
    const char *word = words[below(countof(words))];
    size_t at = below(len), rest = len - at, n;

    switch (below(5)) {
    case 0:
        text[at] = bytes[below(sizeof(bytes) - 1)];
        return len;
    case 1:
        n = strlen(word);
        memmove(text + at + n, text + at, rest);
        memcpy(text + at, word, n);
        return len + n;
    case 2:
        n = 1 + below(rest < 4 ? rest : 4);
        memmove(text + at, text + at + n, rest - n);
        return len - n;
    case 3:
        n = 1 + below(rest < 60 ? rest : 60);
        memmove(text + at + n, text + at, rest);
        return len + n;
    default:
        return below(8) ? len : at;
    }
}

static void test_mutated_fixtures(void **state)
{
    static char text[TEXT_BYTES];
    struct arena *a = arena_open(TEXT_BYTES);
    struct span *bodies = arena_alloc(a, BODIES_MAX * sizeof(*bodies));
    size_t nbodies = read_bodies(bodies, a);

    (void)state;
    assert_true(nbodies > 20);
    srand(20251122);
    for (unsigned long i = 0; i < rounds(); i++) {
        struct span body = bodies[i % nbodies];
        size_t len = body.len;
        memcpy(text, body.at, len);
        for (size_t n = 1 + below(3); n > 0 && len > 0; n--)
            len = mutate(text, len);
        compare((struct span){text, len});
    }
    arena_close(a);
}

static void test_all_of_it_was_seen(void **state)
{
    (void)state;
    print_message("%u taken, %u refused, %u softened, %u beyond a limit\n", count.taken, count.refused,
                  count.softened, count.limited);
    assert_true(count.taken > ROUNDS / 2 && count.refused > ROUNDS / 2);
    assert_true(count.softened > ROUNDS / 50 && count.limited > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_corners),        cmocka_unit_test(test_the_limits_are_those_of_the_header),
        cmocka_unit_test(test_random_documents),   cmocka_unit_test(test_mutated_fixtures),
        cmocka_unit_test(test_all_of_it_was_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
