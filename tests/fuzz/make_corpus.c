/* Writes the seeds of the fuzz targets: make_corpus DIRECTORY. The same bytes each time. */
#include <annals/crc32c.h>
#include <annals/schemas.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../schema/quake_sets.h"
#include "../schema/sample_set.h"
#include "random_record.h"
#include "wire.pb-c.h"

static const char *corpus;
static struct random random_source = {1};

static void must(int status)
{
	if (status != 0) {
		fprintf(stderr, "make_corpus: status %d\n", status);
		exit(1);
	}
}

/* One seed: the byte `first` unless it is negative, then the bytes. */
static void write_seed(const char *target, const char *name, int first, struct bytes bytes)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/fuzz_%s", corpus, target);
	must(mkdir(path, 0777) != 0 && errno != EEXIST);
	snprintf(path, sizeof(path), "%s/fuzz_%s/%s", corpus, target, name);
	FILE *file = fopen(path, "wb");
	must(file == NULL);
	if (first >= 0) {
		must(fputc(first, file) == EOF);
	}
	must(fwrite(bytes.data, 1, bytes.size, file) != bytes.size);
	must(fclose(file));
}

static void write_text(const char *target, const char *name, const char *text)
{
	write_seed(target, name, -1, bytes_text(text));
}

static void small_record(struct random_record *made)
{
	random_record_make(made, &random_source);
	made->record.data.size = ANNALS_MIN(made->record.data.size, 30);
	made->record.key.size = ANNALS_MIN(made->record.key.size, 10);
	made->record.source.size = 0;
	made->record.extension_count = ANNALS_MIN(made->record.extension_count, 2);
	made->record.header_count = ANNALS_MIN(made->record.header_count, 2);
	made->record.tag_count = ANNALS_MIN(made->record.tag_count, 2);
}

static void write_records(struct buf *body)
{
	static struct random_record made;
	struct buf out = BUF_INIT;
	for (int i = 0; i < 8; i++) {
		char name[32];
		small_record(&made);
		buf_reset(&out);
		must(record_encode(&made.record, &out));
		must(record_encode_in_batch(&made.record, body));
		snprintf(name, sizeof(name), "random-%d", i);
		write_seed("record", name, -1, buf_bytes(&out));
	}
	write_seed("record", "bad-utf8", -1, bytes_text("\x0a\x02\xc0\x80"));
	write_seed("record", "unknown-fields", -1, bytes_text("\x78\x01\x7a\x01z\x0a\x01i"));
	write_seed("record", "group", -1, bytes_text("\x0b\x0c"));
	buf_release(&out);
}

static void write_stored(const char *name, enum batch_codec codec, struct bytes body,
	uint32_t plain_bytes, struct bytes columns, struct buf *out)
{
	const struct stamp stamp = {.codec = (uint8_t)codec,
		.body_format = BATCH_FORMAT_EVENTS,
		.body_bytes = (uint32_t)body.size,
		.body_crc = crc32c(0, body.data, body.size),
		.plain_bytes = plain_bytes,
		.count = 8,
		.topic_id = 1,
		.base_position = 1};
	buf_reset(out);
	must(buf_add_zeros(out, batch_stored_size(body.size, columns.size)));
	batch_write(out->data, &stamp, columns, body);
	write_seed("batch", name, BATCH_CODECS + 1, buf_bytes(out));
}

static void write_batches(struct bytes body, struct buf *stored)
{
	static const uint8_t columns[16] = {7, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};
	struct buf packed = BUF_INIT;
	for (int codec = 0; codec < BATCH_CODECS; codec++) {
		char name[64];
		buf_reset(&packed);
		must(batch_compress(body, codec, 0, &packed));
		snprintf(name, sizeof(name), "body-%s", batch_codec_name(codec));
		write_seed("batch", name, codec, buf_bytes(&packed));
		snprintf(name, sizeof(name), "stored-%s", batch_codec_name(codec));
		write_stored(name, codec, buf_bytes(&packed), (uint32_t)body.size,
			bytes_of(NULL, 0), stored);
	}
	write_seed("batch", "unknown-codec", BATCH_CODECS, body);
	write_stored("stored-columns", BATCH_PLAIN, bytes_text("\x0a"), 1,
		bytes_of(columns, sizeof(columns)), stored);
	buf_release(&packed);
}

