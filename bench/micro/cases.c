#include "cases.h"

#include <annals/crc32c.h>
#include <annals/hash.h>
#include <annals/schemas.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS 500
#define SIZES 2
#define FRAMES 100

volatile uint64_t cases_sink;

/* What an input is made of: 500 events of one encoded size, as a body in every codec, and stored.
 */
struct input {
	int size;
	struct buf bodies[BATCH_CODECS];
	struct buf stored;
	struct bytes one_event;
};

static struct input inputs[SIZES] = {{.size = 100}, {.size = 1024}};
static uint8_t bytes[65536];
static struct buf frames, append_request, append_response, fetch_request, scratch, out;
static struct record one_record;

static const struct input *input_of(const struct micro_case *c)
{
	return &inputs[c->size == inputs[0].size ? 0 : 1];
}

/* An event of about the shape of a real one, filled up with data to so many encoded bytes. */
static int add_event(struct buf *body, int index, int size)
{
	static char data[1024];
	char id[24];
	struct record record = {
		.source = bytes_text("/usgs"),
		.type = bytes_text("quake"),
		.has_time = true,
		.time_ns = INT64_C(1517446800000000000) + index,
		.has_key = true,
		.key = bytes_text("ak"),
		.has_data = true,
	};
	snprintf(id, sizeof(id), "ak182%05d", index);
	record.id = bytes_text(id);
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = (char)('a' + (i * 7 + (size_t)index * 13) % 26);
	}
	size_t rest = record_encoded_size(&record);
	record.data = bytes_of(data, (size_t)size - rest);
	while (record_encoded_size(&record) > (size_t)size) {
		record.data.size--;
	}
	return record_encode_in_batch(&record, body);
}

static int prepare_input(struct input *input)
{
	struct buf *plain = &input->bodies[BATCH_PLAIN];
	size_t cursor = 0;
	int status = 0;
	for (int i = 0; i < EVENTS && status == 0; i++) {
		status = add_event(plain, i, input->size);
	}
	for (int codec = BATCH_ZSTD; codec < BATCH_CODECS && status == 0; codec++) {
		status = batch_compress(buf_bytes(plain), codec, 0, &input->bodies[codec]);
	}
	if (status == 0) {
		status = buf_add_zeros(&input->stored, batch_stored_size(plain->size, 0));
	}
	if (status != 0) {
		return status;
	}
	const struct stamp stamp = {.body_format = BATCH_FORMAT_EVENTS,
		.body_bytes = (uint32_t)plain->size,
		.body_crc = crc32c(0, plain->data, plain->size),
		.plain_bytes = (uint32_t)plain->size,
		.count = EVENTS};
	batch_write(input->stored.data, &stamp, bytes_of(NULL, 0), buf_bytes(plain));
	return batch_next_event(buf_bytes(plain), &cursor, &input->one_event) == 1
		       ? 0
		       : ANNALS_E_INTERNAL;
}

static int prepare_wire(void)
{
	const struct wire_append_batch batch = {.partition = 3,
		.count = 500,
		.body_bytes = 51000,
		.body_crc = 0x12345678,
		.codec = BATCH_ZSTD};
	const struct wire_append_run run = {3, 500, 1000000, 2000000, 0, false, false};
	const struct wire_fetch_request fetch = {.topic = bytes_text("earthquakes"),
		.partition = 3,
		.offset = 1000000,
		.bytes_max = 1 << 20,
		.wait_ms = 1000,
		.codecs = 7,
		.topic_id = 12};
	int status = wire_append_request_encode(
		&append_request, bytes_text("earthquakes"), DURABILITY_FSYNC, &batch, 1);
	if (status == 0) {
		status = wire_append_response_encode(
			&append_response, 12, 1700000000000000, DURABILITY_FSYNC, &run, 1);
	}
	if (status == 0) {
		status = wire_fetch_request_encode(&fetch_request, &fetch);
	}
	for (int i = 0; i < FRAMES && status == 0; i++) {
		uint8_t header[FRAME_HEADER_BYTES];
		frame_write_header(header, FRAME_REQUEST, FRAME_APPEND, 0, (uint32_t)i,
			append_request.size, 100);
		status = buf_add(&frames, header, sizeof(header));
		if (status == 0) {
			status = buf_add(&frames, append_request.data, append_request.size);
		}
		if (status == 0) {
			status = buf_add_zeros(&frames, 100);
		}
	}
	return status;
}

