/* Events: the hand-written codec against protobuf-c, its rules, and the partitioner. */
#include <annals/parse.h>
#include <annals/record.h>
#include <check.h>
#include <stdlib.h>

#include "event.pb-c.h"
#include "hex.h"
#include "random_record.h"
#include "record_fields.h"

#define SEED 20260806
#define ROUNDS 2000

static struct buf out;
static struct error err;
static struct record record;
static struct random random_source;
static struct random_record made;

static void setup(void)
{
	out = BUF_INIT;
	err = (struct error){0};
	random_source = (struct random){SEED};
}

static void teardown(void)
{
	buf_release(&out);
}

static int decode_hex(const char *text)
{
	buf_reset(&out);
	hex_parse(text, &out);
	return record_decode(buf_bytes(&out), &record, &err);
}

static void expect(int status, int code, const char *text)
{
	ck_assert_int_eq(status, code);
	ck_assert_msg(strstr(err.text, text) != NULL, "'%s' does not say '%s'", err.text, text);
}

static void assert_text(struct bytes found, const char *expected)
{
	ck_assert_msg(bytes_is(found, expected), "'%.*s' instead of '%s'", (int)found.size,
		(const char *)found.data, expected);
}

static void assert_bytes(struct bytes a, struct bytes b)
{
	ck_assert(bytes_equal(a, b));
}

static void assert_attribute(const struct attribute *a, const struct attribute *b)
{
	assert_bytes(a->name, b->name);
	ck_assert_int_eq(a->kind, b->kind);
	ck_assert_int_eq(a->boolean, b->boolean);
	ck_assert_int_eq(a->integer, b->integer);
	ck_assert_int_eq(a->timestamp_ns, b->timestamp_ns);
	assert_bytes(a->value, b->value);
}

/* `found` was decoded, `from` made. */
static void assert_same(const struct record *found, const struct record *from)
{
	assert_bytes(found->id, from->id);
	assert_bytes(found->source, from->source);
	assert_bytes(found->type, from->type);
	assert_bytes(found->subject, from->subject);
	assert_bytes(found->datacontenttype, from->datacontenttype);
	assert_bytes(found->dataschema, from->dataschema);
	ck_assert_int_eq(found->has_key, from->has_key);
	assert_bytes(found->key, from->key);
	ck_assert_int_eq(found->has_data, from->has_data);
	assert_bytes(found->data, from->data);
	ck_assert_int_eq(found->has_time, from->has_time);
	ck_assert_int_eq(found->time_ns, from->time_ns);
	ck_assert_int_eq(found->has_due, from->has_due);
	ck_assert_int_eq(found->due_ns, from->due_ns);
	ck_assert_uint_eq(found->schema_version, from->schema_version);
	ck_assert_uint_eq(found->extension_count, from->extension_count);
	ck_assert_uint_eq(found->header_count, from->header_count);
	ck_assert_uint_eq(found->tag_count, from->tag_count);
	struct attribute attribute;
	struct record_header header;
	struct bytes tag;
	size_t cursor = 0;
	for (uint32_t i = 0; i < from->extension_count; i++) {
		ck_assert_int_eq(record_next_extension(found, &cursor, &attribute), 1);
		assert_attribute(&attribute, &from->extensions[i]);
	}
	ck_assert_int_eq(record_next_extension(found, &cursor, &attribute), 0);
	cursor = 0;
	for (uint32_t i = 0; i < from->header_count; i++) {
		ck_assert_int_eq(record_next_header(found, &cursor, &header), 1);
		assert_bytes(header.name, from->headers[i].name);
		ck_assert_int_eq(header.has_value, from->headers[i].has_value);
		assert_bytes(header.value, from->headers[i].value);
	}
	ck_assert_int_eq(record_next_header(found, &cursor, &header), 0);
	cursor = 0;
	for (uint32_t i = 0; i < from->tag_count; i++) {
		ck_assert_int_eq(record_next_tag(found, &cursor, &tag), 1);
		assert_bytes(tag, from->tags[i]);
	}
	ck_assert_int_eq(record_next_tag(found, &cursor, &tag), 0);
}

