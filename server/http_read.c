/* Reading a partition over HTTP: pages of NDJSON, a JSON array or protobuf, with long poll; single
 * events. */
#include "http_read.h"
#include "http_text.h"
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT_INITIAL 1000u
#define LIMIT_MAX 1000000u
#define SEARCH_LIMIT_MAX 100000u
#define SLICE_BYTES HTTP_READ_SLICE_BYTES
/* Written at once; one chunk of the answer. */
#define WRITE_BYTES (64u << 10)
#define ALL_CODECS ((1u << BATCH_CODECS) - 1)

static const char *const formats[] = {"application/x-ndjson", "application/cloudevents-batch+json",
	"application/json", "application/x-protobuf"};
static const enum http_event_format format_kinds[] = {
	HTTP_FORMAT_LINES, HTTP_FORMAT_ARRAY, HTTP_FORMAT_ARRAY, HTTP_FORMAT_PROTOBUF};

static void pump(struct http_request *request);

static void free_read(void *work)
{
	struct http_read *read = work;
	http_search_stop(read);
	topic_unref(read->topic);
	buf_release(&read->batches);
	buf_release(&read->out);
	buf_release(&read->text);
	http_filter_release(&read->filter);
	http_event_walk_release(&read->walk);
	http_typed_reader_release(&read->typed);
	free(read);
}

/* Takes the topic's reference; NULL after a problem. */
static struct http_read *new_read(struct http_request *request)
{
	uint64_t partition;
	struct topic *topic = http_topic(request, 0);
	if (topic == NULL) {
		return NULL;
	}
	if (!http_path_number(request, 1, UINT32_MAX, &partition)) {
		topic_unref(topic);
		return NULL;
	}
	struct http_read *read = calloc(1, sizeof(*read));
	if (read == NULL) {
		topic_unref(topic);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	read->topic = topic;
	read->partition = (uint32_t)partition;
	http_event_walk_init(&read->walk, topic);
	request->work = read;
	request->free_work = free_read;
	return read;
}

/* ---- Slices ---- */

int http_read_ask(struct http_request *request, void (*done)(struct op *op), uint32_t bytes_max,
	uint64_t wait_us)
{
	struct http_read *read = request->work;
	struct op_read *op = op_read_new(http_loop(request));
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return 0;
	}
	op->op.done = done;
	op->op.arg = request;
	op->partition = read->partition;
	op->offset = read->offset;
	op->bytes_max = bytes_max;
	op->wait_us = wait_us;
	op->backwards = read->backwards;
	op->codecs = ALL_CODECS;
	request->op = &op->op;
	return op_read_start(op, bytes_text(read->topic->name), read->topic->id) == OP_DONE;
}

void http_read_take(struct http_request *request)
{
	struct http_read *read = request->work;
	struct op_read *op = (struct op_read *)request->op;
	buf_release(&read->batches);
	read->batches = op->request.batches;
	op->request.batches = BUF_INIT;
	read->next_offset = op->request.next_offset;
	http_event_walk_set(&read->walk, buf_bytes(&read->batches));
	request->op = NULL;
	op_release(&op->op);
}

/* False: it failed, and the request is gone. */
static bool accept_slice(struct http_request *request)
{
	if (request->op->status != 0) {
		http_op_problem(request, request->op);
		return false;
	}
	http_read_take(request);
	return true;
}

static void next_slice_done(struct op *op)
{
	if (accept_slice(op->arg)) {
		pump(op->arg);
	}
}

/* ---- Writing ---- */

static int write_event(struct http_read *read, const struct http_walked_event *event)
{
	struct buf *out = &read->out;
	int status = 0;
	switch (read->format) {
	case HTTP_FORMAT_PROTOBUF:
		return buf_add(out, event->element.data, event->element.size);
	case HTTP_FORMAT_ARRAY:
		status = buf_add_byte(out, read->any ? ',' : '[');
		status = status != 0 ? status : buf_add_byte(out, '\n');
		break;
	case HTTP_FORMAT_LINES:
	case HTTP_FORMATS:
		break;
	}
	status = status != 0 ? status : http_event_write_json(out, event);
	if (status == 0 && read->format == HTTP_FORMAT_LINES) {
		status = buf_add_byte(out, '\n');
	}
	read->any = true;
	return status;
}

