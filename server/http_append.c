/* Appending over HTTP: CloudEvents in binary, structured and batched mode, NDJSON, protobuf; one
 * request, one commit. */
#include "http_append.h"
#include "http_json.h"
#include "http_text.h"
#include <annals/hash.h>
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum append_mode {
	MODE_BATCH,
	MODE_STRUCTURED,
	MODE_LINES,
	MODE_BINARY,
	MODE_PLAIN,
	MODE_PROTOBUF,
	MODE_NONE
};

const char *http_append_durability_name(enum durability durability)
{
	return durability == DURABILITY_OS ? "os" : "fsync";
}

static void free_append(void *work)
{
	struct http_append *append = work;
	http_batcher_release(&append->batcher);
	buf_release(&append->pending);
	buf_release(&append->receipt_key);
	if (append->free_conditions != NULL) {
		append->free_conditions(append->conditions);
	}
	free(append->receipts);
	free(append);
}

static bool is_ce_header(struct bytes name)
{
	return name.size > 3 && strncasecmp((const char *)name.data, "ce-", 3) == 0;
}

static bool has_ce_headers(const struct http_head *head)
{
	for (unsigned i = 0; i < head->header_count; i++) {
		if (is_ce_header(head->headers[i].name)) {
			return true;
		}
	}
	return false;
}

/* The content type decides, in the order that the CloudEvents binding gives. */
static enum append_mode find_mode(const struct http_head *head)
{
	static const char *const lines[] = {"application/x-ndjson", "application/ndjson",
		"application/jsonl", "application/x-jsonlines"};
	const struct bytes type = http_head_value(head, "Content-Type");
	if (media_type_starts(type, "application/cloudevents-batch")) {
		return media_type_is(type, "application/cloudevents-batch+json") ? MODE_BATCH
										 : MODE_NONE;
	}
	if (media_type_starts(type, "application/cloudevents")) {
		return media_type_is(type, "application/cloudevents+json") ? MODE_STRUCTURED
									   : MODE_NONE;
	}
	if (has_ce_headers(head)) {
		return MODE_BINARY;
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(lines); i++) {
		if (media_type_is(type, lines[i])) {
			return MODE_LINES;
		}
	}
	size_t cursor = 0;
	struct bytes name, value;
	while (http_query_next(head->query, &cursor, &name, &value) == 1) {
		if (bytes_is(name, "type")) {
			return MODE_PLAIN;
		}
	}
	return media_type_is(type, "application/x-protobuf") ||
			       media_type_is(type, "application/protobuf")
		       ? MODE_PROTOBUF
		       : MODE_NONE;
}

/* ---- Answers ---- */

/* The newest version that the append gave its stream. */
static uint64_t newest_version(const struct append_request *request)
{
	const struct append_run *run =
		request->run_count > 0 ? &request->runs[request->run_count - 1] : NULL;
	return run == NULL || run->version == VERSION_NONE ? VERSION_NONE
							   : run->version + run->count - 1;
}

void http_append_failed(struct http_request *request, struct op *op)
{
	const struct http_append *append = request->work;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	if (op->status != ANNALS_E_PRECONDITION_FAILED || !append->in_body) {
		http_op_problem(request, op);
		return;
	}
	/* A condition in a header fails with 412, one in the body with 409. */
	request->problem_http_status = 409;
	http_problem_open_as(&writer, &body, op->status, 409, op->error.text, &op->detail);
	json_end_object(&writer);
	http_problem_send(request, op->status, &body);
}

/* The events wait: they have no offsets yet. */
static void delayed_done(struct http_request *request, const struct schedule_request *delayed)
{
	const struct http_append *append = request->work;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "topic", append->batcher.topic->name);
	json_member_u64(&writer, "count", delayed->event_count);
	json_name(&writer, "delayed");
	json_begin_array(&writer);
	for (size_t i = 0; i < delayed->event_count; i++) {
		const struct scheduled_event *event = &delayed->events[i];
		char text[37];
		uuid_format(text, event->schedule_id);
		json_begin_object(&writer);
		json_member_cstring(&writer, "schedule", text);
		http_json_time(&writer, "due", event->due_us);
		if (event->replayed) {
			json_member_bool(&writer, "replayed", true);
		}
		json_end_object(&writer);
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 202, &writer);
}