START_TEST(test_record_encode_matches_protobuf_c)
{
	static struct random_record_event event;
	static uint8_t packed[65536];
	for (int i = 0; i < ROUNDS; i++) {
		random_record_make(&made, &random_source);
		random_record_event(&made, &event);
		size_t size = annals__v1__event__get_packed_size(&event.event);
		ck_assert_uint_le(size, sizeof(packed));
		annals__v1__event__pack(&event.event, packed);
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&made.record, &out), 0);
		ck_assert_uint_eq(record_encoded_size(&made.record), size);
		ck_assert_uint_eq(out.size, size);
		ck_assert_mem_eq(out.data, packed, size);
	}
}
END_TEST

START_TEST(test_record_decode_reads_what_protobuf_c_packed)
{
	static struct random_record_event event;
	static uint8_t packed[65536];
	for (int i = 0; i < ROUNDS; i++) {
		random_record_make(&made, &random_source);
		random_record_event(&made, &event);
		size_t size = annals__v1__event__pack(&event.event, packed);
		int status = record_decode(bytes_of(packed, size), &record, &err);
		ck_assert_msg(status == 0, "round %d: %s", i, err.text);
		assert_same(&record, &made.record);
		ck_assert_int_eq(record_decode_trusted(bytes_of(packed, size), &record), 0);
		assert_same(&record, &made.record);
	}
}
END_TEST

START_TEST(test_record_encoded_is_read_by_protobuf_c)
{
	static struct random_record_event event;
	static uint8_t packed[65536];
	for (int i = 0; i < 200; i++) {
		random_record_make(&made, &random_source);
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&made.record, &out), 0);
		Annals__V1__Event *read = annals__v1__event__unpack(NULL, out.size, out.data);
		ck_assert_ptr_nonnull(read);
		random_record_event(&made, &event);
		ck_assert_uint_eq(annals__v1__event__pack(read, packed), out.size);
		ck_assert_mem_eq(packed, out.data, out.size);
		annals__v1__event__free_unpacked(read, NULL);
	}
}
END_TEST

/* The oracle for arbitrary bytes: what protobuf-c refuses, we refuse too. */
START_TEST(test_record_accepts_no_more_than_protobuf_c)
{
	for (int i = 0; i < 3000; i++) {
		random_record_make(&made, &random_source);
		made.record.data.size = ANNALS_MIN(made.record.data.size, 16);
		made.record.key.size = ANNALS_MIN(made.record.key.size, 16);
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&made.record, &out), 0);
		if (out.size == 0) {
			continue;
		}
		out.data[random_below(&random_source, out.size)] ^=
			(uint8_t)(1u << random_below(&random_source, 8));
		Annals__V1__Event *read = annals__v1__event__unpack(NULL, out.size, out.data);
		if (read == NULL) {
			ck_assert_int_lt(record_decode(buf_bytes(&out), &record, &err), 0);
			ck_assert_int_lt(record_decode_trusted(buf_bytes(&out), &record), 0);
		} else {
			annals__v1__event__free_unpacked(read, NULL);
		}
	}
}
END_TEST

START_TEST(test_record_encode_in_batch_is_a_batch)
{
	static uint8_t packed[65536];
	for (int i = 0; i < 5; i++) {
		random_record_make(&made, &random_source);
		ck_assert_int_eq(record_encode_in_batch(&made.record, &out), 0);
	}
	Annals__V1__Batch *batch = annals__v1__batch__unpack(NULL, out.size, out.data);
	ck_assert_ptr_nonnull(batch);
	ck_assert_uint_eq(batch->n_event, 5);
	ck_assert_uint_eq(annals__v1__batch__pack(batch, packed), out.size);
	ck_assert_mem_eq(packed, out.data, out.size);
	annals__v1__batch__free_unpacked(batch, NULL);
}
END_TEST

