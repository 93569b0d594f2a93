/* Encoded messages against their types: what is refused, with which words, and what is counted. */
#include <annals/validate.h>
#include <annals/varint.h>
#include <check.h>
#include <stdlib.h>

#include "../schema/sample_set.h"
#include "hex.h"
#include "suite.h"

static struct descriptor_pool *builtin, *pool;
static const struct descriptor_message *all, *old, *tree;
static struct buf encoded;
static struct error err;
static struct validate_result result;

static void setup(void)
{
	ck_assert_int_eq(descriptor_pool_builtin(&builtin, &err), 0);
	ck_assert_int_eq(descriptor_pool_build(
				 builtin, bytes_of(sample_set, sizeof(sample_set)), &pool, &err),
		0);
	all = descriptor_pool_find_message(pool, bytes_text("sample.All"));
	old = descriptor_pool_find_message(pool, bytes_text("sample.Old"));
	tree = descriptor_pool_find_message(pool, bytes_text("google.protobuf.Value"));
	ck_assert(all != NULL && old != NULL && tree != NULL);
}

static void teardown(void)
{
	buf_release(&encoded);
	descriptor_pool_unref(pool);
	descriptor_pool_unref(builtin);
}

static int validate(const struct descriptor_message *type, const char *hex,
	const struct validate_options *options)
{
	buf_reset(&encoded);
	hex_parse(hex, &encoded);
	err.text[0] = '\0';
	return validate_message(type, buf_bytes(&encoded), options, &result, &err);
}

START_TEST(test_validate_names_the_path_and_the_byte)
{
	/* An element of texts is not UTF-8, then a text in the second child. */
	ASSERT_FAILS(validate(all, "9a0101 61 9a0102 c080", NULL), ANNALS_E_VALIDATION, err,
		"'texts', byte 7: not UTF-8");
	ASSERT_FAILS(validate(all, "a20100 a20104 7202 c080", NULL), ANNALS_E_VALIDATION, err,
		"'children[1].string', byte ");
	/* string as a varint */
	ASSERT_FAILS(validate(all, "7001", NULL), ANNALS_E_VALIDATION, err, "'string', byte ");
}
END_TEST

START_TEST(test_validate_refuses_what_no_type_has)
{
	static const char *const hostile[] = {
		"0001",                     /* field number 0 */
		"f8ffffff1f01",             /* a tag above 2^32 - 1 */
		"08ffffffffffffffffffff01", /* a varint of 11 bytes */
		"08ffffffffffffffffff02",   /* above 2^64 - 1 */
		"08",                       /* cut */
		"727f61",                   /* a length past the end */
		"72ffffffffffffffff7f",     /* a length of 2^63 - 1 */
		"0e01", "0f01",             /* wire types 6 and 7 */
		"3d000000",                 /* a fixed32 that is cut */
		"a3060c",                   /* a group closed with another number */
		"a306",                     /* an open group */
		"a406",                     /* an end without a start */
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(hostile); i++) {
		ck_assert_msg(validate(all, hostile[i], NULL) == ANNALS_E_MALFORMED, "%s: %s",
			hostile[i], err.text);
		ck_assert(strlen(err.text) > 0);
	}
}
END_TEST

START_TEST(test_validate_every_cut_of_a_message_is_whole_or_refused)
{
	ck_assert_int_eq(validate(all, "0801 7203616263 8a0105 0802 720178 920103010203", NULL), 0);
	const struct buf whole = encoded;
	size_t accepted = 0;
	for (size_t size = 0; size <= whole.size; size++) {
		accepted +=
			validate_message(all, bytes_of(whole.data, size), NULL, &result, &err) == 0;
	}
	/* Only between the fields: before, after each of four. */
	ck_assert_uint_eq(accepted, 5);
}
END_TEST

