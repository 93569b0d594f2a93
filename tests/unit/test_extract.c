/* What a schema says about an event's own fields: keys, tags, times and subjects. */
#include <annals/extract.h>
#include <annals/protojson.h>
#include <check.h>

#include "../schema/quake_sets.h"
#include "hex.h"
#include "suite.h"

static struct descriptor_pool *builtin, *pool;
static const struct descriptor_message *type;
static struct buf encoded;
static struct error err;
static struct extract found;

static void setup(void)
{
	ck_assert_int_eq(descriptor_pool_builtin(&builtin, &err), 0);
	ck_assert_msg(descriptor_pool_build(
			      builtin, bytes_of(quake_set2, sizeof(quake_set2)), &pool, &err) == 0,
		"%s", err.text);
	type = descriptor_pool_find_message(pool, bytes_text("quake.Event"));
	ck_assert_ptr_nonnull(type);
}

static void teardown(void)
{
	descriptor_pool_unref(pool);
	descriptor_pool_unref(builtin);
	buf_release(&encoded);
}

static void from_json(const char *json)
{
	const struct protojson_parse_options options = {.output_bytes_max = 1 << 20};
	buf_reset(&encoded);
	ck_assert_msg(protojson_parse(pool, type, bytes_text(json), &options, &encoded, &err) == 0,
		"%s", err.text);
}

static int from_hex(const char *hex)
{
	buf_reset(&encoded);
	hex_parse(hex, &encoded);
	return extract_message(type, buf_bytes(&encoded), &found, &err);
}

static bool is(struct bytes bytes, const char *text)
{
	return bytes_equal(bytes, bytes_text(text));
}

START_TEST(test_extract_finds_all_that_is_marked)
{
	from_json("{\"quakeId\":\"us1\",\"originTime\":\"2024-01-02T03:04:05.25Z\","
		  "\"place\":\"Honshu\",\"status\":\"STATUS_REVIEWED\",\"networks\":[\"us\",\"ak\"]"
		  ",\"magnitude\":7.5}");
	ck_assert(extract_wanted(type));
	ck_assert_int_eq(extract_message(type, buf_bytes(&encoded), &found, &err), 0);
	ck_assert(found.has_key && is(found.key, "us1"));
	ck_assert(found.has_subject && is(found.subject, "Honshu"));
	ck_assert(found.has_time);
	ck_assert_int_eq(found.time_ns, INT64_C(1704164645250000000));
	ck_assert_uint_eq(found.tag_count, 3);
	ck_assert_str_eq(found.tags[0].name, "status");
	ck_assert(is(found.tags[0].value, "STATUS_REVIEWED"));
	ck_assert_str_eq(found.tags[1].name, "network");
	ck_assert(is(found.tags[1].value, "us"));
	ck_assert(is(found.tags[2].value, "ak"));
}
END_TEST

START_TEST(test_extract_finds_nothing_where_nothing_is)
{
	const struct descriptor_message *unmarked =
		descriptor_pool_find_message(pool, bytes_text("google.protobuf.Timestamp"));
	ck_assert_int_eq(from_hex(""), 0);
	ck_assert(!found.has_key && !found.has_subject && !found.has_time);
	ck_assert_uint_eq(found.tag_count, 0);
	ck_assert_ptr_nonnull(unmarked);
	ck_assert(!extract_wanted(unmarked));
}
END_TEST

START_TEST(test_extract_last_value_counts)
{
	/* quake_id "a", then "b"; status 1, then 9, which has no name; an unknown field. */
	ck_assert_int_eq(from_hex("0a0161 0a0162 4001 4009 f80701"), 0);
	ck_assert(is(found.key, "b"));
	ck_assert_uint_eq(found.tag_count, 1);
	ck_assert(is(found.tags[0].value, "9"));
	/* A field of another wire type is an unknown one. */
	ck_assert_int_eq(from_hex("0a0161 0805"), 0);
	ck_assert(is(found.key, "a"));
	/* Pieces of a message merge: seconds 5, then nanos 7. */
	ck_assert_int_eq(from_hex("12020805 12021007"), 0);
	ck_assert_int_eq(found.time_ns, INT64_C(5000000007));
}
END_TEST

START_TEST(test_extract_refuses_bad_times_and_bytes)
{
	ck_assert_int_eq(from_hex("1206 10 8094ebdc03"), ANNALS_E_VALIDATION); /* nanos 10^9 */
	ck_assert_ptr_nonnull(strstr(err.text, "origin_time"));
	ck_assert_int_eq(from_hex("120a08ffffffffffffffff7f"), ANNALS_E_VALIDATION);
	ck_assert_int_eq(from_hex("0a"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(from_hex("0a0561"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(from_hex("1202 08"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(from_hex("1201 08"), ANNALS_E_MALFORMED);
	ck_assert_int_eq(from_hex("ffffffffffffffffffff01"), ANNALS_E_MALFORMED);
}
END_TEST

START_TEST(test_extract_is_limited)
{
	buf_reset(&encoded);
	for (unsigned i = 0; i < EXTRACT_VALUES_MAX; i++) {
		hex_parse("4a0161", &encoded);
	}
	ck_assert_int_eq(extract_message(type, buf_bytes(&encoded), &found, &err), 0);
	ck_assert_uint_eq(found.tag_count, EXTRACT_VALUES_MAX);
	hex_parse("4a0161", &encoded);
	ck_assert_int_eq(
		extract_message(type, buf_bytes(&encoded), &found, &err), ANNALS_E_TOO_LARGE);
	/* Displaced values do not count. */
	buf_reset(&encoded);
	for (unsigned i = 0; i < 1000; i++) {
		hex_parse("0a0161", &encoded);
	}
	ck_assert_int_eq(extract_message(type, buf_bytes(&encoded), &found, &err), 0);
}
END_TEST

SUITE_MAIN("extract", setup, teardown, test_extract_finds_all_that_is_marked,
	test_extract_finds_nothing_where_nothing_is, test_extract_last_value_counts,
	test_extract_refuses_bad_times_and_bytes, test_extract_is_limited)