START_TEST(test_record_golden_bytes)
{
	const struct attribute extension = {
		.name = bytes_text("depth"), .kind = ATTRIBUTE_INTEGER, .integer = -2};
	const struct record_header header = {
		.name = bytes_text("h"), .has_value = true, .value = bytes_text("")};
	const struct bytes tag = bytes_text("t1");
	const struct record from = {
		.id = bytes_text("A-1"),
		.source = bytes_text("/s"),
		.type = bytes_text("quake"),
		.has_time = true,
		.time_ns = 1,
		.has_key = true,
		.key = bytes_text("ak"),
		.has_data = true,
		.data = bytes_text("{}"),
		.schema_version = 300,
		.extension_count = 1,
		.header_count = 1,
		.tag_count = 1,
		.extensions = &extension,
		.headers = &header,
		.tags = &tag,
	};
	ck_assert_int_eq(record_encode_in_batch(&from, &out), 0);
	ck_assert(hex_is(buf_bytes(&out), "0a 3a"
					  "0a 03 41 2d 31  12 02 2f 73  1a 05 71 75 61 6b 65"
					  "29 01 00 00 00 00 00 00 00  42 02 61 6b  4a 02 7b 7d"
					  "50 ac 02  5a 09 0a 05 64 65 70 74 68 18 03"
					  "62 05 0a 01 68 12 00  6a 02 74 31"));
}
END_TEST

START_TEST(test_record_empty_event_is_valid)
{
	ck_assert_int_eq(record_decode(bytes_of(NULL, 0), &record, &err), 0);
	ck_assert(!record.has_key && !record.has_data && !record.has_time && !record.has_due);
	ck_assert_uint_eq(record.id.size, 0);
	const struct record empty = {.has_time = false};
	ck_assert_int_eq(record_encode(&empty, &out), 0);
	ck_assert_uint_eq(out.size, 0);
	ck_assert_int_eq(record_encode_in_batch(&empty, &out), 0);
	ck_assert(hex_is(buf_bytes(&out), "0a 00"));
}
END_TEST

START_TEST(test_record_last_of_repeated_scalars_wins)
{
	ck_assert_int_eq(decode_hex("0a 01 61  0a 02 62 63  42 01 78  42 00"), 0);
	assert_text(record.id, "bc");
	ck_assert(record.has_key);
	ck_assert_uint_eq(record.key.size, 0);
	ck_assert_int_eq(decode_hex("5a 0b 0a 01 61 18 03 22 01 62 0a 01 63"), 0);
	struct attribute attribute;
	size_t cursor = 0;
	ck_assert_int_eq(record_next_extension(&record, &cursor, &attribute), 1);
	assert_text(attribute.name, "c");
	ck_assert_int_eq(attribute.kind, ATTRIBUTE_TEXT);
	assert_text(attribute.value, "b");
}
END_TEST

START_TEST(test_record_unknown_fields_are_skipped)
{
	/* numbers 15, 16 and 2^29-1, each wire type, between an id and a type */
	ck_assert_int_eq(decode_hex("0a 01 61  78 ff 01  79 01 02 03 04 05 06 07 08  7a 02 00 ff"
				    "7d 01 02 03 04  82 01 00  fa ff ff ff 0f 01 00  1a 01 62"),
		0);
	assert_text(record.id, "a");
	assert_text(record.type, "b");
}
END_TEST

START_TEST(test_record_truncation_is_malformed_or_shorter)
{
	random_record_make(&made, &random_source);
	made.record.has_due = false; /* the last field is then a length-delimited one */
	ck_assert_int_eq(record_encode(&made.record, &out), 0);
	struct record whole;
	ck_assert_int_eq(record_decode(buf_bytes(&out), &whole, &err), 0);
	size_t refused = 0;
	for (size_t size = 0; size < out.size; size++) {
		/* An exact copy, so that a sanitizer sees a read past the end. */
		uint8_t *copy = malloc(size + 1);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, out.data, size);
		uint8_t *exact = realloc(copy, size == 0 ? 1 : size);
		int status = record_decode(bytes_of(exact, size), &record, &err);
		refused += status < 0;
		ck_assert(status == 0 || status == ANNALS_E_MALFORMED);
		free(exact);
	}
	ck_assert_uint_gt(refused, out.size / 2);
}
END_TEST