static void write_blocks(struct bytes stored)
{
	struct buf block = BUF_INIT;
	uint8_t *room;
	must(block_begin(&block));
	must(block_add(&block, BLOCK_APPEND, stored.size, &room));
	memcpy(room, stored.data, stored.size);
	must(block_add(&block, BLOCK_GROUP_DELETE, 3, &room));
	memcpy(room, "grp", 3);
	block_finish(&block, 2, 1700000000000000, 1);
	write_seed("block", "append-and-group", -1, buf_bytes(&block));
	block.data[8] = 3;
	write_seed("block", "wrong-count", -1, buf_bytes(&block));
	buf_reset(&block);
	must(block_begin(&block));
	must(block_add(&block, BLOCK_TRIM, 16, &room));
	memset(room, 1, 16);
	block_finish(&block, 1, 0, 0);
	write_seed("block", "trim", -1, buf_bytes(&block));
	buf_release(&block);
}

static void add_frame(struct buf *out, enum frame_kind kind, enum frame_operation operation,
	struct bytes control, struct bytes data)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_write_header(header, kind, operation, 0, 7, control.size, data.size);
	must(buf_add(out, header, sizeof(header)));
	must(buf_add(out, control.data, control.size));
	must(buf_add(out, data.data, data.size));
}

static void write_frames(struct bytes append, struct bytes body)
{
	struct buf out = BUF_INIT;
	const struct bytes none = {NULL, 0};
	add_frame(&out, FRAME_REQUEST, FRAME_HELLO,
		bytes_text("\x0d"
			   "ANNL\x10\x01\x18\x01"),
		none);
	write_seed("frame", "hello", -1, buf_bytes(&out));
	add_frame(&out, FRAME_REQUEST, FRAME_PING, none, none);
	add_frame(&out, FRAME_REQUEST, FRAME_APPEND, append, body);
	write_seed("frame", "pipelined", -1, buf_bytes(&out));
	write_seed("frame", "cut", -1, bytes_of(out.data, out.size - 1));
	buf_reset(&out);
	add_frame(&out, FRAME_PUSH, FRAME_SUBSCRIBE, bytes_text("\x08\x01"), body);
	write_seed("frame", "push", -1, buf_bytes(&out));
	store_u32(out.data, 0x80000000);
	write_seed("frame", "too-large", -1, buf_bytes(&out));
	store_u32(out.data, 11);
	write_seed("frame", "too-small", -1, buf_bytes(&out));
	buf_release(&out);
}

