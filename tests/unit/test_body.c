#include "support/test.h"

#include "base/doc.h"
#include "domain/atom.h"
#include "domain/body.h"
#include "domain/platform.h"
#include "domain/urlform.h"

#include <stdio.h>
#include <stdlib.h>

#define ALL_FORMATS (BODY_JSON | BODY_FORM | BODY_ATOM)

/* With its length, so that a case may hold a NUL. */
#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        (literal), sizeof(literal) - 1                                                                       \
    }

#define FEED                                                                                                 \
    "<feed xmlns='http://www.w3.org/2005/Atom' xmlns:yt='http://www.youtube.com/xml/schemas/2015'"           \
    " xmlns:at='http://purl.org/atompub/tombstones/1.0'>"
#define EMPTY           "{\"entries\":[],\"deleted\":[]}"
#define ENTRY(json)     "{\"entries\":[" json "],\"deleted\":[]}"
#define TOMBSTONE(json) "{\"entries\":[],\"deleted\":[" json "]}"

static enum status convert(unsigned formats, struct span body, struct arena *a, struct span *ret,
                           struct err *err)
{
    /* A copy of the very size: the sanitizer sees a read behind the end. Its own arena's end would hide that. */
    char *exact = malloc(body.len + (body.len == 0));
    enum status status;

    memcpy(exact, body.at, body.len);
    status = body_as_json(formats, (struct span){exact, body.len}, a, ret, err);
    if (status == OK)
        *ret = arena_copy(a, *ret); /* it may borrow */
    free(exact);
    return status;
}

static void assert_json(const char *why, unsigned formats, struct span body, const char *want)
{
    struct arena *a = arena_open(256);
    struct span got;
    struct doc d;
    struct err err;

    if (convert(formats, body, a, &got, &err))
        fail_msg("%s: %s", why, err.text);
    if (!span_eq(got, span_of(want)))
        fail_msg("%s: got %.*s", why, SPAN_ARG(got));
    if (got.at[0] == '{' && doc_parse(&d, got, a, &err))
        fail_msg("%s: %s", why, err.text);
    arena_close(a);
}

static void assert_refused(const char *why, unsigned formats, struct span body, const char *cause)
{
    struct arena *a = arena_open(256);
    struct span got;
    struct err err;

    if (convert(formats, body, a, &got, &err) != INVALID)
        fail_msg("%s: taken", why);
    if (strcmp(err.cause, cause) != 0)
        fail_msg("%s: %s (%s)", why, err.cause, err.text);
    arena_close(a);
}

static void test_the_first_byte_tells_the_format(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why;
        unsigned formats;
        struct span body;
        const char *want; /* of JSON: the body itself */
    } rows[] = {
        {"an object", ALL_FORMATS, TEXT("{\"a\":1}"), "{\"a\":1}"},
        {"an array", ALL_FORMATS, TEXT("[1]"), "[1]"},
        {"blanks first", ALL_FORMATS, TEXT(" \r\n\t{}"), " \r\n\t{}"},
        {"all else is a form", ALL_FORMATS, TEXT("a=1"), "{\"a\":\"1\"}"},
        {"a feed", ALL_FORMATS, TEXT(FEED "</feed>"), EMPTY},
        {"blanks before a feed", ALL_FORMATS, TEXT("\n" FEED "</feed>"), EMPTY},
        {"a mark before a feed", ALL_FORMATS, TEXT("\xef\xbb\xbf" FEED "</feed>"), EMPTY},
        {"nothing is a form without fields", BODY_FORM, TEXT(""), "{}"},
        {"no forms here", BODY_JSON | BODY_ATOM, TEXT("a=1"), "a=1"},
        {"no feeds here", BODY_JSON | BODY_FORM, TEXT("<a/>"), "<a/>"},
        {"JSON alone, and nothing", BODY_JSON, TEXT(""), ""},
        {"an object where only forms are", BODY_FORM, TEXT("{\"a\":1}"), "{\"a\":1}"},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_json(rows[i].why, rows[i].formats, rows[i].body, rows[i].want);
}