START_TEST(test_record_malformed_bytes)
{
	static const char *const cases[] = {
		"0a",                                  /* a tag without a length */
		"0a 02 61",                            /* a length past the end */
		"0a ff ff ff ff 07 61",                /* 2^31 - 1 */
		"0a 80 80 80 80 08 61",                /* 2^31 */
		"0a ff ff ff ff 0f 61",                /* 2^32 - 1 */
		"0a 80 80 80 80 10 61",                /* 2^32 */
		"0a ff ff ff ff ff ff ff ff 7f 61",    /* 2^63 - 1 */
		"0a ff ff ff ff ff ff ff ff ff 01 61", /* 2^64 - 1 */
		"0a ff ff ff ff ff ff ff ff ff 02 61", /* above 2^64 - 1 */
		"0a 80 80 80 80 80 80 80 80 80 80 00", /* a varint of 11 bytes */
		"50", "50 80", "50 ff ff ff ff ff ff ff ff ff 7f", "29 00 00 00 00 00 00 00",
		"7d 00 00 00",                      /* cut numbers */
		"00", "02 00", "80 00 00",          /* field number 0 */
		"0b 0c", "7b 7c", "7c", "0e", "0f", /* groups and unknown wire types */
		"08 01", "09 00 00 00 00 00 00 00 00", "28 01", "42", "52 00", "58 01",
		"70 01",                                     /* known fields of other wire types */
		"fa ff ff ff 1f 00", "8a 80 80 80 80 00 00", /* tags above 2^32 - 1, of 6 bytes */
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		int status = decode_hex(cases[i]);
		ck_assert_msg(status == ANNALS_E_MALFORMED, "%s: %d", cases[i], status);
		ck_assert_int_eq(
			record_decode_trusted(buf_bytes(&out), &record), ANNALS_E_MALFORMED);
	}
	expect(decode_hex("5a 02 0a 05"), ANNALS_E_MALFORMED, "an extension is malformed");
	expect(decode_hex("5a 02 08 01"), ANNALS_E_MALFORMED, "an extension is malformed");
	expect(decode_hex("5a 02 30 01"), ANNALS_E_MALFORMED, "an extension is malformed");
	expect(decode_hex("62 02 0a 05"), ANNALS_E_MALFORMED, "a header is malformed");
	expect(decode_hex("62 02 10 05"), ANNALS_E_MALFORMED, "a header is malformed");
}
END_TEST

START_TEST(test_record_bad_utf8_names_the_field)
{
	static const struct {
		const char *hex;
		const char *field;
	} cases[] = {
		{"0a 01 ff", "'id'"},
		{"12 02 c3 28", "'source'"},
		{"1a 03 e2 82 61", "'type'"},
		{"22 02 c0 80", "'subject'"},
		{"32 03 ed a0 80", "'datacontenttype'"},
		{"3a 04 f4 90 80 80", "'dataschema'"},
		{"62 03 0a 01 80", "'header.name'"},
		{"6a 09 61 61 61 61 61 61 61 61 c3", "'tag'"},
		{"5a 06 0a 01 61 22 01 ff", "'a'"},
		{"5a 06 0a 01 62 32 01 ff", "'b'"},
		{"5a 06 0a 01 63 3a 01 ff", "'c'"},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		expect(decode_hex(cases[i].hex), ANNALS_E_VALIDATION, cases[i].field);
		expect(decode_hex(cases[i].hex), ANNALS_E_VALIDATION, "not valid UTF-8");
		ck_assert_int_eq(record_decode_trusted(buf_bytes(&out), &record), 0);
	}
	/* Bytes may be anything: key, data, header value, binary extension. */
	ck_assert_int_eq(decode_hex("42 01 ff 4a 01 ff 62 06 0a 01 61 12 01 ff"), 0);
	ck_assert_int_eq(decode_hex("5a 06 0a 01 61 2a 01 ff"), 0);
}
END_TEST