/* The numbers are the places in fuzz_wire.c's table. */
static void write_wire(struct buf *append)
{
	struct buf out = BUF_INIT;
	const struct wire_append_batch batches[] = {
		{.partition = 1, .count = 8, .body_bytes = 100, .body_crc = 5, .codec = 1},
		{.producer_id = UINT64_MAX, .producer_epoch = 2, .first_sequence = 3}};
	must(wire_append_request_encode(append, bytes_text("quakes"), DURABILITY_OS, batches, 2));
	write_seed("wire", "append-request", 0, buf_bytes(append));
	const struct wire_append_run runs[] = {
		{1, 8, 1000, 2000, 3, true, true}, {UINT32_MAX, 1, UINT64_MAX, 1, 1, false, false}};
	must(wire_append_response_encode(&out, 1, 1700000000000000, DURABILITY_FSYNC, runs, 2));
	write_seed("wire", "append-response", 1, buf_bytes(&out));
	buf_reset(&out);
	const struct wire_fetch_request fetch = {
		.topic = bytes_text("quakes"), .offset = 300, .bytes_max = 65536, .codecs = 7};
	must(wire_fetch_request_encode(&out, &fetch));
	write_seed("wire", "fetch-request", 2, buf_bytes(&out));
	buf_reset(&out);
	const struct wire_fetch_response fetched = {1, 2, 3, 400};
	must(wire_fetch_response_encode(&out, &fetched));
	write_seed("wire", "fetch-response", 3, buf_bytes(&out));
	buf_reset(&out);
	const struct wire_push push = {1, 2, 3, 4, true, bytes_text("\x08\x06\x12\x01x")};
	must(wire_push_encode(&out, &push));
	write_seed("wire", "push", 4, buf_bytes(&out));
	write_seed("wire", "hello", 5,
		bytes_text("\x0d"
			   "ANNL\x10\x01\x18\x01\x22\x01"
			   "c"));
	write_seed("wire", "topic-create", 7, bytes_text("\x0a\x02qq\x12\x04\x08\x04\x28\x01"));
	write_seed("wire", "topic-update", 8,
		bytes_text("\x0a\x02qq\x12\x02\x18\x09\x1a\x0fretention_bytes"));
	write_seed("wire", "topic-list", 9,
		bytes_text("\x0a\x0c\x0a\x02qq\x10\x01\x32\x04\x08\x01\x18\x02"));
	write_seed("wire", "subscribe", 10,
		bytes_text("\x0a\x02qq\x12\x04\x08\x01\x10\x05\x18\x01\x28\x7f"));
	write_seed("wire", "offset-commit", 11,
		bytes_text("\x0a\x01g\x12\x09\x0a\x02qq\x18\x05\x22\x01m"));
	write_seed("wire", "error", 12,
		bytes_text("\x08\x06\x12\x01n\x1a\x01"
			   "d\x68\x01"));
	write_seed("wire", "topic-record", 13, bytes_text("\x08\x01\x1a\x02qq\x20\x04"));
	write_seed("wire", "offset-record", 14, bytes_text("\x0a\x01g\x10\x01\x20\x05"));
	buf_release(&out);
}

