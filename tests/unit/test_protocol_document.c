/*
 * What docs/protocol.md shows in bytes is what the code makes: the blocks "```hex NAME" there are
 * compared with frames built here, and its tables with the code. Arguments: the document; or
 * --print, to write the bytes anew.
 */
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <annals/schemas.h>
#include <stdlib.h>

#include "hex.h"
#include "suite.h"
#include "wire.pb-c.h"

#define TOPIC "quakes"
#define RECORDED_US 1700000000000000

static const char *document_path;
static char *document;
static struct buf frame, control, body, stored;

static void setup(void)
{
	FILE *file = fopen(document_path, "r");
	struct buf text = BUF_INIT;
	ck_assert_ptr_nonnull(file);
	for (int c = fgetc(file); c != EOF; c = fgetc(file)) {
		ck_assert_int_eq(buf_add_byte(&text, (uint8_t)c), 0);
	}
	fclose(file);
	ck_assert_int_eq(buf_add_byte(&text, 0), 0);
	document = (char *)text.data;
}

static void teardown(void)
{
	free(document);
	buf_release(&frame);
	buf_release(&control);
	buf_release(&body);
	buf_release(&stored);
}

/* Also called without a test running. */
static void must(int status)
{
	if (status != 0) {
		abort();
	}
}

static void make_body(void)
{
	const struct record first = {
		.id = bytes_text("a1"),
		.source = bytes_text("/usgs"),
		.type = bytes_text("quake"),
		.has_time = true,
		.time_ns = INT64_C(1517446800000000000),
		.has_key = true,
		.key = bytes_text("ak"),
		.has_data = true,
		.data = bytes_text("{\"mag\":1.8}"),
	};
	struct record second = first;
	second.id = bytes_text("a2");
	second.time_ns = INT64_C(1517446860000000000);
	second.data = bytes_text("{\"mag\":4.1}");
	buf_reset(&body);
	must(record_encode_in_batch(&first, &body));
	must(record_encode_in_batch(&second, &body));
}

static void make_frame(enum frame_kind kind, enum frame_operation operation, int status,
	uint32_t correlation, struct bytes data)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_write_header(header, kind, operation, status, correlation, control.size, data.size);
	buf_reset(&frame);
	must(buf_add(&frame, header, sizeof(header)));
	must(buf_add(&frame, control.data, control.size));
	must(buf_add(&frame, data.data, data.size));
	buf_reset(&control);
}

static void pack(const ProtobufCMessage *message)
{
	buf_reset(&control);
	must(pack_message(message, &control));
}

static void make_hello_request(void)
{
	char name[] = "example";
	char version[] = "1.0";
	Annals__V1__HelloRequest message;
	annals__v1__hello_request__init(&message);
	message.magic = FRAME_HELLO_MAGIC;
	message.version_min = 1;
	message.version_max = 1;
	message.client_name = name;
	message.client_version = version;
	pack(&message.base);
	make_frame(FRAME_REQUEST, FRAME_HELLO, 0, 1, bytes_of(NULL, 0));
}

static void make_hello_response(void)
{
	char name[] = "annalsd";
	char version[] = "0.1.0";
	char uuid[] = "3e0c9a52-5d2f-4b7e-9f51-0d6a1c8e7b42";
	char limit_name[] = "request-bytes-max";
	Annals__V1__HelloResponse message;
	Annals__V1__Limit limit;
	Annals__V1__Limit *limits[] = {&limit};
	annals__v1__hello_response__init(&message);
	annals__v1__limit__init(&limit);
	limit.name = limit_name;
	limit.value = 4 << 20;
	message.version = 1;
	message.server_name = name;
	message.server_version = version;
	message.store_uuid = uuid;
	message.n_limit = 1;
	message.limit = limits;
	pack(&message.base);
	make_frame(FRAME_RESPONSE, FRAME_HELLO, 0, 1, bytes_of(NULL, 0));
}

static void make_append_request(void)
{
	make_body();
	const struct wire_append_batch batch = {
		.partition = 0,
		.count = 2,
		.body_bytes = (uint32_t)body.size,
		.body_crc = crc32c(0, body.data, body.size),
		.codec = BATCH_PLAIN,
	};
	must(wire_append_request_encode(
		&control, bytes_text(TOPIC), DURABILITY_DEFAULT, &batch, 1));
	make_frame(FRAME_REQUEST, FRAME_APPEND, 0, 2, buf_bytes(&body));
}

static void make_append_response(void)
{
	const struct wire_append_run run = {.count = 2, .base_position = 1};
	must(wire_append_response_encode(&control, 1, RECORDED_US, DURABILITY_FSYNC, &run, 1));
	make_frame(FRAME_RESPONSE, FRAME_APPEND, 0, 2, bytes_of(NULL, 0));
}

static void make_fetch_request(void)
{
	const struct wire_fetch_request request = {
		.topic = bytes_text(TOPIC), .bytes_max = 65536, .wait_ms = 1000, .codecs = 7};
	must(wire_fetch_request_encode(&control, &request));
	make_frame(FRAME_REQUEST, FRAME_FETCH, 0, 3, bytes_of(NULL, 0));
}