/* ---- The cases ---- */

static uint64_t run_crc32c(const struct micro_case *c)
{
	cases_sink += crc32c(0, bytes, (size_t)c->size);
	return 1;
}

static uint64_t run_check(const struct micro_case *c)
{
	const struct batch_limits limits = {.events_max = 10000};
	struct batch_summary summary = {0};
	int status = batch_check_body(buf_bytes(&input_of(c)->bodies[c->codec]), c->codec, &limits,
		&scratch, &summary, NULL);
	cases_sink += summary.count + (uint64_t)status;
	return EVENTS;
}

static uint64_t run_walk(const struct micro_case *c)
{
	struct bytes body = buf_bytes(&input_of(c)->bodies[BATCH_PLAIN]);
	struct bytes event;
	size_t cursor = 0;
	uint64_t sum = 0;
	while (batch_next_event(body, &cursor, &event) == 1) {
		sum += event.size;
	}
	cases_sink += sum;
	return EVENTS;
}

static uint64_t run_view_verify(const struct micro_case *c)
{
	struct batch batch;
	if (batch_view(buf_bytes(&input_of(c)->stored), &batch) == 0) {
		cases_sink += (uint64_t)batch_verify(&batch, NULL);
	}
	return 1;
}

static uint64_t run_decode(const struct micro_case *c)
{
	struct record record;
	if (record_decode(input_of(c)->one_event, &record, NULL) == 0) {
		cases_sink += record.data.size;
	}
	return 1;
}

static uint64_t run_decode_trusted(const struct micro_case *c)
{
	struct record record;
	if (record_decode_trusted(input_of(c)->one_event, &record) == 0) {
		cases_sink += record.data.size;
	}
	return 1;
}

static uint64_t run_encode(const struct micro_case *c)
{
	(void)c;
	buf_reset(&out);
	cases_sink += (uint64_t)record_encode_in_batch(&one_record, &out);
	return 1;
}

static uint64_t run_partition(const struct micro_case *c)
{
	(void)c;
	cases_sink += record_partition(bytes_text("customer-12345678"), 1000);
	return 1;
}

static uint64_t run_frames(const struct micro_case *c)
{
	size_t at = 0;
	(void)c;
	while (at < frames.size) {
		struct frame frame;
		size_t needed;
		if (frame_parse(bytes_of(frames.data + at, frames.size - at), 1 << 20, &frame,
			    &needed, NULL) != 1) {
			break;
		}
		at += frame.size;
	}
	cases_sink += at;
	return FRAMES;
}

static uint64_t run_append_decode(const struct micro_case *c)
{
	struct wire_append_request request;
	struct wire_append_batch batch;
	size_t cursor = 0;
	(void)c;
	if (wire_append_request_decode(buf_bytes(&append_request), &request, NULL) == 0) {
		while (wire_append_next_batch(&request, &cursor, &batch) == 1) {
			cases_sink += batch.body_bytes;
		}
	}
	return 1;
}

static uint64_t run_append_encode(const struct micro_case *c)
{
	const struct wire_append_batch batch = {.partition = 3,
		.count = 500,
		.body_bytes = 51000,
		.body_crc = (uint32_t)cases_sink,
		.codec = BATCH_ZSTD};
	(void)c;
	buf_reset(&out);
	cases_sink += (uint64_t)wire_append_request_encode(
		&out, bytes_text("earthquakes"), DURABILITY_FSYNC, &batch, 1);
	return 1;
}

static uint64_t run_answer_encode(const struct micro_case *c)
{
	const struct wire_append_run run = {3, 1, 1000000, cases_sink | 1, 0, false, false};
	(void)c;
	buf_reset(&out);
	cases_sink += (uint64_t)wire_append_response_encode(
		&out, 12, 1700000000000000, DURABILITY_FSYNC, &run, 1);
	return 1;
}

