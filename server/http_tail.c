#include "http_tail.h"
#include "http_text.h"
#include <annals/parse.h>
#include <inttypes.h>
#include <stdlib.h>

#define ITEM_BYTES (256u << 10)
/* Events looked at in a row before others get their turn: some milliseconds. */
#define SCAN_EVENTS_MAX 10000u

void http_tail_init(struct http_tail *tail, struct topic *topic)
{
	*tail = (struct http_tail){.topic = topic};
	http_event_walk_init(&tail->walk, topic);
}

void http_tail_release(struct http_tail *tail)
{
	http_event_walk_release(&tail->walk);
	http_filter_release(&tail->filter);
	http_typed_reader_release(&tail->typed);
	topic_unref(tail->topic);
}

static bool read_token(struct http_tail *tail, struct http_request *request, struct bytes token)
{
	const uint8_t *dot = memchr(token.data, '.', token.size);
	const size_t size = dot != NULL ? (size_t)(dot - token.data) : 0;
	uint64_t id, position;
	if (dot == NULL || parse_u64(bytes_of(token.data, size), &id) != 0 ||
		parse_u64(bytes_of(dot + 1, token.size - size - 1), &position) != 0) {
		http_problem(request, ANNALS_E_INVALID,
			"the last event id is no '<topic id>.<position>'", NULL);
		return false;
	}
	if (id != tail->topic->id) {
		struct op_detail detail = {0};
		memcpy(detail.topic, tail->topic->name, sizeof(detail.topic));
		http_problem(request, ANNALS_E_TOPIC_RECREATED,
			"the last event id belongs to a topic of this name that was deleted",
			&detail);
		return false;
	}
	tail->start = TAIL_POSITION;
	tail->start_value = position;
	return true;
}

static bool read_from(struct http_tail *tail, struct http_request *request, struct bytes from)
{
	int64_t time_ns;
	if (bytes_is(from, "earliest")) {
		tail->start = TAIL_EARLIEST;
	} else if (bytes_is(from, "latest")) {
		tail->start = TAIL_LATEST;
	} else if (parse_rfc3339_ns(from, &time_ns) == 0 && time_ns >= 0) {
		tail->start = TAIL_TIME;
		tail->start_value = (uint64_t)time_ns / 1000;
	} else {
		http_problem(request, ANNALS_E_INVALID,
			"parameter 'from' is neither 'earliest', 'latest' nor an RFC 3339 time",
			NULL);
		return false;
	}
	return true;
}

bool http_tail_read_params(
	struct http_tail *tail, struct http_request *request, enum tail_start initial)
{
	struct http_head head;
	struct bytes from, after, last;
	bool json;
	http_head_again(request, &head);
	tail->start = initial;
	if (!http_param(request, "from", &from) || !http_param(request, "after", &after) ||
		!http_param(request, "lastEventId", &last) ||
		!http_filter_read(&tail->filter, request, tail->topic) ||
		!http_typed_reader_read(&tail->typed, request, &json)) {
		return false;
	}
	tail->walk.typed = json ? &tail->typed : NULL;
	/* A browser that reconnects sends the header beside the query of the first connection: the
	 * header is newer. */
	const struct bytes header = http_head_value(&head, "Last-Event-ID");
	const struct bytes token = header.size > 0 ? header : last.size > 0 ? last : after;
	if (token.size > 0) {
		return read_token(tail, request, token);
	}
	return from.data == NULL || read_from(tail, request, from);
}

int http_tail_start(
	struct http_tail *tail, struct http_request *request, void (*done)(struct op *op))
{
	struct op_tail *op = op_tail_new(http_loop(request));
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return OP_PENDING;
	}
	op->op.done = done;
	op->op.arg = request;
	op->merged = true;
	op->start = tail->start;
	op->start_value = tail->start_value;
	op->codecs = (1u << BATCH_CODECS) - 1;
	request->op = &op->op;
	const struct tail_partition only = {.partition = tail->filter.partition};
	const bool one = tail->filter.has_partition;
	return op_tail_start(
		op, bytes_text(tail->topic->name), tail->topic->id, one ? &only : NULL, one);
}

/* A start in the middle of a batch delivers the batch; what lies before the start is dropped here.
 */
static bool is_wanted(struct http_tail *tail, const struct http_walked_event *event)
{
	if (tail->start == TAIL_POSITION && event->place.position <= tail->start_value) {
		return false;
	}
	if (event_filter_passes(&tail->filter.terms, event->encoded)) {
		return true;
	}
	tail->skipped++;
	return false;
}

int http_tail_next(struct http_tail *tail, struct op_tail *op, struct http_walked_event *ret)
{
	unsigned looked = 0;
	for (;;) {
		struct tail_item item;
		int more = http_event_walk_next(&tail->walk, ret);
		if (more < 0) {
			return more;
		}
		if (more == 1) {
			tail->seen = ret->place.position;
			if (is_wanted(tail, ret)) {
				return 1;
			}
			if (++looked == SCAN_EVENTS_MAX) {
				return HTTP_TAIL_YIELD;
			}
			continue;
		}
		more = op_tail_next(op, ITEM_BYTES, &item);
		if (more != 1) {
			return more;
		}
		http_event_walk_set(&tail->walk, item.batches);
	}
}
