/* Messages of one version for readers of another. */
#include <annals/project.h>
#include <annals/protojson.h>
#include <annals/varint.h>
#include <check.h>

#include "../schema/quake_sets.h"
#include "../schema/sample_set.h"
#include "hex.h"
#include "suite.h"

static struct descriptor_pool *builtin, *pools[4];
static const struct descriptor_message *types[4];
static struct buf encoded, out, text;
static struct error err;
static struct project_report report;

static void setup(void)
{
	const struct bytes sets[4] = {bytes_of(sample_set, sizeof(sample_set)),
		bytes_of(quake_set1, sizeof(quake_set1)), bytes_of(quake_set2, sizeof(quake_set2)),
		bytes_of(quake_set3, sizeof(quake_set3))};
	ck_assert_int_eq(descriptor_pool_builtin(&builtin, &err), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_msg(descriptor_pool_build(builtin, sets[i], &pools[i], &err) == 0, "%s",
			err.text);
		types[i] = descriptor_pool_find_message(
			pools[i], bytes_text(i == 0 ? "sample.Old" : "quake.Event"));
		ck_assert_ptr_nonnull(types[i]);
	}
}

static void teardown(void)
{
	for (int i = 0; i < 4; i++) {
		descriptor_pool_unref(pools[i]);
	}
	descriptor_pool_unref(builtin);
	buf_release(&encoded);
	buf_release(&out);
	buf_release(&text);
}

static void expect_json(int from, int to, const char *json, const char *becomes)
{
	const struct protojson_parse_options parse = {.output_bytes_max = 1 << 20};
	const struct protojson_print_options print = {.output_bytes_max = 1 << 20};
	buf_reset(&encoded);
	buf_reset(&out);
	buf_reset(&text);
	ck_assert_msg(protojson_parse(pools[from], types[from], bytes_text(json), &parse, &encoded,
			      &err) == 0,
		"%s", err.text);
	ck_assert_msg(project_message(types[from], types[to], buf_bytes(&encoded), 1 << 20, &out,
			      &report, &err) == 0,
		"%s", err.text);
	ck_assert_int_eq(
		protojson_print(pools[to], types[to], buf_bytes(&out), &print, &text, &err), 0);
	ck_assert_str_eq(buf_text(&text), becomes);
}

static int project_hex(int from, int to, const char *hex, size_t max)
{
	buf_reset(&encoded);
	hex_parse(hex, &encoded);
	return project_message(
		types[from], types[to], buf_bytes(&encoded), max, &out, &report, &err);
}

START_TEST(test_project_same_version_keeps_all)
{
	const char *json = "{\"quakeId\":\"us1\",\"originTime\":\"2024-01-02T03:04:05Z\","
			   "\"status\":\"STATUS_REVIEWED\",\"networks\":[\"us\",\"ak\"]}";
	expect_json(2, 2, json, json);
	ck_assert_uint_eq(report.mark_count, 0);
	ck_assert(bytes_equal(buf_bytes(&out), buf_bytes(&encoded)));
}
END_TEST

START_TEST(test_project_drops_and_marks_what_is_unknown)
{
	expect_json(2, 1,
		"{\"quakeId\":\"us1\",\"magnitude\":7.5,\"status\":\"STATUS_REVIEWED\","
		"\"networks\":[\"us\",\"ak\"]}",
		"{\"quakeId\":\"us1\",\"magnitude\":7.5}");
	ck_assert_uint_eq(report.mark_count, 2);
	ck_assert_int_eq(report.marks[0].loss, PROJECT_UNKNOWN);
	ck_assert_uint_eq(report.marks[0].number, 8);
	ck_assert_str_eq(report.marks[0].message, "quake.Event");
	ck_assert_ptr_nonnull(strstr(report.marks[0].field, "status"));
	ck_assert_uint_eq(report.marks[1].number, 9);
	ck_assert_str_eq(project_loss_name(PROJECT_UNKNOWN), "unknown-field");
	expect_json(1, 3, "{\"latitude\":1,\"depthKm\":5,\"place\":\"x\"}", "{\"place\":\"x\"}");
	ck_assert_uint_eq(report.mark_count, 2);
	expect_json(1, 2, "{\"place\":\"x\"}", "{\"place\":\"x\"}");
	ck_assert_uint_eq(report.mark_count, 0);
}
END_TEST

