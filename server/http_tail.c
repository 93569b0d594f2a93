#include "http_tail.h"
#include "http_text.h"
#include <annals/parse.h>
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define ITEM_BYTES (256u << 10)
/* Events looked at in a row before others get their turn: some milliseconds. */
#define SCAN_EVENTS_MAX 10000u
/* An index is left when more than one event in so many matches. */
#define DENSE 4u

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

/* A start in the middle of a batch delivers the batch; what lies before the start is dropped here.
 */
static bool is_wanted(struct http_tail *tail, const struct http_walked_event *event)
{
	if (tail->start == TAIL_POSITION && event->place.position <= tail->start_value) {
		return false;
	}
	if ((!tail->filter.has_partition || event->place.partition == tail->filter.partition) &&
		event_filter_passes(&tail->filter.terms, event->encoded)) {
		return true;
	}
	tail->skipped++;
	return false;
}

/* True when many events were looked at and none was wanted. */
static bool is_turn_over(struct http_tail *tail)
{
	if (++tail->looked < SCAN_EVENTS_MAX) {
		return false;
	}
	tail->looked = 0;
	return true;
}

/* ---- From the log ---- */

static void log_done(struct op *op)
{
	struct http_tail *tail = op->arg;
	tail->starting = false;
	tail->changed(tail->request);
}