/* Fills `out` up to a chunk's size. 1: there is more; 0: the slice is through or the end is
 * reached. */
static int fill(struct http_read *read)
{
	struct http_walked_event event;
	while (read->out.size < WRITE_BYTES) {
		const int more = http_event_walk_next(&read->walk, &event);
		if (more <= 0) {
			read->offset = more == 0 ? ANNALS_MAX(read->offset, read->next_offset)
						 : read->offset;
			return more;
		}
		if (event.place.offset >= read->end) {
			read->offset = read->end;
			return 0;
		}
		if (event.place.offset < read->offset) {
			continue;
		}
		const int status = write_event(read, &event);
		if (status != 0) {
			return status;
		}
		read->offset = event.place.offset + 1;
	}
	return 1;
}

static void finish(struct http_request *request)
{
	struct http_read *read = request->work;
	if (read->format == HTTP_FORMAT_ARRAY &&
		buf_add_text(&read->out, read->any ? "\n]\n" : "[]\n") != 0) {
		http_abort(request);
		return;
	}
	http_write(request, &read->out);
	http_finish(request);
}

/* Writes for as long as there is room and something to write. */
static void pump(struct http_request *request)
{
	struct http_read *read = request->work;
	request->resume = pump;
	if (request->op != NULL) {
		return;
	}
	while (request_can_write(&request->base)) {
		const int more = fill(read);
		if (more < 0) {
			http_abort(request);
			return;
		}
		if (more == 0 && read->offset >= read->end) {
			finish(request);
			return;
		}
		http_write(request, &read->out);
		if (more == 0 && (http_read_ask(request, next_slice_done, SLICE_BYTES, 0) == 0 ||
					 !accept_slice(request))) {
			return;
		}
	}
}

/* ---- The head of the answer ---- */

static bool is_known(struct http_request *request, const char *tag)
{
	struct http_head head;
	http_head_again(request, &head);
	const struct bytes value = http_head_value(&head, "If-None-Match");
	return bytes_is(value, tag);
}

static bool send_page_head(struct http_request *request, const struct op_read *op)
{
	struct http_read *read = request->work;
	const bool full = read->end == read->offset + read->limit;
	char tag[128];
	snprintf(tag, sizeof(tag), "\"%u.%u.%llu-%llu.%u\"", read->topic->id, read->partition,
		(unsigned long long)read->offset, (unsigned long long)read->end,
		(unsigned)read->format);
	const bool lasting = full && read->walk.typed == NULL;
	char version[32] = "";
	if (read->typed.version != 0) {
		(void)snprintf(version, sizeof(version), "&schemaVersion=%u", read->typed.version);
	}
	const bool known = lasting && is_known(request, tag);
	http_begin(request, known ? 304 : 200, known ? NULL : read->content_type);
	http_header(request, "Annals-First-Offset", "%llu",
		(unsigned long long)op->request.first_offset);
	http_header(
		request, "Annals-End-Offset", "%llu", (unsigned long long)op->request.end_offset);
	http_header(request, "Annals-Next-Offset", "%llu", (unsigned long long)read->end);
	http_header(request, "Link",
		"</v1/topics/%s/partitions/%u/events?offset=%llu&limit=%llu%s%s>; rel=\"next\"",
		read->topic->name, read->partition, (unsigned long long)read->end,
		(unsigned long long)read->limit, read->walk.typed != NULL ? "&data=json" : "",
		version);
	http_header(request, "Vary", "Accept");
	if (lasting) {
		/* What is stored never changes: a page that is full stays as it is. */
		http_header(request, "ETag", "%s", tag);
		http_header(request, "Cache-Control", "private, max-age=86400");
	} else {
		http_header(request, "Cache-Control", "no-store");
	}
	if (known) {
		http_send(request, NULL);
		return false;
	}
	return http_begin_stream(request);
}

static void first_slice_done(struct op *op)
{
	struct http_request *request = op->arg;
	struct http_read *read = request->work;
	const struct op_read *done = (const struct op_read *)op;
	if (op->status != 0) {
		http_op_problem(request, op);
		return;
	}
	/* Offsets are dense: the page is known before it is read. */
	read->end = ANNALS_MIN(
		read->offset + read->limit, ANNALS_MAX(done->request.end_offset, read->offset));
	if (!send_page_head(request, done)) {
		return;
	}
	http_read_take(request);
	pump(request);
}

