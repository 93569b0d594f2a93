/* Pools of descriptors: what is built in, what a set gives, and each rule a set can break. */
#include "suite.h"

#include <annals/buf.h>
#include <annals/descriptor.h>
#include <annals/varint.h>
#include <stdio.h>

static struct descriptor_pool *builtin;
static struct error err;

static void setup(void)
{
	ck_assert_int_eq(descriptor_pool_builtin(&builtin, &err), 0);
}

static void teardown(void)
{
	descriptor_pool_unref(builtin);
}

/* A little encoder: each returns a message whose memory the caller releases through put(). */
static void put_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[VARINT_BYTES_MAX];
	ck_assert_int_eq(buf_add(out, bytes, varint_put(bytes, value)), 0);
}
static void put_bytes(struct buf *out, uint32_t number, struct bytes bytes)
{
	put_varint(out, number << 3 | 2);
	put_varint(out, bytes.size);
	ck_assert_int_eq(buf_add(out, bytes.data, bytes.size), 0);
}
static void put_text(struct buf *out, uint32_t number, const char *text)
{
	put_bytes(out, number, bytes_text(text));
}
static void put_number(struct buf *out, uint32_t number, uint64_t value)
{
	put_varint(out, number << 3);
	put_varint(out, value);
}
static void put(struct buf *out, uint32_t number, struct buf *inner)
{
	put_bytes(out, number, buf_bytes(inner));
	buf_release(inner);
}

static struct buf field(const char *name, int64_t number, int type, const char *type_name)
{
	struct buf out = BUF_INIT;
	put_text(&out, 1, name);
	put_number(&out, 3, (uint64_t)number);
	put_number(&out, 4, 1);
	put_number(&out, 5, (uint64_t)type);
	if (type_name != NULL) {
		put_text(&out, 6, type_name);
	}
	return out;
}

static struct buf message(const char *name)
{
	struct buf out = BUF_INIT;
	put_text(&out, 1, name);
	return out;
}

static struct buf file(const char *name)
{
	struct buf out = BUF_INIT;
	put_text(&out, 1, name);
	put_text(&out, 2, "shop");
	put_text(&out, 12, "proto3");
	return out;
}

/* A set of one file with one message "M" that has this field. */
static struct buf set_of_field(struct buf *one)
{
	struct buf set = BUF_INIT;
	struct buf f = file("shop.proto");
	struct buf m = message("M");
	put(&m, 2, one);
	put(&f, 4, &m);
	put(&set, 1, &f);
	return set;
}

/* Builds, expects the code and the text, and releases the set. */
static void refused(struct buf *set, int code, const char *says)
{
	struct descriptor_pool *pool = NULL;
	ASSERT_FAILS(descriptor_pool_build(builtin, buf_bytes(set), &pool, &err), code, err, says);
	ck_assert_ptr_null(pool);
	buf_release(set);
}

static struct descriptor_pool *accepted(struct buf *set)
{
	struct descriptor_pool *pool = NULL;
	const int status = descriptor_pool_build(builtin, buf_bytes(set), &pool, &err);
	ck_assert_msg(status == 0, "%s", err.text);
	buf_release(set);
	return pool;
}

START_TEST(test_descriptor_builtin_types)
{
	const struct descriptor_message *timestamp =
		descriptor_pool_find_message(builtin, bytes_text("google.protobuf.Timestamp"));
	ck_assert_ptr_nonnull(timestamp);
	ck_assert_uint_eq(timestamp->field_count, 2);
	ck_assert_str_eq(descriptor_field_by_number(timestamp, 1)->name, "seconds");
	ck_assert_uint_eq(descriptor_field_by_number(timestamp, 2)->type, DESCRIPTOR_INT32);
	ck_assert_ptr_null(descriptor_field_by_number(timestamp, 3));
	const struct descriptor_message *structure =
		descriptor_pool_find_message(builtin, bytes_text("google.protobuf.Struct"));
	const struct descriptor_field *fields =
		descriptor_field_by_name(structure, bytes_text("fields"));
	ck_assert(fields->map && fields->message->map_entry);
	ck_assert_str_eq(fields->message->full_name, "google.protobuf.Struct.FieldsEntry");
	const struct descriptor_message *value = fields->message->fields[1].message;
	ck_assert_str_eq(value->full_name, "google.protobuf.Value");
	ck_assert_uint_eq(value->oneof_count, 1);
	ck_assert_uint_eq(value->oneofs[0].field_count, 6);
	ck_assert_ptr_eq(descriptor_field_by_json_name(value, bytes_text("numberValue")),
		descriptor_field_by_number(value, 2));
}
END_TEST

