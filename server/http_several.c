/*
 * POST /v1/transactions with "appends": events of several topics, each with conditions of its own,
 * stored all or not at all. The first append is the request's, the others join it.
 */
#include "http_json.h"
#include "http_transactions.h"
#include <stdlib.h>

/* One of the appends. The first one's batcher is the request's own. */
struct several_append {
	struct http_batcher *batcher;
	struct http_batcher own;
	struct http_conditions *conditions;
};

/* http_append.conditions of such a request. */
struct several {
	struct several_append appends[APPEND_TOPICS_MAX];
	size_t count;
	/* Why an append could not be prepared. */
	struct error error;
	struct op_detail detail;
};

static void free_several(void *work)
{
	struct several *several = work;
	for (size_t i = 0; i < several->count; i++) {
		if (several->appends[i].batcher == &several->appends[i].own) {
			http_batcher_release(&several->appends[i].own);
		}
		http_conditions_free(several->appends[i].conditions);
	}
	free(several);
}

/* ---- Starting ---- */

static int prepare(struct http_append *append, const struct several_append *from,
	struct op_append *op, struct op_append *first)
{
	int status;
	op->durability = append->durability;
	status = http_batcher_fill(from->batcher, op);
	status = status != 0 ? status : http_conditions_add(from->conditions, op);
	if (status == 0 && append->has_receipt) {
		status = op_append_receipt(
			op, buf_bytes(&append->receipt_key), append->receipt_hash);
	}
	status = status != 0 ? status
			     : op_append_prepare(op, bytes_text(from->batcher->topic->name));
	if (status == 0) {
		op_append_join(first, op);
	}
	return status;
}

