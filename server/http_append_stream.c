/*
 * ?atomic=false: NDJSON of any length, committed in segments, one after the other, so that "how far
 * it came" is one line number. Memory: a segment being filled, the one on its way, and the bytes of
 * one line; while a full segment waits for the one before it, the body is not read.
 */
#include "http_append.h"
#include "http_json.h"
#include <stdlib.h>

/* A segment goes off when it has so many bytes; a commit of this size costs about as much as its
 * flush. */
#define SEGMENT_BYTES (1u << 20)

static void advance(struct http_request *request);

/* ---- What was committed ---- */

static struct http_receipt *find_receipt(struct http_append *append, uint32_t partition)
{
	for (size_t i = 0; i < append->receipt_count; i++) {
		if (append->receipts[i].partition == partition) {
			return &append->receipts[i];
		}
	}
	struct http_receipt *receipts =
		reallocarray(append->receipts, append->receipt_count + 1, sizeof(*receipts));
	if (receipts == NULL) {
		return NULL;
	}
	append->receipts = receipts;
	receipts[append->receipt_count] = (struct http_receipt){.partition = partition};
	return &receipts[append->receipt_count++];
}

static int record_segment(struct http_append *append, const struct op_append *done)
{
	append->segments++;
	append->committed_line = append->flight_line;
	append->recorded_us = done->request.recorded_us;
	append->durability_got = done->request.durability;
	for (size_t i = 0; i < done->request.part_count; i++) {
		const struct append_part *part = &done->request.parts[i];
		struct http_receipt *receipt = find_receipt(append, part->partition);
		append->committed_count += part->summary.count;
		if (receipt == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		if (receipt->count == 0) {
			receipt->first_offset = part->base_offset;
		}
		receipt->count += part->summary.count;
		receipt->last_offset = part->base_offset + part->summary.count - 1;
	}
	return 0;
}

static void write_receipts(const struct http_append *append, struct json_writer *writer)
{
	json_member_u64(writer, "committedLine", append->committed_line);
	json_member_u64(writer, "count", append->committed_count);
	json_member_u64(writer, "segments", append->segments);
	json_name(writer, "partitions");
	json_begin_array(writer);
	for (size_t i = 0; i < append->receipt_count; i++) {
		const struct http_receipt *receipt = &append->receipts[i];
		json_begin_object(writer);
		json_member_u64(writer, "partition", receipt->partition);
		json_member_u64(writer, "count", receipt->count);
		json_member_u64(writer, "firstOffset", receipt->first_offset);
		json_member_u64(writer, "lastOffset", receipt->last_offset);
		json_end_object(writer);
	}
	json_end_array(writer);
}

/* ---- The answer ---- */

static void send_done(struct http_request *request)
{
	const struct http_append *append = request->work;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "topic", append->batcher.topic->name);
	if (append->segments > 0) {
		json_member_cstring(
			&writer, "durability", http_append_durability_name(append->durability_got));
		http_json_time(&writer, "recordedtime", append->recorded_us);
	}
	write_receipts(append, &writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

static void send_stopped(struct http_request *request, int status, const char *text,
	const struct op_detail *detail, uint64_t line)
{
	const struct http_append *append = request->work;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	http_problem_open(&writer, &body, status, text, detail);
	if (line > 0) {
		json_member_u64(&writer, "line", line);
	}
	write_receipts(append, &writer);
	json_end_object(&writer);
	http_problem_send(request, status, &body);
}

/* ---- Segments ---- */

static void segment_done(struct op *op)
{
	struct http_request *request = op->arg;
	struct http_append *append = request->work;
	if (op->status != 0) {
		const struct error error = op->error;
		const struct op_detail detail = op->detail;
		send_stopped(request, op->status, error.text, &detail, 0);
		return;
	}
	const int status = record_segment(append, (const struct op_append *)op);
	request->op = NULL;
	op_release(op);
	if (status != 0) {
		send_stopped(request, status, NULL, NULL, 0);
	} else {
		advance(request);
	}
}

/* Sends off what the batcher holds. False: the request is gone, or everything was done on the way.
 */
static void submit(struct http_request *request)
{
	struct http_append *append = request->work;
	append->flight_line = append->lines;
	const int status = http_append_start(request, segment_done);
	if (status < 0) {
		send_stopped(request, status, NULL, NULL, 0);
		return;
	}
	http_batcher_reset(&append->batcher);
	if (status == OP_DONE) {
		segment_done(request->op);
	}
}

/* The next whole line of what is pending; the last one needs no end. */
static bool next_line(struct http_append *append, struct bytes *ret)
{
	const struct bytes rest = bytes_of(append->pending.data + append->pending_used,
		append->pending.size - append->pending_used);
	const uint8_t *end = rest.size > 0 ? memchr(rest.data, '\n', rest.size) : NULL;
	if (end == NULL && (!append->body_ended || rest.size == 0)) {
		return false;
	}
	const size_t size = end != NULL ? (size_t)(end - rest.data) : rest.size;
	append->pending_used += size + (end != NULL);
	*ret = bytes_of(rest.data, size);
	return true;
}

/* Moves lines into the batcher until it is full, nothing is left or a line is bad. */
static void take_lines(struct http_append *append)
{
	struct cloudevent event;
	struct bytes line;
	cloudevent_init(&event);
	while (append->problem.code == 0 && append->batcher.size_bytes < SEGMENT_BYTES &&
		next_line(append, &line)) {
		struct error err = {0};
		if (http_append_line(append, &event, line, append->lines + 1, &err) != 0) {
			append->problem = err;
		} else {
			append->lines++;
		}
	}
	cloudevent_release(&event);
	buf_consume(&append->pending, append->pending_used);
	append->pending_used = 0;
}

static void check_line_length(struct http_request *request)
{
	struct http_append *append = request->work;
	const uint64_t limit = http_loop(request)->options->request_bytes_max;
	if (append->problem.code == 0 && append->pending.size > limit &&
		memchr(append->pending.data, '\n', limit) == NULL) {
		error_fail(&append->problem, ANNALS_E_TOO_LARGE,
			"line %llu: longer than request-bytes-max, %llu bytes",
			(unsigned long long)append->lines + 1, (unsigned long long)limit);
	}
}

/* Does whatever can be done now; the request may be gone afterwards. */
static void advance(struct http_request *request)
{
	struct http_append *append = request->work;
	take_lines(append);
	const bool full = append->batcher.size_bytes >= SEGMENT_BYTES;
	const bool stopping = append->body_ended || append->problem.code != 0;
	if (!full) {
		check_line_length(request);
	}
	if (request->op != NULL) {
		if (full || append->problem.code != 0) {
			http_pause_body(request);
		}
		return;
	}
	if (append->batcher.count > 0 && (full || stopping)) {
		http_resume_body(request);
		submit(request);
		return;
	}
	if (append->problem.code != 0) {
		send_stopped(request, append->problem.code, append->problem.text, NULL,
			append->lines + 1);
	} else if (append->body_ended) {
		send_done(request);
	} else {
		http_resume_body(request);
	}
}

void http_append_stream_piece(struct http_request *request, struct bytes data)
{
	struct http_append *append = request->work;
	if (append->problem.code != 0) {
		return;
	}
	if (buf_add(&append->pending, data.data, data.size) != 0) {
		error_fail(&append->problem, ANNALS_E_NO_MEMORY, "out of memory");
	}
	advance(request);
}

void http_append_stream_end(struct http_request *request)
{
	struct http_append *append = request->work;
	append->body_ended = true;
	advance(request);
}