START_TEST(test_descriptor_of_descriptors)
{
	const struct descriptor_message *options =
		descriptor_pool_find_message(builtin, bytes_text("google.protobuf.FieldOptions"));
	const struct descriptor_field *ctype =
		descriptor_field_by_name(options, bytes_text("ctype"));
	ck_assert(ctype->has_default && ctype->enumeration->closed);
	ck_assert_str_eq(ctype->enumeration->full_name, "google.protobuf.FieldOptions.CType");
	ck_assert_ptr_nonnull(descriptor_field_by_number(options, 999));
	ck_assert_ptr_null(descriptor_field_by_number(options, 1000));
	ck_assert_uint_eq(options->extension_count, 1);
	ck_assert_int_eq(options->extensions[0].first, 1000);
	ck_assert_int_eq(options->extensions[0].last, 536870911);
	uint32_t path[DESCRIPTOR_NESTING_MAX + 1];
	const struct descriptor_message *inner = descriptor_pool_find_message(
		builtin, bytes_text("google.protobuf.DescriptorProto.ReservedRange"));
	ck_assert_uint_eq(descriptor_message_path(inner, path), 2);
	ck_assert_uint_eq(path[1], 1);
	ck_assert_ptr_eq(descriptor_message_at(inner->file, path, 2), inner);
	path[1] = 2;
	ck_assert_ptr_null(descriptor_message_at(inner->file, path, 2));
}
END_TEST

START_TEST(test_descriptor_fields_and_json_names)
{
	struct buf one = field("some_long_name", 100000, 9, NULL);
	struct buf set = set_of_field(&one);
	struct descriptor_pool *pool = accepted(&set);
	const struct descriptor_message *m =
		descriptor_pool_find_message(pool, bytes_text("shop.M"));
	ck_assert_str_eq(m->fields[0].json_name, "someLongName");
	ck_assert_str_eq(m->fields[0].full_name, "shop.M.some_long_name");
	ck_assert_ptr_eq(descriptor_field_by_number(m, 100000), &m->fields[0]);
	ck_assert(m->fields[0].utf8 && !m->fields[0].has_presence);
	ck_assert_ptr_null(descriptor_pool_find_message(builtin, bytes_text("shop.M")));
	descriptor_pool_unref(pool);
}
END_TEST

START_TEST(test_descriptor_field_numbers)
{
	static const int64_t wrong[] = {0, -1, 19000, 19999, 536870912};
	for (size_t i = 0; i < ANNALS_COUNT_OF(wrong); i++) {
		struct buf one = field("a", wrong[i], 9, NULL);
		struct buf set = set_of_field(&one);
		refused(&set, ANNALS_E_VALIDATION, "shop.proto: shop.M.a: the field number");
	}
	static const int64_t right[] = {1, 18999, 20000, 536870911};
	for (size_t i = 0; i < ANNALS_COUNT_OF(right); i++) {
		struct buf one = field("a", right[i], 9, NULL);
		struct buf set = set_of_field(&one);
		descriptor_pool_unref(accepted(&set));
	}
}
END_TEST