/* 0; ANNALS_E_NO_MEMORY: there is no operation. */
static int start_log(struct http_tail *tail)
{
	struct op_tail *op = op_tail_new(http_loop(tail->request));
	const struct tail_partition only = {.partition = tail->filter.partition};
	const bool one = tail->filter.has_partition;
	op_release(tail->request->op);
	tail->request->op = op == NULL ? NULL : &op->op;
	tail->by_index = false;
	if (op == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	op->op.done = log_done;
	op->op.arg = tail;
	op->merged = true;
	op->start = tail->start;
	op->start_value = tail->start_value;
	op->codecs = (1u << BATCH_CODECS) - 1;
	tail->starting = op_tail_start(op, bytes_text(tail->topic->name), tail->topic->id,
				 one ? &only : NULL, one) == OP_PENDING;
	return 0;
}

static int next_of_log(struct http_tail *tail, struct http_walked_event *ret)
{
	struct op_tail *op = (struct op_tail *)tail->request->op;
	if (tail->starting) {
		return 0;
	}
	if (op->op.status != 0) {
		return op->op.status;
	}
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
			if (is_turn_over(tail)) {
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

/* ---- Through an index ---- */

/* Does an index answer the filter? With the kind of operation that reads it. */
static bool has_index(const struct http_tail *tail, enum op_kind *ret_kind)
{
	const struct event_filter *terms = &tail->filter.terms;
	const struct topic_config *config = &tail->topic->config;
	if (tail->start == TAIL_LATEST) {
		return false;
	}
	if (config->query_index && (terms->type.data != NULL || terms->tag_count > 0)) {
		*ret_kind = OP_QUERY;
		return true;
	}
	*ret_kind = OP_STREAM_READ;
	return config->streams && terms->key.data != NULL;
}

static void index_done(struct op *op)
{
	struct http_tail *tail = op->arg;
	/* What retention took since the start is the log's to tell. */
	if (op->status == ANNALS_E_OFFSET_GONE && tail->index_pages == 0 && start_log(tail) != 0) {
		http_problem(tail->request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	if (!tail->starting) {
		tail->changed(tail->request);
	}
}

/* The next page of the index. OP_DONE, OP_PENDING; ANNALS_E_NO_MEMORY: there is no operation. */
static int ask_index(struct http_tail *tail, enum op_kind kind)
{
	const struct event_filter *terms = &tail->filter.terms;
	const struct query_item item = {.types = &terms->type,
		.type_count = terms->type.data != NULL,
		.tags = terms->tags,
		.tag_count = (uint32_t)terms->tag_count};
	struct op_places *op = op_places_new(http_loop(tail->request), kind);
	op_release(tail->request->op);
	tail->request->op = op == NULL ? NULL : &op->op;
	if (op == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	op->op.done = index_done;
	op->op.arg = tail;
	op->limit = PLACES_MAX;
	op->query = (struct query_condition){&item, kind == OP_QUERY ? 1 : 0, tail->position};
	op->from_kept = tail->position == 0;
	op->by_position = kind == OP_STREAM_READ;
	op->key = terms->key;
	tail->by_index = true;
	tail->next = tail->cursor = 0;
	return op_places_start(op, bytes_text(tail->topic->name), tail->topic->id);
}

static int take_place(struct http_tail *tail, struct op_places *op, struct http_walked_event *ret)
{
	const struct event_place *place = &op->places[tail->next];
	const size_t start = tail->cursor;
	const struct topic *topic = op->op.topic;
	if (batch_next_event(buf_bytes(&op->events), &tail->cursor, &ret->encoded) != 1) {
		return ANNALS_E_CORRUPT_DATA;
	}
	ret->element = bytes_of(op->events.data + start, tail->cursor - start);
	ret->place = (struct cloudevent_place){topic->name, topic->uuid, place->partition,
		place->offset, place->position, op->recorded_us[tail->next], place->version};
	ret->typed = tail->walk.typed;
	tail->seen = place->position;
	tail->next++;
	return 0;
}

/* The page is through: how far it looked, and whether to leave the index: it has no more, or most
 * events match, and then it costs less to look at each of them in the log. */
static bool end_page(struct http_tail *tail, const struct op_places *op)
{
	const bool query = op->op.kind == OP_QUERY;
	const uint64_t up_to = op->more ? op->places[op->place_count - 1].position
			       : query  ? op->found.up_to
					: op->stream.up_to;
	const bool is_through = !op->more && (query ? op->found.is_through : op->stream.is_through);
	const bool is_dense = up_to - ANNALS_MIN(up_to, tail->position) < DENSE * op->place_count;
	tail->position = ANNALS_MAX(tail->position, up_to);
	tail->index_pages++;
	tail->is_through = is_through && !tail->is_live;
	return is_through || is_dense;
}

/* On in the log, where the index was left. */
static int leave_index(struct http_tail *tail)
{
	if (tail->is_through) {
		return 0;
	}
	tail->start = TAIL_POSITION;
	tail->start_value = tail->position;
	return start_log(tail);
}

static int next_of_index(struct http_tail *tail, struct http_walked_event *ret)
{
	struct op_places *op = (struct op_places *)tail->request->op;
	while (!op->op.pending && !tail->is_through) {
		if (op->op.status != 0) {
			return op->op.status;
		}
		while (tail->next < op->place_count) {
			const int status = take_place(tail, op, ret);
			if (status != 0) {
				return status;
			}
			if (is_wanted(tail, ret)) {
				return 1;
			}
			if (is_turn_over(tail)) {
				return HTTP_TAIL_YIELD;
			}
		}
		if (end_page(tail, op)) {
			const int status = leave_index(tail);
			return status != 0 || tail->is_through ? status : next_of_log(tail, ret);
		}
		const int status = ask_index(tail, op->op.kind);
		if (status < 0) {
			return status;
		}
		op = (struct op_places *)tail->request->op;
	}
	return 0;
}

/*
 * From a time: the log finds the first event recorded then, and its position is where the index
 * begins, since recorded times rise with positions. 1: the index or the log can be read, 0: nothing
 * now, or storage was asked; negative as http_tail_next().
 */
static int find_time(struct http_tail *tail)
{
	struct op_tail *op = (struct op_tail *)tail->request->op;
	struct tail_item item;
	struct batch batch;
	enum op_kind kind;
	int status;
	if (tail->starting) {
		return 0;
	}
	if (op->op.status != 0) {
		return op->op.status;
	}
	status = op_tail_next(op, ITEM_BYTES, &item);
	if (status != 1) {
		/* Nothing was recorded since: what comes is read from the log. */
		tail->finds_time = status != 0 || op->busy;
		return status;
	}
	tail->finds_time = false;
	if (batch_view(item.batches, &batch) != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	tail->start = TAIL_POSITION;
	tail->start_value = tail->position = batch.stamp.base_position - 1;
	const bool indexed = has_index(tail, &kind);
	assert(indexed);
	status = ask_index(tail, kind);
	return status < 0 ? status : status == OP_DONE;
}

/* ---- Both ---- */

void http_tail_start(struct http_tail *tail, struct http_request *request,
	void (*changed)(struct http_request *request))
{
	enum op_kind kind;
	int status;
	tail->request = request;
	tail->changed = changed;
	tail->position = tail->start == TAIL_POSITION ? tail->start_value : 0;
	const bool indexed = has_index(tail, &kind);
	tail->finds_time = indexed && tail->start == TAIL_TIME;
	if (indexed && !tail->finds_time) {
		status = ask_index(tail, kind);
		if (status == OP_PENDING) {
			return;
		}
	} else {
		status = start_log(tail);
		if (status == 0 && tail->starting) {
			return;
		}
	}
	if (status < 0) {
		http_problem(request, status, NULL, NULL);
		return;
	}
	changed(request);
}

bool http_tail_is_busy(const struct http_tail *tail)
{
	return tail->by_index ? tail->request->op->pending && !tail->is_through
			      : tail->starting || ((struct op_tail *)tail->request->op)->busy;
}

uint64_t http_tail_position(const struct http_tail *tail)
{
	return tail->by_index ? tail->position : ((struct op_tail *)tail->request->op)->position;
}

int http_tail_next(struct http_tail *tail, struct http_walked_event *ret)
{
	if (tail->finds_time) {
		const int found = find_time(tail);
		if (found != 1) {
			return found;
		}
	}
	const int more = tail->by_index ? next_of_index(tail, ret) : next_of_log(tail, ret);
	if (more == 1) {
		tail->looked = 0;
	}
	return more;
}