static void write_http(void)
{
	write_text("http", "get", "GET /v1/topics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n");
	write_text("http", "post",
		"POST /v1/topics/t/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
		"Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n");
	write_text("http", "chunked",
		"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n");
	write_text("http", "close", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n");
	write_text("http", "smuggling",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: "
		"chunked\r\n\r\n0\r\n\r\n");
	write_text("http", "bare-lf", "GET / HTTP/1.1\nHost: a\n\n");
	write_text("http", "expect",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
	write_text(
		"http", "percent", "\r\nGET http://a/%41%2f?key=%00 HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void write_cloudevents(void)
{
	write_text("cloudevent", "small",
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}");
	write_text("cloudevent", "full",
		"{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"/"
		"s\",\"type\":\"t\",\"subject\":\"u\","
		"\"time\":\"2018-02-01T01:49:59.650Z\",\"datacontenttype\":\"application/json\","
		"\"dataschema\":\"urn:x\",\"partitionkey\":\"k\",\"schemaversion\":3,\"num\":-5,"
		"\"flag\":true,\"text\":\"caf\\u00e9 "
		"\\ud83c\\udf0b\",\"data\":{\"mag\":[1.8,null,\"x\"]}}");
	write_text("cloudevent", "binary-data",
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\","
		"\"annalskey64\":\"_w\",\"datacontenttype\":\"image/"
		"png\",\"data_base64\":\"AAEC\"}");
	write_text("cloudevent", "text-data",
		"{\"data\":\"a\\nb\",\"datacontenttype\":\"text/"
		"plain\",\"type\":\"t\",\"source\":\"s\","
		"\"id\":\"i\",\"specversion\":\"1.0\"}");
	/* Found by this target: the escape makes the text be copied before it is decoded. */
	char key64[320];
	snprintf(key64, sizeof(key64), "{\"annalskey64\":\"\\u0041%0*d\"}", 199, 0);
	write_text("cloudevent", "key64-with-escape", key64);
	write_text("cloudevent", "broken", "{\"specversion\":\"1.0\",\"id\":\"\\ud800\",}");
}

/* The low bits of the first byte are the places in fuzz_validate.c's table, the others options. */
static void write_validate(void)
{
	struct buf deep = BUF_INIT;
	write_seed("validate", "quake-empty", 7, bytes_text(""));
	write_seed("validate", "tag-zero", 2, bytes_text("\x02\x01"));
	write_seed("validate", "tag-largest", 2, bytes_text("\xf8\xff\xff\xff\x0f\x01"));
	write_seed("validate", "tag-too-large", 2, bytes_text("\xf8\xff\xff\xff\x1f\x01"));
	write_seed("validate", "bad-utf8", 2, bytes_text("\x0a\x02\xc0\x80"));
	write_seed("validate", "cut-text", 2,
		bytes_text("\x0a\x7f"
			   "a"));
	write_seed("validate", "long-varint", 2,
		bytes_text("\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
	write_seed("validate", "length-2-63", 2,
		bytes_text("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"));
	for (int i = 0; i < 200; i++) {
		must(buf_add(&deep, "\x0b", 1));
	}
	write_seed("validate", "open-groups", 0, buf_bytes(&deep));
	buf_reset(&deep);
	/* Lists in lists: ListValue.values[0].list_value... */
	for (int i = 120; i > 0; i--) {
		const uint8_t level[] = {0x32, (uint8_t)i};
		must(buf_add(&deep, level, sizeof(level)));
	}
	write_seed("validate", "lists-in-lists", 5, buf_bytes(&deep));
	buf_release(&deep);
}

static void write_descriptors(void)
{
	static const uint8_t *const sets[] = {sample_set, quake_set1, quake_set2, quake_set3};
	static const size_t sizes[] = {
		sizeof(sample_set), sizeof(quake_set1), sizeof(quake_set2), sizeof(quake_set3)};
	static const char *const names[] = {"sample", "quake1", "quake2", "quake3"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(sets); i++) {
		write_seed("descriptor", names[i], -1, bytes_of(sets[i], sizes[i]));
	}
	write_seed("descriptor", "imports-itself", -1,
		bytes_text("\x0a\x06\x0a\x01"
			   "a\x1a\x01"
			   "a"));
	write_seed("descriptor", "circle", -1,
		bytes_text("\x0a\x06\x0a\x01"
			   "a\x1a\x01"
			   "b\x0a\x06\x0a\x01"
			   "b\x1a\x01"
			   "a"));
	/* Messages: `M { M m = 1; }` and a field whose number is 2^29. */
	write_seed("descriptor", "recursive", -1,
		bytes_text("\x0a\x14\x0a\x01"
			   "a\x22\x0f\x0a\x01M\x12\x0a\x0a\x01m\x18\x01"
			   "(\x0b\x32\x01M"));
	write_seed("descriptor", "number-2-29", -1,
		bytes_text("\x0a\x15\x0a\x01"
			   "a\x22\x10\x0a\x01M\x12\x0b\x0a\x01m\x18"
			   "\x80\x80\x80\x80\x02(\x05"));
}

int main(int argc, char **argv)
{
	struct buf body = BUF_INIT;
	struct buf stored = BUF_INIT;
	struct buf append = BUF_INIT;
	if (argc != 2) {
		fprintf(stderr, "usage: make_corpus DIRECTORY\n");
		return 2;
	}
	corpus = argv[1];
	write_records(&body);
	write_batches(buf_bytes(&body), &stored);
	write_blocks(buf_bytes(&stored));
	write_wire(&append);
	write_frames(buf_bytes(&append), buf_bytes(&body));
	write_http();
	write_cloudevents();
	write_validate();
	write_descriptors();
	buf_release(&body);
	buf_release(&stored);
	buf_release(&append);
	return 0;
}