/* Adds the conditions of the first append to its operation, and the other appends. */
static int add_all(struct http_append *append, struct op_append *op)
{
	struct several *several = append->conditions;
	int status = http_conditions_add(several->appends[0].conditions, op);
	for (size_t i = 1; i < several->count && status == 0; i++) {
		struct op_append *other = op_append_new(op->op.loop);
		if (other == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		status = prepare(append, &several->appends[i], other, op);
		if (status != 0) {
			several->error = other->op.error;
			several->detail = other->op.detail;
			op_release(&other->op);
		}
	}
	return status;
}

/* ---- Answers ---- */

static void write_append(struct json_writer *writer, const struct several_append *append,
	const struct op_append *op, bool all_replayed)
{
	bool replayed = true;
	json_begin_object(writer);
	json_member_cstring(writer, "topic", append->batcher->topic->name);
	json_member_u64(writer, "count", append->batcher->count);
	json_name(writer, "results");
	http_batcher_write_runs(append->batcher, op, writer);
	for (size_t i = 0; i < op->request.part_count; i++) {
		replayed = replayed && op->request.parts[i].replayed;
	}
	if (replayed || all_replayed) {
		json_member_bool(writer, "replayed", true);
	}
	json_end_object(writer);
}

static void send_answer(struct http_request *request, const struct op_append *op)
{
	const struct http_append *append = request->work;
	const struct several *several = append->conditions;
	const struct op_append *each = op;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(
		&writer, "durability", http_append_durability_name(op->request.durability));
	if (op->request.recorded_us > 0) { /* a repeat may not know */
		http_json_time(&writer, "recordedtime", op->request.recorded_us);
	}
	json_name(&writer, "appends");
	json_begin_array(&writer);
	for (size_t i = 0; i < several->count && each != NULL; i++, each = each->next) {
		write_append(&writer, &several->appends[i], each, op->request.replayed);
	}
	json_end_array(&writer);
	if (op->request.replayed) {
		json_member_bool(&writer, "replayed", true);
	}
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

static void several_done(struct op *op)
{
	struct http_request *request = op->arg;
	if (op->status == 0) {
		send_answer(request, (const struct op_append *)op);
	} else {
		http_append_failed(request, op);
	}
}

static void start(struct http_request *request)
{
	const struct http_append *append = request->work;
	const struct several *several = append->conditions;
	const int status = http_append_start(request, several_done);
	if (status < 0) {
		const bool told = several->error.text[0] != 0;
		http_problem(request, status, told ? several->error.text : NULL,
			told ? &several->detail : NULL);
	} else if (status == OP_DONE) {
		several_done(request->op);
	}
}

/* ---- Reading ---- */

/* One element of "appends". The first makes the request's own append. */
static int read_append(struct http_request *request, struct several *several,
	const struct json_value *value, struct error *err)
{
	struct several_append *append = &several->appends[several->count];
	struct http_members members;
	struct topic *topic;
	uint64_t index = 0;
	int status = http_members_read(value->raw, true, &members, err);
	if (status != 0) {
		return status;
	}
	append->conditions = http_conditions_new();
	if (append->conditions == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	topic = http_members_topic(request, &members, err);
	if (topic == NULL) {
		http_conditions_free(append->conditions);
		append->conditions = NULL;
		return err->code;
	}
	http_batcher_init(&append->own, http_loop(request), topic);
	append->batcher = &append->own;
	several->count++;
	status = http_conditions_read(append->conditions, &members, err);
	status = status != 0 ? status : http_members_events(append->batcher, &members, &index, err);
	if (status == 0 && append->batcher->count == 0) {
		status = error_fail(err, ANNALS_E_INVALID, "there is no event for the topic '%s'",
			append->batcher->topic->name);
	}
	return status;
}

static int read_appends(struct http_request *request, struct several *several,
	const struct json_value *value, struct error *err)
{
	struct json_scanner scanner;
	struct json_value element;
	uint64_t index = 0;
	int more;
	json_scanner_init(&scanner, value->raw);
	if (json_enter_array(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'appends' is an array");
	}
	for (; (more = json_next_element(&scanner)) == 1; index++) {
		int status;
		if (several->count == APPEND_TOPICS_MAX) {
			return error_fail(err, ANNALS_E_LIMIT,
				"a transaction appends to at most %u topics", APPEND_TOPICS_MAX);
		}
		if (json_scan(&scanner, &element) != 0) {
			return json_fail(&scanner, err);
		}
		status = read_append(request, several, &element, err);
		if (status != 0) {
			return error_wrap(err, "append %llu", (unsigned long long)index);
		}
	}
	if (more == 0 && several->count == 0) {
		return error_fail(err, ANNALS_E_INVALID, "'appends' holds nothing");
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

/* The request's append takes over the first one's events. */
static int adopt(struct http_request *request, struct several *several)
{
	struct several_append *first = &several->appends[0];
	struct http_append *append = http_append_new(request, topic_ref(first->own.topic));
	if (append == NULL) {
		free_several(several);
		return ANNALS_E_NO_MEMORY;
	}
	http_batcher_release(&append->batcher);
	append->batcher = first->own;
	first->batcher = &append->batcher;
	append->conditions = several;
	append->free_conditions = free_several;
	append->add_conditions = add_all;
	append->in_body = true;
	return 0;
}

void http_post_several(struct http_request *request, const struct http_members *members)
{
	enum durability durability = DURABILITY_DEFAULT;
	struct error err = {0};
	struct several *several;
	int status = http_members_durability(members, &durability, &err);
	if (status == 0 &&
		(members->topic.raw.size > 0 || members->events.raw.size > 0 ||
			members->conditions.raw.size > 0 || members->query.raw.size > 0)) {
		status = error_fail(&err, ANNALS_E_INVALID,
			"a transaction has 'appends', or 'topic' and 'events', not both");
	}
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	several = calloc(1, sizeof(*several));
	if (several == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	status = read_appends(request, several, &members->appends, &err);
	if (status != 0) {
		free_several(several);
		http_problem(request, status, err.text, NULL);
		return;
	}
	if (adopt(request, several) != 0) {
		return;
	}
	((struct http_append *)request->work)->durability = durability;
	if (http_append_read_receipt(request, request->work) == 0) {
		start(request);
	}
}