/* The ASCII shortcut must see a high bit at every place of texts of every length around its word
 * size. */
START_TEST(test_record_utf8_is_checked_at_every_byte)
{
	uint8_t text[40];
	for (size_t size = 1; size < sizeof(text); size++) {
		for (size_t at = 0; at < size; at++) {
			memset(text, 'a', size);
			text[at] = 0x80;
			struct record from = {.subject = bytes_of(text, size)};
			buf_reset(&out);
			ck_assert_int_eq(record_encode(&from, &out), 0);
			ck_assert_int_eq(
				record_decode(buf_bytes(&out), &record, &err), ANNALS_E_VALIDATION);
		}
	}
}
END_TEST

START_TEST(test_record_extension_names)
{
	static const char *const refused[] = {"", "A", "a_b", "caf\xc3\xa9", "id", "source", "type",
		"subject", "time", "data", "specversion", "datacontenttype", "dataschema",
		"partitionkey", "abcdefghijklmnopqrstu"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(refused); i++) {
		struct attribute attribute = {.name = bytes_text(refused[i])};
		struct record from = {.extension_count = 1, .extensions = &attribute};
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&from, &out), 0);
		ck_assert_msg(record_decode(buf_bytes(&out), &record, &err) == ANNALS_E_VALIDATION,
			"%s", refused[i]);
	}
	struct attribute twice[] = {{.name = bytes_text("a")},
		{.name = bytes_text("abcdefghijklmnopqr09")}, {.name = bytes_text("a")}};
	struct record from = {.extension_count = 2, .extensions = twice};
	ck_assert_int_eq(record_encode(&from, &out), 0);
	from.extension_count = 3;
	buf_reset(&out);
	ck_assert_int_eq(record_encode(&from, &out), 0);
	expect(record_decode(buf_bytes(&out), &record, &err), ANNALS_E_VALIDATION,
		"'a' occurs twice");
}
END_TEST

static void expect_limit(
	const struct record *at_limit, const struct record *above, const char *text)
{
	buf_reset(&out);
	ck_assert_int_eq(record_encode(at_limit, &out), 0);
	ck_assert_int_eq(record_decode(buf_bytes(&out), &record, &err), 0);
	buf_reset(&out);
	ck_assert_int_eq(record_encode(above, &out), 0);
	expect(record_decode(buf_bytes(&out), &record, &err), ANNALS_E_TOO_LARGE, text);
	ck_assert_int_eq(record_decode_trusted(buf_bytes(&out), &record), 0);
}

START_TEST(test_record_size_limits_are_named)
{
	static char text[RECORD_TEXT_BYTES_MAX + 1];
	memset(text, 'x', sizeof(text));
	struct bytes fits = bytes_of(text, RECORD_TEXT_BYTES_MAX);
	struct bytes above = bytes_of(text, RECORD_TEXT_BYTES_MAX + 1);
	expect_limit(&(struct record){.id = fits}, &(struct record){.id = above},
		"'id' has 4097 bytes, the limit is 4096");
	expect_limit(
		&(struct record){.source = fits}, &(struct record){.source = above}, "'source'");
	expect_limit(&(struct record){.type = fits}, &(struct record){.type = above}, "'type'");
	expect_limit(&(struct record){.tags = &fits, .tag_count = 1},
		&(struct record){.tags = &above, .tag_count = 1}, "'tag'");
	struct bytes key = bytes_of(text, RECORD_KEY_BYTES_MAX);
	struct bytes long_key = bytes_of(text, RECORD_KEY_BYTES_MAX + 1);
	expect_limit(&(struct record){.has_key = true, .key = key},
		&(struct record){.has_key = true, .key = long_key},
		"'key' has 1025 bytes, the limit is 1024");
}
END_TEST