START_TEST(test_descriptor_missing_types_and_imports)
{
	struct buf one = field("a", 1, 11, ".shop.Missing");
	struct buf set = set_of_field(&one);
	refused(&set, ANNALS_E_VALIDATION, "shop.M.a: the type '.shop.Missing' is not defined");
	one = field("a", 1, 11, ".google.protobuf.Timestamp");
	set = set_of_field(&one);
	refused(&set, ANNALS_E_VALIDATION,
		"'google/protobuf/timestamp.proto', which is not imported");
	one = field("a", 1, 9, ".shop.M");
	set = set_of_field(&one);
	refused(&set, ANNALS_E_VALIDATION, "does not fit");
	struct buf f = file("shop.proto");
	put_text(&f, 3, "gone.proto");
	set = BUF_INIT;
	put(&set, 1, &f);
	refused(&set, ANNALS_E_VALIDATION, "shop.proto: the import 'gone.proto' is missing");
	f = file("a.proto");
	put_text(&f, 3, "b.proto");
	put(&set, 1, &f);
	f = file("b.proto");
	put_text(&f, 3, "a.proto");
	put(&set, 1, &f);
	refused(&set, ANNALS_E_VALIDATION, "circle");
}
END_TEST

START_TEST(test_descriptor_names_collide)
{
	struct buf set = BUF_INIT;
	struct buf f = file("shop.proto");
	struct buf m = message("M");
	put(&f, 4, &m);
	m = message("M");
	put(&f, 4, &m);
	put(&set, 1, &f);
	refused(&set, ANNALS_E_VALIDATION, "shop.M: the name is already taken in 'shop.proto'");
	f = file("shop.proto");
	m = message("M");
	struct buf one = field("a", 1, 9, NULL);
	put(&m, 2, &one);
	one = field("b", 1, 9, NULL);
	put(&m, 2, &one);
	put(&f, 4, &m);
	put(&set, 1, &f);
	refused(&set, ANNALS_E_VALIDATION, "have the same number 1");
	f = file("shop.proto");
	put(&set, 1, &f);
	f = file("shop.proto");
	put(&set, 1, &f);
	refused(&set, ANNALS_E_VALIDATION, "twice");
}
END_TEST

START_TEST(test_descriptor_limits)
{
	struct buf set = BUF_INIT;
	ck_assert_int_eq(buf_add_zeros(&set, DESCRIPTOR_SET_BYTES_MAX + 1), 0);
	refused(&set, ANNALS_E_TOO_LARGE, "10485760");
	for (unsigned count = DESCRIPTOR_FIELDS_MAX; count <= DESCRIPTOR_FIELDS_MAX + 1; count++) {
		struct buf m = message("M");
		struct buf f = file("shop.proto");
		for (unsigned i = 0; i < count; i++) {
			char name[16];
			snprintf(name, sizeof(name), "f%u", i);
			struct buf one = field(name, i + 1, 5, NULL);
			put(&m, 2, &one);
		}
		put(&f, 4, &m);
		put(&set, 1, &f);
		if (count > DESCRIPTOR_FIELDS_MAX) {
			refused(&set, ANNALS_E_TOO_LARGE, "more than 10000 fields");
		} else {
			descriptor_pool_unref(accepted(&set));
		}
		set = BUF_INIT;
	}
	struct buf nested = message("M");
	for (unsigned i = 0; i < 2000; i++) {
		struct buf outer = message("M");
		put(&outer, 3, &nested);
		nested = outer;
	}
	struct buf f = file("shop.proto");
	put(&f, 4, &nested);
	put(&set, 1, &f);
	refused(&set, ANNALS_E_TOO_LARGE, "nest deeper than 32");
}
END_TEST

START_TEST(test_descriptor_cut_bytes_are_refused)
{
	struct buf one = field("a", 1, 9, NULL);
	struct buf set = set_of_field(&one);
	struct descriptor_pool *pool = NULL;
	for (size_t i = 0; i < set.size; i++) {
		ck_assert_int_eq(descriptor_pool_build(builtin, bytes_of(set.data, i), &pool, &err),
			ANNALS_E_MALFORMED);
	}
	buf_release(&set);
}
END_TEST

SUITE_MAIN("descriptor", setup, teardown, test_descriptor_builtin_types,
	test_descriptor_of_descriptors, test_descriptor_fields_and_json_names,
	test_descriptor_field_numbers, test_descriptor_missing_types_and_imports,
	test_descriptor_names_collide, test_descriptor_limits,
	test_descriptor_cut_bytes_are_refused)