static void test_a_form_is_an_object_of_strings(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why;
        struct span body;
        const char *want;
    } rows[] = {
        {"two fields", TEXT("a=1&b=two"), "{\"a\":\"1\",\"b\":\"two\"}"},
        {"decoded names and values", TEXT("a%5B0%5D=x+y%21"), "{\"a[0]\":\"x y!\"}"},
        {"a name without a value", TEXT("a&b="), "{\"a\":\"\",\"b\":\"\"}"},
        {"nothing between two marks", TEXT("&&a=1&"), "{\"a\":\"1\"}"},
        {"of a name twice the first", TEXT("a=1&b=2&a=3"), "{\"a\":\"1\",\"b\":\"2\"}"},
        {"a name twice, once encoded", TEXT("a=1&%61=3"), "{\"a\":\"1\"}"},
        {"an empty name, twice", TEXT("=1&=2"), "{\"\":\"1\"}"},
        {"quotes and controls are escaped", TEXT("a=%22%5C%0A%00"), "{\"a\":\"\\\"\\\\\\u000a\\u0000\"}"},
        {"JSON in a field stays one string", TEXT("payload=%7B%22a%22%3A1%7D"),
         "{\"payload\":\"{\\\"a\\\":1}\"}"},
        {"UTF-8", TEXT("a=%C3%A9"), "{\"a\":\"\xc3\xa9\"}"},
        {"a value that is no UTF-8 is left out", TEXT("a=%E9&b=1"), "{\"b\":\"1\"}"},
        {"a name that is no UTF-8 is left out", TEXT("%E9=1&b=1"), "{\"b\":\"1\"}"},
        {"the first counts though it is none", TEXT("a=%E9&a=1&b=2"), "{\"b\":\"2\"}"},
        {"raw bytes that are no UTF-8", TEXT("a=\xff&b=1"), "{\"b\":\"1\"}"},
        {"a surrogate in UTF-8's way", TEXT("a=%ED%A0%80&b=1"), "{\"b\":\"1\"}"},
        {"a percent that encodes nothing", TEXT("a=100%&b=%zz"), "{\"a\":\"100%\",\"b\":\"%zz\"}"},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_json(rows[i].why, ALL_FORMATS, rows[i].body, rows[i].want);
}

static void test_a_form_has_so_many_fields_at_most(void **state)
{
    char text[4 * URLFORM_PAIRS_MAX + 8], *to = text;
    struct arena *a = arena_open(256);
    struct span got;

    (void)state;
    for (int i = 0; i < URLFORM_PAIRS_MAX; i++)
        to = stpcpy(to, "a=1&");
    to--; /* the last mark */
    assert_int_equal(convert(BODY_FORM, (struct span){text, (size_t)(to - text)}, a, &got, NULL), OK);
    assert_true(span_eq(got, SPAN("{\"a\":\"1\"}")));
    to = stpcpy(to, "&a=1");
    assert_refused("one field more", BODY_FORM, (struct span){text, (size_t)(to - text)}, "malformed_form");
    arena_close(a);
}

/* As the hub's documentation shows it. These bytes are what dedup keys are made from: a change here means that
 * deliveries which come again after an upgrade are taken for new ones. */