START_TEST(test_record_count_limits_are_named)
{
	static struct attribute extensions[RECORD_EXTENSIONS_MAX + 1];
	static struct record_header headers[RECORD_HEADERS_MAX + 1];
	static struct bytes tags[RECORD_TAGS_MAX + 1];
	static char names[RECORD_EXTENSIONS_MAX + 1][8];
	for (size_t i = 0; i < ANNALS_COUNT_OF(extensions); i++) {
		snprintf(names[i], sizeof(names[i]), "x%zu", i);
		extensions[i].name = bytes_text(names[i]);
	}
	struct record at_limit = {.extensions = extensions, .headers = headers, .tags = tags};
	struct record above = at_limit;
	at_limit.extension_count = RECORD_EXTENSIONS_MAX;
	above.extension_count = RECORD_EXTENSIONS_MAX + 1;
	expect_limit(&at_limit, &above, "more than 64 extensions");
	above.extension_count = 0;
	at_limit.header_count = RECORD_HEADERS_MAX;
	above.header_count = RECORD_HEADERS_MAX + 1;
	expect_limit(&at_limit, &above, "more than 128 headers");
	above.header_count = 0;
	at_limit.tag_count = RECORD_TAGS_MAX;
	above.tag_count = RECORD_TAGS_MAX + 1;
	expect_limit(&at_limit, &above, "more than 64 tags");
}
END_TEST

START_TEST(test_record_time_range)
{
	static const char *const bounds[] = {
		"1678-01-01T00:00:00Z", "2261-12-31T23:59:59.999999999Z"};
	const int64_t limits[] = {RECORD_TIME_NS_MIN, RECORD_TIME_NS_MAX};
	const int64_t beyond[] = {RECORD_TIME_NS_MIN - 1, RECORD_TIME_NS_MAX + 1};
	const int64_t extremes[] = {INT64_MIN, INT64_MAX};
	for (int i = 0; i < 2; i++) {
		int64_t parsed;
		ck_assert_int_eq(parse_rfc3339_ns(bytes_text(bounds[i]), &parsed), 0);
		ck_assert_int_eq(parsed, limits[i]);
		struct record from = {.has_time = true, .time_ns = limits[i]};
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&from, &out), 0);
		ck_assert_int_eq(record_decode(buf_bytes(&out), &record, &err), 0);
		for (int j = 0; j < 2; j++) {
			from.time_ns = j == 0 ? beyond[i] : extremes[i];
			buf_reset(&out);
			ck_assert_int_eq(record_encode(&from, &out), 0);
			expect(record_decode(buf_bytes(&out), &record, &err), ANNALS_E_VALIDATION,
				"'time_ns' is a time outside");
		}
		struct record due = {.has_due = true, .due_ns = beyond[i]};
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&due, &out), 0);
		expect(record_decode(buf_bytes(&out), &record, &err), ANNALS_E_VALIDATION,
			"'due_ns' is a time outside");
		struct attribute attribute = {.name = bytes_text("t"),
			.kind = ATTRIBUTE_TIMESTAMP,
			.timestamp_ns = beyond[i]};
		struct record extension = {.extension_count = 1, .extensions = &attribute};
		buf_reset(&out);
		ck_assert_int_eq(record_encode(&extension, &out), 0);
		expect(record_decode(buf_bytes(&out), &record, &err), ANNALS_E_VALIDATION,
			"'t' is a time outside");
	}
}
END_TEST

START_TEST(test_record_numbers_are_cut_to_their_width)
{
	/* protobuf: a varint too wide for its field keeps the low 32 bits. */
	ck_assert_int_eq(decode_hex("50 ff ff ff ff ff ff ff ff ff 01"), 0);
	ck_assert_uint_eq(record.schema_version, UINT32_MAX);
	ck_assert_int_eq(decode_hex("50 80 80 80 80 10"), 0);
	ck_assert_uint_eq(record.schema_version, 0);
	ck_assert_int_eq(decode_hex("50 81 00"), 0); /* an overlong varint */
	ck_assert_uint_eq(record.schema_version, 1);
}
END_TEST