static void ask_first(struct http_request *request)
{
	const struct http_read *read = request->work;
	if (read->searches) {
		http_search_start(request);
		return;
	}
	if (http_read_ask(request, first_slice_done, SLICE_BYTES, read->wait_us) == 1) {
		first_slice_done(request->op);
	}
}

static void find_done(struct op *op)
{
	struct http_request *request = op->arg;
	struct http_read *read = request->work;
	if (op->status != 0) {
		http_op_problem(request, op);
		return;
	}
	read->offset = ((const struct op_find_time *)op)->request.offset;
	request->op = NULL;
	op_release(op);
	ask_first(request);
}

static void start_find(struct http_request *request)
{
	struct http_read *read = request->work;
	struct op_find_time *op = op_find_time_new(http_loop(request));
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->op.done = find_done;
	op->op.arg = request;
	op->partition = read->partition;
	op->time_us = (uint64_t)read->time_us;
	request->op = &op->op;
	if (op_find_time_start(op, bytes_text(read->topic->name)) == OP_DONE) {
		find_done(&op->op);
	}
}

static void start_page(struct http_request *request)
{
	struct http_read *read = request->work;
	struct partition_info info;
	if (read->from == FROM_TIME) {
		start_find(request);
		return;
	}
	if (read->from != FROM_OFFSET || read->backwards) {
		const int status = store_partition_info(
			http_loop(request)->store, read->topic->id, read->partition, &info);
		if (status != 0) {
			struct op_detail detail = {
				.has_partition = true, .partition = read->partition};
			memcpy(detail.topic, read->topic->name, sizeof(detail.topic));
			http_problem(request, status, NULL, &detail);
			return;
		}
		if (read->from != FROM_OFFSET) {
			read->offset =
				read->from == FROM_LATEST ? info.end_offset : info.first_offset;
		} else if (read->offset != info.end_offset) {
			read->offset++; /* the event at the offset is the first one given */
		}
	}
	ask_first(request);
}

/* ---- Parameters ---- */

static bool read_from_param(struct http_request *request, struct http_read *read)
{
	struct bytes from, offset;
	int64_t time_ns;
	if (!http_param(request, "from", &from) || !http_param(request, "offset", &offset)) {
		return false;
	}
	if (from.data != NULL && offset.data != NULL) {
		http_problem(request, ANNALS_E_INVALID, "'offset' and 'from' are both given", NULL);
		return false;
	}
	read->from = read->backwards ? FROM_LATEST : FROM_EARLIEST;
	if (offset.data != NULL) {
		read->from = FROM_OFFSET;
		if (parse_u64(offset, &read->offset) != 0 || read->offset > INT64_MAX) {
			http_problem(
				request, ANNALS_E_INVALID, "parameter 'offset' is no offset", NULL);
			return false;
		}
	} else if (bytes_is(from, "latest")) {
		read->from = FROM_LATEST;
	} else if (from.data != NULL && !bytes_is(from, "earliest")) {
		if (parse_rfc3339_ns(from, &time_ns) != 0 || time_ns < 0) {
			http_problem(request, ANNALS_E_INVALID,
				"parameter 'from' is neither 'earliest', 'latest' nor an RFC 3339 "
				"time",
				NULL);
			return false;
		}
		read->from = FROM_TIME;
		read->time_us = time_ns / 1000;
	}
	return true;
}

static bool read_wait(struct http_request *request, uint64_t *ret_us)
{
	struct bytes text;
	struct http_head head;
	if (!http_param(request, "wait", &text)) {
		return false;
	}
	http_head_again(request, &head);
	*ret_us = 0;
	if (text.data == NULL && !http_prefer_wait(http_head_value(&head, "Prefer"), &text)) {
		return true;
	}
	if (parse_duration_us(text, ret_us) != 0) {
		http_problem(
			request, ANNALS_E_INVALID, "the wait is no duration such as '15s'", NULL);
		return false;
	}
	return true;
}