static void test_a_feed_becomes_what_it_always_became(void **state)
{
    static const char push[] =
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        "<feed xmlns:yt=\"http://www.youtube.com/xml/schemas/2015\" xmlns=\"http://www.w3.org/2005/Atom\">\n"
        "  <link rel=\"hub\" href=\"https://pubsubhubbub.appspot.com\"/>\n"
        "  <link rel=\"self\" href=\"https://www.youtube.com/xml/feeds/videos.xml?channel_id=CHANNEL_ID\"/>\n"
        "  <title>YouTube video feed</title>\n"
        "  <updated>2015-04-01T19:05:24.552394234+00:00</updated>\n"
        "  <entry>\n"
        "    <id>yt:video:VIDEO_ID</id>\n"
        "    <yt:videoId>VIDEO_ID</yt:videoId>\n"
        "    <yt:channelId>CHANNEL_ID</yt:channelId>\n"
        "    <title>Fish &amp; \"chips\" &#x1f41f;</title>\n"
        "    <link rel=\"alternate\" href=\"http://www.youtube.com/watch?v=VIDEO_ID&amp;x=1\"/>\n"
        "    <author>\n"
        "     <name>Channel title</name>\n"
        "     <uri>http://www.youtube.com/channel/CHANNEL_ID</uri>\n"
        "    </author>\n"
        "    <published>2015-03-06T21:40:57+00:00</published>\n"
        "    <updated>2015-03-09T19:05:24.552394234+00:00</updated>\n"
        "  </entry>\n"
        "</feed>\n";
    static const char gone[] =
        "<feed xmlns:at=\"http://purl.org/atompub/tombstones/1.0\" xmlns=\"http://www.w3.org/2005/Atom\">"
        "<at:deleted-entry ref=\"yt:video:VIDEO_ID\" when=\"2015-03-10T01:02:03+00:00\">"
        "<link href=\"https://www.youtube.com/watch?v=VIDEO_ID\"/>"
        "<at:by><name>Channel title</name><uri>https://www.youtube.com/channel/CHANNEL_ID</uri></at:by>"
        "</at:deleted-entry></feed>";

    (void)state;
    assert_json(
        "a push", ALL_FORMATS, span_of(push),
        "{\"entries\":[{\"id\":\"yt:video:VIDEO_ID\",\"videoId\":\"VIDEO_ID\",\"channelId\":\"CHANNEL_ID\","
        "\"title\":\"Fish & \\\"chips\\\" \xf0\x9f\x90\x9f\","
        "\"link\":\"http://www.youtube.com/watch?v=VIDEO_ID&x=1\","
        "\"published\":\"2015-03-06T21:40:57+00:00\",\"updated\":\"2015-03-09T19:05:24.552394234+00:00\"}],"
        "\"deleted\":[]}");
    assert_json(
        "a tombstone", ALL_FORMATS, span_of(gone),
        "{\"entries\":[],\"deleted\":[{\"ref\":\"yt:video:VIDEO_ID\",\"when\":\"2015-03-10T01:02:03+00:00\","
        "\"channel\":\"https://www.youtube.com/channel/CHANNEL_ID\"}]}");
}

static void test_only_what_stands_where_it_belongs_is_read(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why;
        struct span body;
        const char *want;
    } rows[] = {
        {"two entries and two tombstones, mixed", TEXT(FEED
         "<entry><id>1</id></entry><at:deleted-entry ref='2'/><entry><id>3</id></entry>"
         "<at:deleted-entry ref='4'/></feed>"),
         "{\"entries\":[{\"id\":\"1\"},{\"id\":\"3\"}],\"deleted\":[{\"ref\":\"2\"},{\"ref\":\"4\"}]}"},
        {"an empty entry", TEXT(FEED "<entry/></feed>"), ENTRY("{}")},
        {"an empty tombstone", TEXT(FEED "<at:deleted-entry/></feed>"), TOMBSTONE("{}")},
        {"an empty text", TEXT(FEED "<entry><id/></entry></feed>"), ENTRY("{\"id\":\"\"}")},
        {"of an element twice the first", TEXT(FEED "<entry><id>1</id><id>2</id></entry></feed>"),
         ENTRY("{\"id\":\"1\"}")},
        {"blanks stay", TEXT(FEED "<entry><id> 1\n</id></entry></feed>"), ENTRY("{\"id\":\" 1\\u000a\"}")},
        {"a CDATA section is text", TEXT(FEED "<entry><title><![CDATA[<b>&]]></title></entry></feed>"),
         ENTRY("{\"title\":\"<b>&\"}")},
        {"a comment splits no text", TEXT(FEED "<entry><id>a<!-- x -->b</id></entry></feed>"),
         ENTRY("{\"id\":\"ab\"}")},
        {"markup in a title is not text", TEXT(FEED "<entry><title>a<i>b</i>c</title></entry></feed>"),
         ENTRY("{\"title\":\"ac\"}")},
        {"a link that says nothing is the entry's", TEXT(FEED "<entry><link href='u'/></entry></feed>"),
         ENTRY("{\"link\":\"u\"}")},
        {"another link is not", TEXT(FEED
         "<entry><link rel='self' href='s'/><link rel='alternate' href='u'/></entry></feed>"),
         ENTRY("{\"link\":\"u\"}")},
        {"an id of the feed is no entry's", TEXT(FEED "<id>f</id><entry/></feed>"), ENTRY("{}")},
        {"an author's id is no entry's", TEXT(FEED "<entry><author><id>x</id></author></entry></feed>"),
         ENTRY("{}")},
        {"an entry in an entry is none", TEXT(FEED "<entry><entry><id>x</id></entry></entry></feed>"),
         ENTRY("{}")},
        {"an entry elsewhere is none", TEXT(FEED "<a><entry><id>x</id></entry></a></feed>"), EMPTY},
        {"a source's id is no entry's", TEXT(FEED
         "<entry><source><id>x</id></source><id>1</id></entry></feed>"), ENTRY("{\"id\":\"1\"}")},
        {"a uri outside of by", TEXT(FEED "<at:deleted-entry ref='1'><uri>x</uri></at:deleted-entry></feed>"),
         TOMBSTONE("{\"ref\":\"1\"}")},
        {"prefixes are only names",
         TEXT("<a:feed xmlns:a='http://www.w3.org/2005/Atom'><a:entry><a:id>1</a:id>" "</a:entry></a:feed>"),
         ENTRY("{\"id\":\"1\"}")},
        {"another namespace is another element", TEXT(FEED "<entry "
         "xmlns:x='urn:x'><x:id>1</x:id><x:videoId>v</x:videoId><videoId>v</videoId></entry></feed>"),
         ENTRY("{}")},
        {"no namespace is no Atom", TEXT("<feed><entry><id>1</id></entry></feed>"), EMPTY},
        {"a prefixed ref is another attribute", TEXT(FEED "<at:deleted-entry at:ref='1'/></feed>"),
         TOMBSTONE("{}")},
        {"HTML that is well-formed", TEXT("<html><body/></html>"), EMPTY},
        {"Latin-1 that says so", TEXT("<?xml version='1.0' encoding='ISO-8859-1'?>" FEED
         "<entry><id>\xe9</id></entry></feed>"), ENTRY("{\"id\":\"\xc3\xa9\"}")},
        {"an instruction is skipped", TEXT("<?php x?>" FEED "<entry/></feed>"), ENTRY("{}")},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_json(rows[i].why, ALL_FORMATS, rows[i].body, rows[i].want);
}

