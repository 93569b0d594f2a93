#include "op_validate.h"
#include "ops_internal.h"
#include "server.h"
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <assert.h>
#include <stdlib.h>

#define PARTS_MAX 10000u
#define EVENTS_MAX (1u << 20)
#define CONDITIONS_MAX 1024u

struct op_append *op_append_new(struct loop *loop)
{
	struct op_append *append = op_new(loop, OP_APPEND, sizeof(struct op));
	if (append == NULL) {
		return NULL;
	}
	append->durability = DURABILITY_DEFAULT;
	append->body = BUF_INIT;
	append->conditions = NULL;
	append->condition_count = 0;
	append->items = NULL;
	append->texts = NULL;
	memset(&append->request, 0, sizeof(append->request));
	append->request.parts = &append->request.one_part;
	append->part_capacity = 1;
	append->body_used = 0;
	append->refused_event = append->refused_partition = 0;
	append->next = NULL;
	append->may_delay = append->partition_named = false;
	append->delayed = NULL;
	return append;
}

static int grow_parts(struct op_append *append)
{
	struct append_request *request = &append->request;
	size_t capacity = append->part_capacity * 4;
	struct append_part *parts;
	if (request->part_count >= PARTS_MAX) {
		return op_fail(&append->op, ANNALS_E_LIMIT, "an append holds at most %u batches",
			PARTS_MAX);
	}
	parts = realloc(request->parts == &request->one_part ? NULL : request->parts,
		capacity * sizeof(*parts));
	if (parts == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	if (request->parts == &request->one_part) {
		parts[0] = request->one_part;
	}
	request->parts = parts;
	append->part_capacity = capacity;
	return 0;
}

int op_append_add_part(struct op_append *append, uint32_t partition, enum batch_codec codec,
	size_t body_bytes, uint32_t count, const uint32_t *crc)
{
	struct append_request *request = &append->request;
	struct append_part *part;
	assert(body_bytes <= append->body.size - append->body_used);
	if (request->part_count == append->part_capacity) {
		int status = grow_parts(append);
		if (status != 0) {
			return status;
		}
	}
	part = &request->parts[request->part_count++];
	memset(part, 0, sizeof(*part));
	part->partition = partition;
	part->codec = codec;
	/* Only the place in the buffer until start: the buffer may still move. */
	part->body = bytes_of(NULL, body_bytes);
	part->summary.count = count;
	part->body_crc =
		crc != NULL ? *crc : crc32c(0, append->body.data + append->body_used, body_bytes);
	append->body_used += body_bytes;
	return 0;
}

/* What batch_check_body() refused, for programs. The index counts events of the request, and only
 * with one batch is that sure to be the one in the batch: HTTP sorts events by partition. */
static void tell_problem(struct op_append *append, const struct batch_problem *problem,
	const struct batch_limits *limits)
{
	struct op_detail *detail = &append->op.detail;
	if (problem->limit == BATCH_LIMIT_BODY) {
		detail->limit_name = "request-bytes-max";
		detail->limit = limits->body_bytes_max;
	} else if (problem->limit == BATCH_LIMIT_EVENT) {
		detail->limit_name = "event-bytes-max";
		detail->limit = limits->event_bytes_max;
	}
	detail->has_event_index = problem->has_event_index && append->request.part_count == 1;
	detail->event_index = detail->has_event_index ? problem->event_index : 0;
}

static int check_part(struct op_append *append, struct append_part *part)
{
	struct op *op = &append->op;
	const struct options *options = op->loop->options;
	const struct topic_config *config = &op->topic->config;
	struct batch_problem problem;
	struct batch_limits limits = {
		.body_bytes_max =
			(uint32_t)ANNALS_MIN(options->request_bytes_max, BATCH_BODY_BYTES_MAX),
		.event_bytes_max = (uint32_t)options->event_bytes_max,
		.events_max = EVENTS_MAX,
		.partitions = config->streams ? config->partitions : 0,
		.partition = part->partition,
		.problem = &problem,
	};
	uint32_t announced = part->summary.count;
	uint32_t found;
	int status;

	op->detail.has_partition = true;
	op->detail.partition = part->partition;
	if (config->event_bytes_max != 0 && config->event_bytes_max < limits.event_bytes_max) {
		limits.event_bytes_max = config->event_bytes_max;
	}
	if (part->partition >= config->partitions) {
		return op_fail(op, ANNALS_E_UNKNOWN_PARTITION,
			"topic '%s' has no partition %u, it has %u", op->topic->name,
			part->partition, config->partitions);
	}
	if (part->codec >= BATCH_CODECS) {
		return op_fail(
			op, ANNALS_E_INVALID, "codec %u is not known", (unsigned)part->codec);
	}
	found = crc32c(0, part->body.data, part->body.size);
	if (found != part->body_crc) {
		return op_fail(op, ANNALS_E_CORRUPT_BATCH,
			"the batch for partition %u has the checksum %08x but announces %08x",
			part->partition, found, part->body_crc);
	}
	status = batch_check_body(
		part->body, part->codec, &limits, &op->loop->scratch, &part->summary, &op->error);
	if (status == 0 && config->validation != VALIDATION_OFF) {
		op_validate_part(append, (size_t)(part - append->request.parts),
			part->codec == BATCH_PLAIN ? part->body : buf_bytes(&op->loop->scratch));
	}
	buf_trim(&op->loop->scratch, 1u << 20);
	if (status != 0) {
		tell_problem(append, &problem, &limits);
	}
	if (status == 0 && announced != 0 && announced != part->summary.count) {
		return op_fail(op, ANNALS_E_CORRUPT_BATCH,
			"the batch for partition %u holds %u events but announces %u",
			part->partition, part->summary.count, announced);
	}
	return status;
}

static int check_all(struct op_append *append)
{
	struct op *op = &append->op;
	size_t at = 0;
	if (append->request.part_count == 0) {
		return op_fail(op, ANNALS_E_INVALID, "the append holds no batch");
	}
	if (append->body.size > op->loop->options->request_bytes_max) {
		op->detail.limit_name = "request-bytes-max";
		op->detail.limit = op->loop->options->request_bytes_max;
		return op_fail(op, ANNALS_E_TOO_LARGE,
			"the append has %zu bytes, more than request-bytes-max allows (%llu)",
			append->body.size, (unsigned long long)op->detail.limit);
	}
	if (append->durability > DURABILITY_OS) {
		return op_fail(op, ANNALS_E_INVALID, "durability %u is not known",
			(unsigned)append->durability);
	}
	for (size_t i = 0; i < append->request.part_count; i++) {
		struct append_part *part = &append->request.parts[i];
		int status;
		part->body.data = append->body.data + at;
		at += part->body.size;
		status = check_part(append, part);
		if (status != 0) {
			return status;
		}
	}
	op->detail.has_partition = append->request.part_count == 1;
	return 0;
}

static bool has_later_events(const struct op_append *append)
{
	int64_t last_ns = INT64_MIN;
	for (size_t i = 0; i < append->request.part_count; i++) {
		last_ns = ANNALS_MAX(last_ns, append->request.parts[i].summary.last_due_ns);
	}
	return last_ns > 0 && (uint64_t)last_ns / 1000 >= clock_wall_us();
}

int op_append_prepare(struct op_append *append, struct bytes topic)
{
	struct op *op = &append->op;
	int status = op_resolve_topic(op, topic, 0);
	if (status == 0) {
		status = check_all(append);
	}
	if (status == 0 && has_later_events(append)) {
		status = append->may_delay
				 ? op_append_read_delayed(append)
				 : op_fail(op, ANNALS_E_INVALID,
					   "an event is due later: delayed events are taken in "
					   "requests of their own, over HTTP, without conditions");
	}
	if (status != 0) {
		return status;
	}
	op_prepare(op, &append->request.base, STORE_APPEND);
	append->request.topic_id = op->topic->id;
	append->request.durability = append->durability;
	append->request.recorded_us = 0;
	append->request.stream_conditions = append->conditions;
	append->request.stream_condition_count = append->condition_count;
	return 0;
}

int op_append_start(struct op_append *append, struct bytes topic)
{
	int status = op_append_prepare(append, topic);
	return status != 0 ? op_done_at_once(&append->op, status) : op_append_submit(append);
}

int op_append_submit(struct op_append *append)
{
	struct op *op = &append->op;
	int status;
	if (append->delayed != NULL) {
		op_prepare(op, &append->delayed->base, STORE_OPERATIONS);
		status = schedule_submit(op->loop->server->schedule, append->delayed, &op->error);
	} else {
		status = store_submit_quietly(op->loop->store, &append->request.base, &op->error);
		op->loop->submitted = true;
	}
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->outstanding++;
	return op_pending(op);
}

void op_append_join(struct op_append *append, struct op_append *other)
{
	while (append->next != NULL) {
		append = append->next;
	}
	append->next = other;
	append->request.next = &other->request;
}

static void record_latency(struct op *op)
{
	struct counters *counters = &op->loop->counters;
	uint64_t ns = loop_now_ns(op->loop) - op->started_ns;
	unsigned bucket = 0;
	while (bucket + 1 < COUNTERS_LATENCY_BUCKETS && ns >> (bucket + 14) != 0) {
		bucket++;
	}
	counter_add(&counters->append_latency[bucket], 1);
	counter_add(&counters->append_latency_ns_total, ns);
}

int op_append_expect(struct op_append *append, struct bytes key, enum stream_expect expect,
	uint64_t version, uint32_t incarnation)
{
	uint32_t count = append->condition_count;
	struct stream_condition *larger;
	struct bytes copy;
	int status;

	if (count == CONDITIONS_MAX) {
		return op_fail(&append->op, ANNALS_E_LIMIT,
			"an append has at most %u conditions on streams", CONDITIONS_MAX);
	}
	if (key.size > RECORD_KEY_BYTES_MAX) {
		return op_fail(&append->op, ANNALS_E_TOO_LARGE,
			"a key has at most %d bytes, not %zu", RECORD_KEY_BYTES_MAX, key.size);
	}
	status = op_texts_copy(&append->texts, key, &copy);
	larger = realloc(append->conditions, (count + 1) * sizeof(*larger));
	if (larger != NULL) {
		append->conditions = larger;
	}
	if (status != 0 || larger == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	larger[count] = (struct stream_condition){copy, expect, version, incarnation};
	append->condition_count++;
	return 0;
}

int op_append_unless(struct op_append *append, const struct query_condition *query)
{
	int status = op_texts_copy_query(
		&append->texts, query, &append->query, &append->items, &append->op.error);

	if (status == 0) {
		append->request.query = &append->query;
	} else {
		append->op.status = status;
	}
	return status;
}

int op_append_receipt(struct op_append *append, struct bytes key, const uint8_t hash[16])
{
	if (key.size > RECEIPT_KEY_BYTES_MAX) {
		return op_fail(&append->op, ANNALS_E_TOO_LARGE,
			"an idempotency key with its scope has %zu bytes: the limit is %u",
			key.size, RECEIPT_KEY_BYTES_MAX);
	}
	memcpy(append->request.receipt_hash, hash, 16);
	return op_texts_copy(&append->texts, key, &append->request.receipt_key);
}

static void tell_conflict(struct op_detail *detail, const struct op_append *append, int status)
{
	const struct append_request *request = &append->request;

	switch (status) {
	case ANNALS_E_PRECONDITION_FAILED:
		detail->has_conflict = true;
		detail->is_query = request->conflict.is_query;
		detail->condition_index = request->conflict.index;
		detail->stream_exists = request->conflict.exists;
		detail->version = request->conflict.version;
		detail->position = request->conflict.position;
		break;
	case ANNALS_E_DUPLICATE_ID:
	case ANNALS_E_PARTIAL_DUPLICATE:
		detail->has_event_index = request->part_count == 1;
		detail->event_index = request->conflict_event;
		break;
	case ANNALS_E_VALIDATION:
		detail->has_event_index = request->refusal != 0 && request->part_count == 1;
		detail->event_index = append->refused_event;
		detail->has_partition = request->refusal != 0;
		detail->partition = append->refused_partition;
		break;
	default:
		break;
	}
}

static void append_returned(struct op *op, struct store_request *request)
{
	const struct op_append *refused = (const struct op_append *)op;
	const struct append_request *of = refused->request.refused;
	int status;
	record_latency(op);
	const struct schedule_request *delayed = ((const struct op_append *)op)->delayed;
	if (delayed != NULL) {
		op->detail.has_event_index = request->status == ANNALS_E_DUPLICATE_ID;
		op->detail.event_index = (uint32_t)delayed->conflict;
		op_complete(op, op_take_error(op, request));
		return;
	}
	while (of != NULL && refused->next != NULL && &refused->request != of) {
		refused = refused->next;
	}
	tell_conflict(&op->detail, refused, request->status);
	status = op_take_error(op, request);
	if (status != 0 && of != NULL) {
		memcpy(op->detail.topic, refused->op.topic->name, sizeof(op->detail.topic));
	}
	op_complete(op, status);
}

static void append_clear(struct op *op)
{
	struct op_append *append = (struct op_append *)op;
	op_release(append->next != NULL ? &append->next->op : NULL);
	if (append->request.parts != &append->request.one_part) {
		free(append->request.parts);
	}
	append_request_release(&append->request);
	op_delayed_free(append->delayed);
	free(append->conditions);
	free(append->items);
	op_texts_free(append->texts);
	buf_release(&append->body);
}

uint32_t op_append_partition(
	struct loop *loop, const struct topic *topic, const struct record *record)
{
	if (record->has_key) {
		return record_partition(record->key, topic->config.partitions);
	}
	return (uint32_t)((loop_now_ns(loop) / (100u * 1000 * 1000) + loop->index) %
			  topic->config.partitions);
}

const struct op_class op_class_append = {
	.name = "append",
	.size_bytes = sizeof(struct op_append),
	.returned = append_returned,
	.clear = append_clear,
};