START_TEST(test_project_fills_required_and_drops_closed_enums)
{
	/* sample.Old: required id = 1, name 2, closed enum 3, group 5, child 7. */
	buf_reset(&out);
	ck_assert_int_eq(project_hex(0, 0, "1807 2b0805 2c 3a00", 1000), 0);
	ck_assert_uint_eq(report.mark_count, 2);
	ck_assert_int_eq(report.marks[0].loss, PROJECT_ENUM);
	ck_assert_int_eq(report.marks[1].loss, PROJECT_REQUIRED);
	struct buf wanted = BUF_INIT;
	hex_parse("2b0805 2c 3a02 0800 0800", &wanted);
	ck_assert(bytes_equal(buf_bytes(&out), buf_bytes(&wanted)));
	buf_release(&wanted);
}
END_TEST

START_TEST(test_project_unreadable_values)
{
	/* place as a number; quake_id that is not UTF-8. */
	buf_reset(&out);
	ck_assert_int_eq(project_hex(1, 2, "3805 0a01ff", 1000), 0);
	ck_assert_uint_eq(out.size, 0);
	ck_assert_uint_eq(report.mark_count, 2);
	ck_assert_int_eq(report.marks[0].loss, PROJECT_UNREADABLE);
	ck_assert_int_eq(report.marks[1].loss, PROJECT_UNREADABLE);
}
END_TEST

START_TEST(test_project_refuses_and_leaves_the_output)
{
	static const char *const bad[] = {"0a", "0a0561", "1202 08", "0c", "2b", "00"};
	buf_reset(&out);
	ck_assert_int_eq(buf_add_text(&out, "before"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const int from = i == 4 ? 0 : 1;
		ck_assert_msg(project_hex(from, from, bad[i], 1000) < 0, "%s", bad[i]);
		ck_assert_uint_eq(out.size, 6);
	}
	ck_assert_int_eq(project_hex(1, 1, "0a03616263", 4), ANNALS_E_TOO_LARGE);
	ck_assert_uint_eq(out.size, 6);
	ck_assert_int_eq(project_hex(1, 1, "0a03616263", 5), 0);
	ck_assert_uint_eq(out.size, 11);
}
END_TEST

START_TEST(test_project_depth_and_marks_are_limited)
{
	/* child within child, innermost first */
	for (unsigned depth = PROJECT_DEPTH_MAX; depth <= PROJECT_DEPTH_MAX + 1; depth++) {
		struct buf inner = BUF_INIT;
		hex_parse("0801", &inner);
		for (unsigned i = 0; i < depth; i++) {
			struct buf outer = BUF_INIT;
			uint8_t head[VARINT_BYTES_MAX + 1] = {0x3a};
			size_t used = 1 + varint_put(head + 1, inner.size);
			ck_assert_int_eq(buf_add(&outer, head, used), 0);
			ck_assert_int_eq(buf_add(&outer, inner.data, inner.size), 0);
			buf_release(&inner);
			inner = outer;
		}
		buf_reset(&out);
		ck_assert_int_eq(project_message(types[0], types[0], buf_bytes(&inner), 1 << 20,
					 &out, &report, &err),
			depth == PROJECT_DEPTH_MAX ? 0 : ANNALS_E_TOO_LARGE);
		buf_release(&inner);
	}
	buf_reset(&encoded);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t tag[VARINT_BYTES_MAX + 1];
		size_t used = varint_put(tag, (100 + i) << 3);
		tag[used] = 1;
		ck_assert_int_eq(buf_add(&encoded, tag, used + 1), 0);
	}
	buf_reset(&out);
	ck_assert_int_eq(
		project_message(types[1], types[2], buf_bytes(&encoded), 1000, &out, &report, &err),
		0);
	ck_assert_uint_eq(report.mark_count, PROJECT_MARKS_MAX);
	ck_assert(report.truncated);
}
END_TEST

SUITE_MAIN("project", setup, teardown, test_project_same_version_keeps_all,
	test_project_drops_and_marks_what_is_unknown,
	test_project_fills_required_and_drops_closed_enums, test_project_unreadable_values,
	test_project_refuses_and_leaves_the_output, test_project_depth_and_marks_are_limited)