START_TEST(test_record_failure_leaves_the_result_alone)
{
	record = (struct record){.schema_version = 77};
	ck_assert_int_lt(decode_hex("50 01 0a 05"), 0);
	ck_assert_uint_eq(record.schema_version, 77);
	ck_assert_int_lt(record_decode(buf_bytes(&out), &record, NULL), 0);
}
END_TEST

START_TEST(test_record_field_numbers_are_those_of_the_schema)
{
	static const struct {
		const char *name;
		unsigned number;
	} fields[] = {
#define FIELD(name) {#name, EVENT_##name}
		FIELD(id), FIELD(source), FIELD(type), FIELD(subject), FIELD(time_ns),
		FIELD(datacontenttype), FIELD(dataschema), FIELD(key), FIELD(data),
		FIELD(schema_version), FIELD(extension), FIELD(header), FIELD(tag), FIELD(due_ns)
#undef FIELD
	};
	ck_assert_uint_eq(annals__v1__event__descriptor.n_fields, ANNALS_COUNT_OF(fields));
	for (size_t i = 0; i < ANNALS_COUNT_OF(fields); i++) {
		const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
			&annals__v1__event__descriptor, fields[i].number);
		ck_assert_ptr_nonnull(field);
		ck_assert_str_eq(field->name, fields[i].name);
	}
}
END_TEST

/*
 * Apache Kafka's own vectors: UtilsTest.testMurmur2 (hashes as Java's signed int); the partitions
 * are toPositive(hash) % 10, as in BuiltInPartitioner.partitionForKey.
 */
START_TEST(test_record_partition_is_that_of_kafka)
{
	static const struct {
		const char *key;
		int32_t hash;
	} vectors[] = {
		{"21", -973932308},
		{"foobar", -790332482},
		{"a-little-bit-long-string", -985981536},
		{"a-little-bit-longer-string", -1486304829},
		{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
		{"abc", 479470107},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(vectors); i++) {
		uint32_t positive = (uint32_t)vectors[i].hash & 0x7fffffffu;
		struct bytes key = bytes_text(vectors[i].key);
		ck_assert_uint_eq(hash_murmur2(key), (uint32_t)vectors[i].hash);
		ck_assert_uint_eq(record_partition(key, 10), positive % 10);
		ck_assert_uint_eq(record_partition(key, 10000), positive % 10000);
		ck_assert_uint_eq(record_partition(key, 1), 0);
	}
	ck_assert_uint_lt(record_partition(bytes_of(NULL, 0), 7), 7);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("record");
	TCase *c = tcase_create("record");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, test_record_encode_matches_protobuf_c);
	tcase_add_test(c, test_record_decode_reads_what_protobuf_c_packed);
	tcase_add_test(c, test_record_encoded_is_read_by_protobuf_c);
	tcase_add_test(c, test_record_accepts_no_more_than_protobuf_c);
	tcase_add_test(c, test_record_encode_in_batch_is_a_batch);
	tcase_add_test(c, test_record_golden_bytes);
	tcase_add_test(c, test_record_empty_event_is_valid);
	tcase_add_test(c, test_record_last_of_repeated_scalars_wins);
	tcase_add_test(c, test_record_unknown_fields_are_skipped);
	tcase_add_test(c, test_record_truncation_is_malformed_or_shorter);
	tcase_add_test(c, test_record_malformed_bytes);
	tcase_add_test(c, test_record_bad_utf8_names_the_field);
	tcase_add_test(c, test_record_utf8_is_checked_at_every_byte);
	tcase_add_test(c, test_record_extension_names);
	tcase_add_test(c, test_record_size_limits_are_named);
	tcase_add_test(c, test_record_count_limits_are_named);
	tcase_add_test(c, test_record_time_range);
	tcase_add_test(c, test_record_numbers_are_cut_to_their_width);
	tcase_add_test(c, test_record_failure_leaves_the_result_alone);
	tcase_add_test(c, test_record_field_numbers_are_those_of_the_schema);
	tcase_add_test(c, test_record_partition_is_that_of_kafka);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