static void append_done(struct op *op)
{
	struct http_request *request = op->arg;
	const struct http_append *append = request->work;
	const struct op_append *done = (const struct op_append *)op;
	if (op->status != 0) {
		http_append_failed(request, op);
		return;
	}
	if (done->delayed != NULL) {
		delayed_done(request, done->delayed);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "topic", append->batcher.topic->name);
	if (done->request.part_count == 1) {
		json_member_u64(&writer, "partition", done->request.parts[0].partition);
		json_member_u64(&writer, "offset", done->request.parts[0].base_offset);
	}
	uint64_t count = 0;
	for (size_t i = 0; i < done->request.part_count; i++) {
		count += done->request.parts[i].summary.count;
	}
	json_member_u64(&writer, "count", count);
	json_member_cstring(
		&writer, "durability", http_append_durability_name(done->request.durability));
	if (done->request.recorded_us > 0) { /* a repeat may not know */
		http_json_time(&writer, "recordedtime", done->request.recorded_us);
	}
	json_name(&writer, "results");
	http_batcher_write_runs(&append->batcher, done, &writer);
	if (done->request.replayed) {
		json_member_bool(&writer, "replayed", true);
	}
	if (append->of_stream && newest_version(&done->request) != VERSION_NONE) {
		json_member_u64(&writer, "version", newest_version(&done->request));
		snprintf(request->etag, sizeof(request->etag), "\"%u.%llu\"", op->topic->id,
			(unsigned long long)newest_version(&done->request));
	}
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

int http_append_start(struct http_request *request, void (*done)(struct op *op))
{
	struct http_append *append = request->work;
	struct op_append *op = op_append_new(http_loop(request));
	if (op == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	op->op.done = done;
	op->op.arg = request;
	op->durability = append->durability;
	op->may_delay = done == append_done;
	op->partition_named = append->batcher.fixed;
	int status = http_batcher_fill(&append->batcher, op);
	if (status == 0 && append->of_stream && append->expect != STREAM_ANY) {
		status = op_append_expect(op, append->batcher.key, append->expect,
			append->expect_version, append->expect_incarnation);
	}
	if (status == 0 && append->add_conditions != NULL) {
		status = append->add_conditions(append, op);
	}
	if (status == 0 && append->has_receipt) {
		status = op_append_receipt(
			op, buf_bytes(&append->receipt_key), append->receipt_hash);
	}
	if (status != 0) {
		op_release(&op->op);
		return status;
	}
	request->op = &op->op;
	return op_append_start(op, bytes_text(append->batcher.topic->name));
}

void http_append_run(struct http_request *request)
{
	const struct http_append *append = request->work;
	if (append->batcher.count == 0) {
		http_problem(request, ANNALS_E_INVALID, "there is no event in the body", NULL);
		return;
	}
	const int status = http_append_start(request, append_done);
	if (status < 0) {
		http_problem(request, status, NULL, NULL);
	} else if (status == OP_DONE) {
		append_done(request->op);
	}
}

void http_append_problem(
	struct http_request *request, const struct error *err, const char *member, uint64_t number)
{
	const struct http_append *append = request->work;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	http_problem_open(&writer, &body, err->code, err->text, NULL);
	if (member != NULL) {
		json_member_u64(&writer, member, number);
	}
	if (append->batcher.too_large) {
		json_member_cstring(&writer, "limitName", "event-bytes-max");
		json_member_u64(&writer, "limit", append->batcher.event_bytes_max);
	}
	json_end_object(&writer);
	http_problem_send(request, err->code, &body);
}

/* ---- Bodies ---- */

static bool is_blank(struct bytes line)
{
	for (size_t i = 0; i < line.size; i++) {
		if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') {
			return false;
		}
	}
	return true;
}

int http_append_line(struct http_append *append, struct cloudevent *event, struct bytes line,
	uint64_t number, struct error *err)
{
	if (is_blank(line)) {
		return 0;
	}
	int status = cloudevent_from_json(event, line, err);
	status = status != 0 ? status : http_batcher_add(&append->batcher, &event->record, err);
	if (status != 0) {
		error_wrap(err, "line %llu", (unsigned long long)number);
	}
	return status;
}

static void run_lines(struct http_request *request)
{
	struct http_append *append = request->work;
	struct cloudevent event;
	struct error err = {0};
	struct bytes rest = buf_bytes(&request->body);
	uint64_t number = 0;
	int status = 0;
	cloudevent_init(&event);
	while (rest.size > 0 && status == 0) {
		const uint8_t *end = memchr(rest.data, '\n', rest.size);
		const size_t size = end != NULL ? (size_t)(end - rest.data) : rest.size;
		status =
			http_append_line(append, &event, bytes_of(rest.data, size), ++number, &err);
		rest = end != NULL ? bytes_of(end + 1, rest.size - size - 1) : bytes_of(NULL, 0);
	}
	cloudevent_release(&event);
	if (status != 0) {
		http_append_problem(request, &err, "line", number);
	} else {
		http_append_run(request);
	}
}

static int read_batch(struct http_append *append, struct cloudevent *event, struct bytes body,
	uint64_t *index, struct error *err)
{
	struct json_scanner scanner;
	int more;
	json_scanner_init(&scanner, body);
	if (json_enter_array(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	for (; (more = json_next_element(&scanner)) == 1; (*index)++) {
		int status = cloudevent_scan(event, &scanner, err);
		status = status != 0 ? status
				     : http_batcher_add(&append->batcher, &event->record, err);
		if (status != 0) {
			error_wrap(err, "event %llu", (unsigned long long)*index);
			return status;
		}
	}
	return more < 0 || json_finish(&scanner) != 0 ? json_fail(&scanner, err) : 0;
}

static void run_batch(struct http_request *request)
{
	struct cloudevent event;
	struct error err = {0};
	uint64_t index = 0;
	cloudevent_init(&event);
	const int status =
		read_batch(request->work, &event, buf_bytes(&request->body), &index, &err);
	cloudevent_release(&event);
	if (status != 0) {
		http_append_problem(request, &err, "event", index);
	} else {
		http_append_run(request);
	}
}

static void run_structured(struct http_request *request)
{
	struct http_append *append = request->work;
	struct cloudevent event;
	struct error err = {0};
	cloudevent_init(&event);
	int status = cloudevent_from_json(&event, buf_bytes(&request->body), &err);
	status = status != 0 ? status : http_batcher_add(&append->batcher, &event.record, &err);
	cloudevent_release(&event);
	if (status != 0) {
		http_append_problem(request, &err, NULL, 0);
	} else {
		http_append_run(request);
	}
}

static int read_headers(struct cloudevent *event, const struct http_head *head, struct error *err)
{
	int status = 0;
	for (unsigned i = 0; i < head->header_count && status == 0; i++) {
		const struct http_header *header = &head->headers[i];
		if (is_ce_header(header->name)) {
			status = cloudevent_add_header(event,
				bytes_of(header->name.data + 3, header->name.size - 3),
				header->value, err);
		}
	}
	return status;
}

/* A plain body: what is known about the event stands in the query. */
static int read_query(struct http_request *request, struct cloudevent *event, struct error *err)
{
	static const struct {
		const char *parameter, *attribute;
	} names[] = {{"type", "type"}, {"key", "partitionkey"}, {"id", "id"}, {"source", "source"},
		{"subject", "subject"}, {"time", "time"}};
	int status = 0;
	for (size_t i = 0; i < ANNALS_COUNT_OF(names) && status == 0; i++) {
		struct bytes value;
		const int found = http_query_get(
			request->query, names[i].parameter, &request->texts, &value, err);
		status = found < 0 ? found : 0;
		if (found == 1) {
			status = cloudevent_add_text(
				event, bytes_text(names[i].attribute), value, err);
		}
	}
	return status;
}

static void run_binary(struct http_request *request)
{
	struct http_append *append = request->work;
	struct http_head head;
	struct cloudevent event;
	struct error err = {0};
	http_head_again(request, &head);
	const bool whole = has_ce_headers(&head);
	cloudevent_init(&event);
	int status = cloudevent_begin(&event, request->head.size);
	if (status != 0) {
		error_fail(&err, status, "out of memory");
	}
	if (status == 0) {
		status = whole ? read_headers(&event, &head, &err)
			       : read_query(request, &event, &err);
	}
	if (status == 0) {
		struct bytes type = http_head_value(&head, "Content-Type");
		/* What curl -d says unless it is told otherwise, and no form: JSON is more likely
		 * meant. */
		if (!whole && media_type_is(type, "application/x-www-form-urlencoded") &&
			json_is_valid(buf_bytes(&request->body))) {
			type = bytes_of(NULL, 0);
		}
		status = cloudevent_finish(&event, type, buf_bytes(&request->body), whole, &err);
	}
	status = status != 0 ? status : http_batcher_add(&append->batcher, &event.record, &err);
	cloudevent_release(&event);
	if (status != 0) {
		http_append_problem(request, &err, NULL, 0);
	} else {
		http_append_run(request);
	}
}

/* A Batch of event.proto, stored as it came. */
static void run_protobuf(struct http_request *request)
{
	struct http_append *append = request->work;
	struct error err = {0};
	struct bytes encoded;
	struct record record;
	size_t cursor = 0;
	int more;
	while ((more = batch_next_event(buf_bytes(&request->body), &cursor, &encoded)) == 1) {
		int status = record_decode(encoded, &record, &err);
		/* Decoded records cannot be encoded again: the bytes are taken over by the
		 * batcher's part as they are. */
		status = status != 0 ? status
				     : http_batcher_add_encoded(
					       &append->batcher, &record, encoded, &err);
		if (status != 0) {
			http_append_problem(request, &err, "event", append->batcher.count);
			return;
		}
	}
	if (more < 0) {
		http_problem(request, more, "the body is no annals.v1.Batch", NULL);
	} else {
		http_append_run(request);
	}
}

/* ---- Requests ---- */

static bool read_durability(
	struct http_request *request, const struct http_head *head, enum durability *ret)
{
	struct bytes text;
	if (!http_param(request, "durability", &text)) {
		return false;
	}
	if (text.data == NULL) {
		text = http_head_value(head, "Annals-Durability");
	}
	*ret = bytes_is(text, "os")      ? DURABILITY_OS
	       : bytes_is(text, "fsync") ? DURABILITY_FSYNC
					 : DURABILITY_DEFAULT;
	if (*ret == DURABILITY_DEFAULT && text.data != NULL) {
		http_problem(request, ANNALS_E_INVALID,
			"the durability is neither 'fsync' nor 'os'", NULL);
		return false;
	}
	return true;
}

static bool read_atomic(struct http_request *request, enum append_mode mode, bool *ret)
{
	struct bytes text;
	bool atomic = true;
	if (!http_param(request, "atomic", &text)) {
		return false;
	}
	if (text.data != NULL && parse_bool(text, &atomic) != 0) {
		http_problem(request, ANNALS_E_INVALID,
			"parameter 'atomic' is neither true nor false", NULL);
		return false;
	}
	if (!atomic && mode != MODE_LINES) {
		http_problem(request, ANNALS_E_INVALID,
			"'atomic=false' is for NDJSON: the content type must be "
			"application/x-ndjson",
			NULL);
		return false;
	}
	*ret = atomic;
	return true;
}

static void unsupported(struct http_request *request, const struct http_head *head)
{
	const struct bytes type = http_head_value(head, "Content-Type");
	char text[250];
	snprintf(text, sizeof(text),
		"content type '%.*s' needs ce- headers or ?type= here; else "
		"application/cloudevents+json, "
		"application/cloudevents-batch+json or application/x-ndjson",
		(int)ANNALS_MIN(type.size, 80), (const char *)type.data);
	http_problem(request, ANNALS_E_UNSUPPORTED_MEDIA, text, NULL);
}

/* The same key with another body is another request: 422. */
static void hash_request(struct http_request *request)
{
	static const uint64_t keys[2][2] = {{11, 12}, {13, 14}};
	struct http_append *append = request->work;
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t hash = hash_siphash13(keys[i], request->query) * 31 +
				      hash_siphash13(keys[i], buf_bytes(&request->body));
		store_u64(append->receipt_hash + (size_t)i * 8, hash);
	}
}

/* Idempotency-Key: a text of 1 to 255 visible characters, quoted or not. */
static bool read_receipt(struct http_request *request, const struct http_head *head, bool atomic)
{
	struct http_append *append = request->work;
	struct bytes key = http_head_value(head, "Idempotency-Key");
	if (key.data == NULL) {
		return true;
	}
	if (key.size >= 2 && key.data[0] == '"' && key.data[key.size - 1] == '"') {
		key = bytes_of(key.data + 1, key.size - 2);
	}
	if (key.size == 0 || key.size > 255) {
		http_problem(request, ANNALS_E_INVALID,
			"an Idempotency-Key has 1 to 255 characters", NULL);
		return false;
	}
	if (!atomic) {
		http_problem(request, ANNALS_E_INVALID,
			"an Idempotency-Key is for one commit: not with 'atomic=false'", NULL);
		return false;
	}
	append->has_receipt = true;
	/* Its scope: method and route; the topic's id is storage's part of it. */
	if (buf_add_text(&append->receipt_key, "http POST ") != 0 ||
		buf_add(&append->receipt_key, request->path.data,
			ANNALS_MIN(request->path.size, (size_t)128)) != 0 ||
		buf_add_byte(&append->receipt_key, ' ') != 0 ||
		buf_add(&append->receipt_key, key.data, key.size) != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return false;
	}
	return true;
}

struct http_append *http_append_new(struct http_request *request, struct topic *topic)
{
	struct http_append *append = calloc(1, sizeof(*append));
	if (append == NULL) {
		topic_unref(topic);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	http_batcher_init(&append->batcher, http_loop(request), topic);
	request->work = append;
	request->free_work = free_append;
	return append;
}

static void (*const runs[])(struct http_request *request) = {
	run_batch, run_structured, run_lines, run_binary, run_binary, run_protobuf};

int http_append_read_receipt(struct http_request *request, struct http_append *append)
{
	struct http_head head;
	http_head_again(request, &head);
	if (!read_receipt(request, &head, true)) {
		return ANNALS_E_INVALID;
	}
	if (append->has_receipt) {
		hash_request(request);
	}
	return 0;
}

/* The body is there. */
static void run_body(struct http_request *request)
{
	struct http_append *append = request->work;
	struct http_head head;
	http_head_again(request, &head);
	if (append->has_receipt) {
		hash_request(request);
	}
	runs[find_mode(&head)](request);
}

void http_append_begin(struct http_request *request, struct http_append *append)
{
	struct http_head head;
	http_head_again(request, &head);
	const enum append_mode mode = find_mode(&head);
	bool atomic;
	if (mode == MODE_NONE) {
		unsupported(request, &head);
		return;
	}
	if (!read_durability(request, &head, &append->durability) ||
		!read_atomic(request, mode, &atomic) || !read_receipt(request, &head, atomic)) {
		return;
	}
	if (atomic) {
		const uint64_t limit = http_loop(request)->options->request_bytes_max;
		http_collect(request, limit, "request-bytes-max", run_body);
	} else {
		http_stream_body(request, http_append_stream_piece, http_append_stream_end);
	}
}

void http_post_events(struct http_request *request)
{
	struct topic *topic = http_topic(request, 0);
	struct http_append *append = topic != NULL ? http_append_new(request, topic) : NULL;
	if (append != NULL) {
		http_append_begin(request, append);
	}
}

void http_post_partition_events(struct http_request *request)
{
	uint64_t number;
	struct topic *topic = http_topic(request, 0);
	if (topic == NULL) {
		return;
	}
	if (!http_path_number(request, 1, UINT32_MAX, &number)) {
		topic_unref(topic);
		return;
	}
	const uint32_t partition = (uint32_t)number;
	if (partition >= topic->config.partitions) {
		struct op_detail detail = {.has_partition = true, .partition = partition};
		memcpy(detail.topic, topic->name, sizeof(detail.topic));
		topic_unref(topic);
		http_problem(request, ANNALS_E_UNKNOWN_PARTITION, NULL, &detail);
		return;
	}
	struct http_append *append = http_append_new(request, topic);
	if (append != NULL) {
		append->batcher.fixed = true;
		append->batcher.partition = partition;
		http_append_begin(request, append);
	}
}