static void make_fetch_response(void)
{
	const struct wire_fetch_response response = {
		.topic_id = 1, .end_offset = 2, .next_offset = 2};
	make_body();
	const struct stamp stamp = {
		.codec = BATCH_PLAIN,
		.body_format = BATCH_FORMAT_EVENTS,
		.kind = BATCH_DATA,
		.body_bytes = (uint32_t)body.size,
		.body_crc = crc32c(0, body.data, body.size),
		.plain_bytes = (uint32_t)body.size,
		.count = 2,
		.topic_id = 1,
		.base_position = 1,
		.recorded_us = RECORDED_US,
		.first_time_ns = INT64_C(1517446800000000000),
		.last_time_ns = INT64_C(1517446860000000000),
	};
	size_t size = batch_stored_size(body.size, 0);
	buf_reset(&stored);
	must(buf_add_zeros(&stored, size));
	batch_write(stored.data, &stamp, bytes_of(NULL, 0), buf_bytes(&body));
	must(wire_fetch_response_encode(&control, &response));
	make_frame(FRAME_RESPONSE, FRAME_FETCH, 0, 3, buf_bytes(&stored));
}

static void make_error_response(void)
{
	char topic[] = TOPIC;
	char name[] = "offset-beyond-end";
	char detail[] = "offset 9 of partition 0 of topic 'quakes' lies beyond its end, 2";
	Annals__V1__Error message;
	annals__v1__error__init(&message);
	message.status = -ANNALS_E_OFFSET_BEYOND_END;
	message.name = name;
	message.detail = detail;
	message.topic = topic;
	message.offset = 9;
	message.end_offset = 2;
	pack(&message.base);
	make_frame(FRAME_RESPONSE, FRAME_FETCH, ANNALS_E_OFFSET_BEYOND_END, 4, bytes_of(NULL, 0));
}

static const struct {
	const char *name;
	void (*make)(void);
} examples[] = {
	{"hello-request", make_hello_request},
	{"hello-response", make_hello_response},
	{"append-request", make_append_request},
	{"append-response", make_append_response},
	{"fetch-request", make_fetch_request},
	{"fetch-response", make_fetch_response},
	{"error-response", make_error_response},
};

/* The bytes of the block; what follows `;` on a line is a comment. */
static void read_block(const char *name, struct buf *out)
{
	char fence[64];
	snprintf(fence, sizeof(fence), "\n```hex %s\n", name);
	const char *at = strstr(document, fence);
	ck_assert_msg(at != NULL, "the document has no block '%s'", name);
	at += strlen(fence);
	const char *end = strstr(at, "\n```");
	ck_assert_ptr_nonnull(end);
	while (at < end) {
		size_t line = strcspn(at, "\n");
		char hex[200];
		size_t size = ANNALS_MIN(strcspn(at, ";\n"), sizeof(hex) - 1);
		memcpy(hex, at, size);
		hex[size] = 0;
		hex_parse(hex, out);
		at += line + 1;
	}
}

START_TEST(test_protocol_document_examples)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(examples); i++) {
		struct buf shown = BUF_INIT;
		read_block(examples[i].name, &shown);
		examples[i].make();
		ck_assert_msg(bytes_equal(buf_bytes(&shown), buf_bytes(&frame)),
			"block '%s' differs from what the code makes; run with --print",
			examples[i].name);
		buf_release(&shown);
	}
}
END_TEST

START_TEST(test_protocol_document_shows_every_status)
{
	static const struct {
		int number;
		const char *name;
	} statuses[] = {
#define STATUS(id, number, name, http, retryable, text) {number, name},
		ANNALS_STATUS_LIST(STATUS)
#undef STATUS
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(statuses); i++) {
		char row[80];
		snprintf(row, sizeof(row), "\n| %d | `%s` |", statuses[i].number, statuses[i].name);
		ck_assert_msg(strstr(document, row) != NULL, "no row '%s'", row + 1);
	}
}
END_TEST

START_TEST(test_protocol_document_partition_vectors)
{
	static const char *const keys[] = {"21", "foobar", "a-little-bit-long-string",
		"a-little-bit-longer-string", "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
		"abc", "ak", ""};
	for (size_t i = 0; i < ANNALS_COUNT_OF(keys); i++) {
		struct bytes key = bytes_text(keys[i]);
		char row[160];
		snprintf(row, sizeof(row), "\n| `%s` | %d | %u | %u | %u |", keys[i],
			(int)(int32_t)hash_murmur2(key), record_partition(key, 4),
			record_partition(key, 10), record_partition(key, 1000));
		ck_assert_msg(strstr(document, row) != NULL, "no row '%s'", row + 1);
	}
}
END_TEST

static int print(void)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(examples); i++) {
		examples[i].make();
		printf("%s\n", examples[i].name);
		for (size_t at = 0; at < frame.size; at++) {
			printf("%02x%s", frame.data[at],
				at % 16 == 15 || at + 1 == frame.size ? "\n" : " ");
		}
	}
	teardown();
	return 0;
}

int main(int argc, char **argv)
{
	const TTest *const tests[] = {test_protocol_document_examples,
		test_protocol_document_shows_every_status,
		test_protocol_document_partition_vectors};
	if (argc != 2) {
		fprintf(stderr, "usage: test_protocol_document DOCUMENT | --print\n");
		return 2;
	}
	if (strcmp(argv[1], "--print") == 0) {
		return print();
	}
	document_path = argv[1];
	return suite_run("protocol_document", setup, teardown, tests, ANNALS_COUNT_OF(tests), 30);
}