/* Backwards and filtered pages are made in another way than plain ones. */
static bool read_search(struct http_request *request, struct http_read *read)
{
	struct bytes text;
	if (!http_param(request, "backwards", &text) ||
		!http_filter_read_terms(&read->filter, request)) {
		return false;
	}
	if (text.data != NULL && parse_bool(text, &read->backwards) != 0) {
		http_problem(request, ANNALS_E_INVALID,
			"parameter 'backwards' is neither true nor false", NULL);
		return false;
	}
	read->searches = read->backwards || !event_filter_is_empty(&read->filter.terms);
	return true;
}

/* What is shown as JSON depends on the registry and changes with it: no cache may keep it. */
static bool read_data(struct http_request *request, struct http_read *read)
{
	bool wanted;
	if (!http_typed_reader_read(&read->typed, request, &wanted)) {
		return false;
	}
	read->walk.typed = wanted ? &read->typed : NULL;
	return true;
}

void http_get_partition_events(struct http_request *request)
{
	struct http_read *read = new_read(request);
	if (read == NULL) {
		return;
	}
	const int choice = http_choose(request, formats, ANNALS_COUNT_OF(formats));
	if (choice < 0) {
		return;
	}
	read->format = format_kinds[choice];
	read->content_type = formats[choice];
	if (!read_search(request, read) || !read_from_param(request, read) ||
		!read_wait(request, &read->wait_us) ||
		!http_param_u64(request, "limit", LIMIT_INITIAL, 1,
			read->searches ? SEARCH_LIMIT_MAX : LIMIT_MAX, &read->limit) ||
		!read_data(request, read)) {
		return;
	}
	http_when_first(request, start_page);
}

/* ---- One event ---- */

static void no_such_event(struct http_request *request)
{
	const struct http_read *read = request->work;
	struct op_detail detail = {.has_partition = true,
		.partition = read->partition,
		.has_offset = true,
		.offset = read->offset};
	memcpy(detail.topic, read->topic->name, sizeof(detail.topic));
	http_problem(request, ANNALS_E_NOT_FOUND, "there is no event at this offset", &detail);
}

static void send_event(struct http_request *request, const struct http_walked_event *event)
{
	const struct http_read *read = request->work;
	struct buf body = BUF_INIT;
	char tag[80];
	snprintf(tag, sizeof(tag), "\"%u.%u.%llu\"", read->topic->id, read->partition,
		(unsigned long long)read->offset);
	const bool lasting = read->walk.typed == NULL;
	const bool known = lasting && is_known(request, tag);
	int status = known ? 0 : http_event_write_json(&body, event);
	if (status == 0 && !known) {
		status = buf_add_byte(&body, '\n');
	}
	if (status != 0) {
		buf_release(&body);
		http_problem(request, status, NULL, NULL);
		return;
	}
	http_begin(request, known ? 304 : 200, known ? NULL : "application/cloudevents+json");
	if (lasting) {
		http_header(request, "ETag", "%s", tag);
	}
	http_header(request, "Cache-Control", lasting ? "private, max-age=86400" : "no-store");
	http_send(request, known ? NULL : &body);
}

static void event_done(struct op *op)
{
	struct http_request *request = op->arg;
	struct http_read *read = request->work;
	struct http_walked_event event;
	if (op->status == ANNALS_E_OFFSET_BEYOND_END) {
		no_such_event(request);
		return;
	}
	if (op->status != 0) {
		http_op_problem(request, op);
		return;
	}
	http_read_take(request);
	int more;
	do {
		more = http_event_walk_next(&read->walk, &event);
	} while (more == 1 && event.place.offset < read->offset);
	if (more < 0) {
		http_problem(request, more, NULL, NULL);
	} else if (more == 0 || event.place.offset > read->offset) {
		no_such_event(request);
	} else {
		send_event(request, &event);
	}
}

void http_get_event(struct http_request *request)
{
	static const char *const types[] = {"application/cloudevents+json", "application/json"};
	struct http_read *read = new_read(request);
	if (read == NULL || !http_path_number(request, 2, INT64_MAX, &read->offset) ||
		http_choose(request, types, ANNALS_COUNT_OF(types)) < 0 ||
		!read_data(request, read)) {
		return;
	}
	if (http_read_ask(request, event_done, 1, 0) == 1) {
		event_done(request->op);
	}
}