static void test_what_is_no_good_xml_is_refused(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why;
        struct span body;
    } rows[] = {
        {"a DOCTYPE", TEXT("<!DOCTYPE feed>" FEED "</feed>")},
        {"a DOCTYPE of elsewhere", TEXT("<!DOCTYPE feed SYSTEM 'file:///etc/passwd'>" FEED "</feed>")},
        {"an entity of a file", TEXT("<!DOCTYPE feed [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>" FEED
         "<entry><id>&x;</id></entry></feed>")},
        {"an entity bomb", TEXT("<!DOCTYPE feed [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>"
         "<!ENTITY c '&b;&b;&b;&b;'>]>" FEED "<entry><id>&c;</id></entry></feed>")},
        {"an entity that is its own part", TEXT("<!DOCTYPE feed [<!ENTITY a '&a;'>]>" FEED "&a;</feed>")},
        {"a parameter entity", TEXT("<!DOCTYPE feed [<!ENTITY % x SYSTEM 'http://127.0.0.1/'>%x;]>" FEED
         "</feed>")},
        {"an entity that nobody made", TEXT(FEED "<entry><id>&nbsp;</id></entry></feed>")},
        {"a cut document", TEXT(FEED "<entry><id>1</id>")},
        {"cut in a tag", TEXT(FEED "<entry")},
        {"cut in a character", TEXT(FEED "<entry><id>\xc3")},
        {"only the first byte", TEXT("<")},
        {"tags that cross", TEXT(FEED "<entry><id></entry></id></feed>")},
        {"a second root", TEXT(FEED "</feed><feed/>")},
        {"text behind the root", TEXT(FEED "</feed>x")},
        {"an attribute twice", TEXT(FEED "<at:deleted-entry ref='1' ref='2'/></feed>")},
        {"a prefix that nobody made", TEXT(FEED "<x:entry/></feed>")},
        {"a NUL", TEXT(FEED "<entry><id>a\0b</id></entry></feed>")},
        {"an escaped NUL", TEXT(FEED "<entry><id>&#0;</id></entry></feed>")},
        {"a control byte", TEXT(FEED "<entry><id>\x01</id></entry></feed>")},
        {"an escaped surrogate", TEXT(FEED "<entry><id>&#xd800;</id></entry></feed>")},
        {"Latin-1 that says UTF-8", TEXT("<?xml version='1.0' encoding='UTF-8'?>" FEED
         "<entry><id>\xe9</id></entry></feed>")},
        {"an overlong form", TEXT(FEED "<entry><id>\xc0\xaf</id></entry></feed>")},
        {"an encoded surrogate", TEXT(FEED "<entry><id>\xed\xa0\x80</id></entry></feed>")},
        {"UTF-16 that is none", TEXT("<?xml version='1.0' encoding='UTF-16'?>" FEED "</feed>")},
        {"an encoding that nobody knows", TEXT("<?xml version='1.0' encoding='x-none'?>" FEED "</feed>")},
        {"HTML as it is usual", TEXT("<html><br></html>")},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_refused(rows[i].why, ALL_FORMATS, rows[i].body, "malformed_xml");
}