START_TEST(test_validate_counts_or_refuses_what_is_unknown)
{
	static const struct validate_options no_fields = {.refuse_unknown_fields = true};
	static const struct validate_options no_enums = {.refuse_unknown_enums = true};
	ck_assert_int_eq(validate(all, "c03e01 807d63", NULL), 0);
	ck_assert_uint_eq(result.unknown_fields, 2);
	ck_assert_int_eq(validate(all, "c03e01", &no_fields), ANNALS_E_VALIDATION);
	ck_assert_int_eq(validate(all, "800163", NULL), 0); /* color = 99 */
	ck_assert_uint_eq(result.unknown_enums, 1);
	ck_assert_int_eq(validate(all, "800163", &no_enums), ANNALS_E_VALIDATION);
}
END_TEST

START_TEST(test_validate_required_fields)
{
	static const struct validate_options lax = {.allow_missing_required = true};
	ASSERT_FAILS(validate(old, "", NULL), ANNALS_E_VALIDATION, err, "id");
	ASSERT_FAILS(validate(old, "0801 3a00", NULL), ANNALS_E_VALIDATION, err, "child");
	ck_assert_int_eq(validate(old, "0801 3a00", &lax), 0);
	ck_assert_int_eq(validate(old, "0801 3a020802", NULL), 0);
}
END_TEST

/* `levels` messages within the outermost: Value.list_value.values[0].list_value ... */
static void nest(size_t levels, struct buf *out)
{
	/* Written from the inside: the bytes of one level hold all that is there already. */
	uint8_t *bytes = malloc(levels * 12 + 1);
	ck_assert_ptr_nonnull(bytes);
	size_t at = levels * 12;
	size_t size = 0;
	for (size_t i = 0; i < levels; i++) {
		/* ListValue.values is 1, Value.list_value is 6; the outermost is a Value. */
		const uint8_t tag = (levels - i) % 2 == 1 ? 0x32 : 0x0a;
		const size_t length_bytes = varint_size(size);
		at -= length_bytes + 1;
		bytes[at] = tag;
		varint_put(bytes + at + 1, size);
		size += length_bytes + 1;
	}
	buf_reset(out);
	ck_assert_int_eq(buf_add(out, bytes + at, size), 0);
	free(bytes);
}

START_TEST(test_validate_depth_is_limited)
{
	static const struct validate_options three = {.depth_max = 3};
	nest(VALIDATE_DEPTH_MAX, &encoded);
	ck_assert_int_eq(validate_message(tree, buf_bytes(&encoded), NULL, NULL, &err), 0);
	nest(VALIDATE_DEPTH_MAX + 1, &encoded);
	ck_assert_int_eq(
		validate_message(tree, buf_bytes(&encoded), NULL, NULL, &err), ANNALS_E_TOO_LARGE);
	nest(100000, &encoded);
	ck_assert_int_eq(
		validate_message(tree, buf_bytes(&encoded), NULL, NULL, &err), ANNALS_E_TOO_LARGE);
	nest(3, &encoded);
	ck_assert_int_eq(validate_message(tree, buf_bytes(&encoded), &three, NULL, &err), 0);
	nest(4, &encoded);
	ck_assert_int_eq(validate_message(tree, buf_bytes(&encoded), &three, NULL, &err),
		ANNALS_E_TOO_LARGE);
	/* Groups that nobody closes, of a field that nobody knows. */
	buf_reset(&encoded);
	for (int i = 0; i < 100000; i++) {
		ck_assert_int_eq(buf_add(&encoded, "\xa3\x06", 2), 0);
	}
	ck_assert_int_eq(
		validate_message(all, buf_bytes(&encoded), NULL, NULL, &err), ANNALS_E_TOO_LARGE);
}
END_TEST

SUITE_MAIN("validate", setup, teardown, test_validate_names_the_path_and_the_byte,
	test_validate_refuses_what_no_type_has,
	test_validate_every_cut_of_a_message_is_whole_or_refused,
	test_validate_counts_or_refuses_what_is_unknown, test_validate_required_fields,
	test_validate_depth_is_limited)