static uint64_t run_answer_decode(const struct micro_case *c)
{
	struct wire_append_response response;
	struct wire_append_run run;
	size_t cursor = 0;
	(void)c;
	if (wire_append_response_decode(buf_bytes(&append_response), &response, NULL) == 0) {
		while (wire_append_next_run(&response, &cursor, &run) == 1) {
			cases_sink += run.base_offset;
		}
	}
	return 1;
}

static uint64_t run_fetch_decode(const struct micro_case *c)
{
	struct wire_fetch_request request;
	(void)c;
	if (wire_fetch_request_decode(buf_bytes(&fetch_request), &request, NULL) == 0) {
		cases_sink += request.offset;
	}
	return 1;
}

static struct micro_case all[] = {
	{.name = "crc32c 100 B", .unit = "call", .run = run_crc32c, .size = 100},
	{.name = "crc32c 1 KiB", .unit = "call", .run = run_crc32c, .size = 1024},
	{.name = "crc32c 64 KiB", .unit = "call", .run = run_crc32c, .size = 65536},
	{.name = "batch check 100 B", .unit = "event", .run = run_check, .size = 100},
	{.name = "batch check 1 KiB", .unit = "event", .run = run_check, .size = 1024},
	{.name = "batch check zstd 100 B",
		.unit = "event",
		.run = run_check,
		.size = 100,
		.codec = BATCH_ZSTD},
	{.name = "batch check lz4 100 B",
		.unit = "event",
		.run = run_check,
		.size = 100,
		.codec = BATCH_LZ4},
	{.name = "batch walk 100 B", .unit = "event", .run = run_walk, .size = 100},
	{.name = "batch walk 1 KiB", .unit = "event", .run = run_walk, .size = 1024},
	{.name = "batch view + verify 500 x 100 B",
		.unit = "batch",
		.run = run_view_verify,
		.size = 100},
	{.name = "record decode 100 B", .unit = "event", .run = run_decode, .size = 100},
	{.name = "record decode 1 KiB", .unit = "event", .run = run_decode, .size = 1024},
	{.name = "record decode trusted 100 B",
		.unit = "event",
		.run = run_decode_trusted,
		.size = 100},
	{.name = "record encode 100 B", .unit = "event", .run = run_encode, .size = 100},
	{.name = "partition of a 17-byte key", .unit = "call", .run = run_partition},
	{.name = "frame parse", .unit = "frame", .run = run_frames},
	{.name = "append request decode", .unit = "message", .run = run_append_decode},
	{.name = "append request encode", .unit = "message", .run = run_append_encode},
	{.name = "append response decode", .unit = "message", .run = run_answer_decode},
	{.name = "append response encode", .unit = "message", .run = run_answer_encode},
	{.name = "fetch request decode", .unit = "message", .run = run_fetch_decode},
};

struct micro_case *cases_all(size_t *ret_count)
{
	*ret_count = sizeof(all) / sizeof(all[0]);
	return all;
}

static void set_bytes(struct micro_case *c)
{
	if (c->run == run_crc32c) {
		c->bytes = (size_t)c->size;
	} else if (c->run == run_check || c->run == run_walk || c->run == run_view_verify) {
		/* The rate of compressed bodies is that of what they decompress to. */
		c->bytes = input_of(c)->bodies[BATCH_PLAIN].size;
	} else if (c->run == run_decode || c->run == run_decode_trusted || c->run == run_encode) {
		c->bytes = input_of(c)->one_event.size;
	}
}

int cases_prepare(void)
{
	struct random source = {1};
	int status = 0;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)random_next(&source);
	}
	for (size_t i = 0; i < SIZES && status == 0; i++) {
		status = prepare_input(&inputs[i]);
	}
	if (status == 0) {
		status = record_decode_trusted(inputs[0].one_event, &one_record);
	}
	if (status == 0) {
		status = prepare_wire();
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && status == 0; i++) {
		set_bytes(&all[i]);
	}
	return status;
}

void cases_release(void)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (int codec = 0; codec < BATCH_CODECS; codec++) {
			buf_release(&inputs[i].bodies[codec]);
		}
		buf_release(&inputs[i].stored);
	}
	buf_release(&frames);
	buf_release(&append_request);
	buf_release(&append_response);
	buf_release(&fetch_request);
	buf_release(&scratch);
	buf_release(&out);
}