/* head, n times piece, tail. */
static struct span repeated(const char *head, const char *piece, size_t n, const char *tail, struct arena *a)
{
    char *text = arena_alloc(a, strlen(head) + n * strlen(piece) + strlen(tail) + 1),
         *to = stpcpy(text, head);

    for (size_t i = 0; i < n; i++)
        to = stpcpy(to, piece);
    to = stpcpy(to, tail);
    return (struct span){text, (size_t)(to - text)};
}

/* Each at its limit and one beyond it. */
static void test_a_feed_has_limits(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why, *head, *piece;
        size_t most; /* so many pieces are taken */
        const char *tail;
    } rows[] = {
        {"elements", FEED, "<a/>", ATOM_ELEMENTS_MAX - 1, "</feed>"},
        {"a text", FEED "<entry><id>", "x", ATOM_TEXT_MAX, "</id></entry></feed>"},
        {"a text in pieces", FEED "<entry><id>", "&lt;", ATOM_TEXT_MAX, "</id></entry></feed>"},
        {"an attribute", FEED "<at:deleted-entry ref='", "x", ATOM_TEXT_MAX, "'/></feed>"},
        {"a link", FEED "<entry><link href='", "x", ATOM_TEXT_MAX, "'/></entry></feed>"},
    };
    /* clang-format on */
    struct arena *a = arena_open(256);
    struct span got;

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct span fits = repeated(rows[i].head, rows[i].piece, rows[i].most, rows[i].tail, a);
        struct span more = repeated(rows[i].head, rows[i].piece, rows[i].most + 1, rows[i].tail, a);
        if (convert(BODY_ATOM, fits, a, &got, NULL))
            fail_msg("%s: refused at the limit", rows[i].why);
        assert_refused(rows[i].why, BODY_ATOM, more, "malformed_xml");
    }
    for (size_t n = ATOM_DEPTH_MAX; n <= ATOM_DEPTH_MAX + 1; n++) {
        struct span open = repeated("", "<a>", n, "", a), both = repeated(open.at, "</a>", n, "", a);
        assert_int_equal(convert(BODY_ATOM, both, a, &got, NULL), n <= ATOM_DEPTH_MAX ? OK : INVALID);
    }
    arena_close(a);
}

/* What is not read may be large: the body's own cap is enough. */
static void test_what_is_skipped_may_be_large(void **state)
{
    enum { MANY = 300000 };
    /* clang-format off */
    static const struct {
        const char *why, *head, *piece, *tail, *want;
    } rows[] = {
        {"a huge attribute", FEED "<entry a='", "xxx", "'/></feed>", ENTRY("{}")},
        {"a huge comment", FEED "<!--", "xxx", "--></feed>", EMPTY},
        {"a huge text elsewhere", FEED "<entry><summary>", "xxx", "</summary></entry></feed>", ENTRY("{}")},
        {"a huge name", FEED "<entry><a", "xxx", "/></entry></feed>", ENTRY("{}")},
        {"a huge namespace", FEED "<entry xmlns:a='urn:", "xxx", "'/></feed>", ENTRY("{}")},
    };
    /* clang-format on */
    struct arena *a = arena_open(256);

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_json(rows[i].why, BODY_ATOM, repeated(rows[i].head, rows[i].piece, MANY, rows[i].tail, a),
                    rows[i].want);
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_byte_tells_the_format),
        cmocka_unit_test(test_a_form_is_an_object_of_strings),
        cmocka_unit_test(test_a_form_has_so_many_fields_at_most),
        cmocka_unit_test(test_a_feed_becomes_what_it_always_became),
        cmocka_unit_test(test_only_what_stands_where_it_belongs_is_read),
        cmocka_unit_test(test_what_is_no_good_xml_is_refused),
        cmocka_unit_test(test_a_feed_has_limits),
        cmocka_unit_test(test_what_is_skipped_may_be_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
