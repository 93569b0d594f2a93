#include "checker_state.h"

#include <stdlib.h>

struct checker *checker_new(void)
{
	struct checker *checker = calloc(1, sizeof(*checker));

	if (checker != NULL) {
		checker->first_ns = UINT64_MAX;
		checker->cached_log = CHECKER_NONE;
	}
	return checker;
}

void checker_free(struct checker *checker)
{
	if (checker == NULL) {
		return;
	}
	free(checker->ops.at);
	free(checker->extras.at);
	free(checker->parts.at);
	free(checker->requests.at);
	free(checker->logs.at);
	free(checker->runs.at);
	free(checker->segments.at);
	free(checker->slots.at);
	free(checker->occurrences.at);
	free(checker->server_ops.at);
	free(checker->topics.at);
	free(checker->last_append.at);
	map_release(&checker->log_map);
	map_release(&checker->client_map);
	map_release(&checker->topic_map);
	free(checker);
}

int checker_log(struct checker *checker, uint32_t topic, uint32_t partition, bool is_stream,
	uint64_t stream, uint32_t *ret_log)
{
	uint32_t *value;

	if (checker->cached_log != CHECKER_NONE) {
		const struct log *log = &checker->logs.at[checker->cached_log];
		if (log->topic == topic && log->partition == partition && !is_stream &&
			!log->is_stream) {
			*ret_log = checker->cached_log;
			return 0;
		}
	}
	/* A stream is one log whatever partition it lies in. */
	value = map_put(&checker->log_map,
		(uint64_t)topic << 32 | (is_stream ? HISTORY_NO_PARTITION : partition),
		is_stream ? stream : PLACE_NONE);
	if (value == NULL || (*value == CHECKER_NONE && LIST_GROW(&checker->logs) != 0)) {
		return ANNALS_E_NO_MEMORY;
	}
	if (*value == CHECKER_NONE) {
		*value = (uint32_t)checker->logs.count;
		checker->logs.at[checker->logs.count++] = (struct log){.topic = topic,
			.partition = partition,
			.stream = stream,
			.is_stream = is_stream,
			.known_end_by = CHECKER_NONE,
			.known_start_by = CHECKER_NONE,
			.last_claim = CHECKER_NONE};
	}
	if (!is_stream) {
		checker->cached_log = *value;
	}
	*ret_log = *value;
	return 0;
}

struct slot *checker_slot(const struct checker *checker, uint32_t log, uint64_t offset)
{
	const struct segment *segments = checker->segments.at + checker->logs.at[log].first_segment;
	size_t low = 0, high = checker->logs.at[log].segment_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (offset < segments[middle].offset) {
			high = middle;
		} else if (offset - segments[middle].offset >= segments[middle].count) {
			low = middle + 1;
		} else {
			return &checker->slots.at[segments[middle].first_slot +
						  (offset - segments[middle].offset)];
		}
	}
	return NULL;
}

static int add_request(struct checker *checker, struct op *op, uint32_t index)
{
	uint32_t *client = map_put(&checker->client_map, op->client, 0);
	struct request *request = NULL;

	if (client == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	if (*client == CHECKER_NONE) {
		if (LIST_GROW(&checker->last_append) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		*client = (uint32_t)checker->last_append.count;
		checker->last_append.at[checker->last_append.count++] = CHECKER_NONE;
	}
	uint32_t *last = &checker->last_append.at[*client];
	if (*last != CHECKER_NONE && checker->ops.at[*last].number == op->number) {
		op->request = checker->ops.at[*last].request;
		request = &checker->requests.at[op->request];
	} else {
		if (LIST_GROW(&checker->requests) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		op->request = (uint32_t)checker->requests.count;
		request = &checker->requests.at[checker->requests.count++];
		*request = (struct request){
			.first_invoke_ns = op->invoke_ns, .first_op = index, .idempotent = true};
	}
	*last = index;
	request->attempts++;
	request->submitted += op->outcome == HISTORY_DONE || op->outcome == HISTORY_UNKNOWN;
	request->idempotent = request->idempotent && (op->mask & HISTORY_OP_IDEMPOTENT) != 0;
	if (op->invoke_ns < request->first_invoke_ns) {
		request->first_invoke_ns = op->invoke_ns;
	}
	return 0;
}

static int add_parts(struct checker *checker, const struct history_op *op, uint32_t op_index)
{
	for (uint32_t i = 0; i < op->part_count; i++) {
		const struct history_part *from = &op->parts[i];
		struct part part = {.values = from->values,
			.offset = from->offset,
			.version = from->version,
			.expected = from->expected,
			.start = from->start,
			.end = from->end,
			.place = PLACE_NONE,
			.version_place = PLACE_NONE,
			.mask = from->mask,
			.count = from->count,
			.op = op_index,
			.stream_log = CHECKER_NONE,
			.delivery = (uint32_t)ANNALS_MIN(from->delivery, UINT32_MAX)};
		int status =
			checker_log(checker, from->topic, from->partition, false, 0, &part.log);
		if (status == 0 && (from->mask & HISTORY_PART_STREAM) != 0) {
			status = checker_log(checker, from->topic, from->partition, true,
				from->stream, &part.stream_log);
		}
		if (status == 0) {
			status = LIST_GROW(&checker->parts);
		}
		if (status != 0) {
			return status;
		}
		if (op->kind == HISTORY_APPEND && op->outcome == HISTORY_DONE) {
			part.place = from->mask & HISTORY_PART_OFFSET ? from->offset : PLACE_NONE;
			part.version_place = (from->mask & HISTORY_PART_VERSION) != 0 &&
							     part.stream_log != CHECKER_NONE
						     ? from->version
						     : PLACE_NONE;
		}
		checker->parts.at[checker->parts.count++] = part;
	}
	return 0;
}

static int add_topic(struct checker *checker, const struct history_op *op)
{
	uint32_t *value;

	if (op->part_count != 1) {
		return 0;
	}
	value = map_put(&checker->topic_map, op->parts[0].topic, 0);
	if (value == NULL || LIST_GROW(&checker->topics) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	*value = (uint32_t)checker->topics.count;
	checker->topics.at[checker->topics.count++] =
		(struct topic_name){op->text, op->attempt == 1};
	return 0;
}

static int add_op(void *arg, const struct history_op *from, struct error *err)
{
	struct checker *checker = arg;
	uint32_t index = (uint32_t)checker->ops.count;
	struct op op = {.invoke_ns = from->invoke_ns,
		.return_ns = from->return_ns,
		.number = from->number,
		.client = from->client,
		.attempt = from->attempt,
		.first_part = (uint32_t)checker->parts.count,
		.part_count = from->kind == HISTORY_TOPIC ? 0 : from->part_count,
		.extra = CHECKER_NONE,
		.request = CHECKER_NONE,
		.mask = (uint16_t)from->mask,
		.kind = (uint8_t)from->kind,
		.outcome = (uint8_t)from->outcome};
	int status = LIST_GROW(&checker->ops);

	if (status == 0 && (from->mask & (HISTORY_OP_PRODUCER | HISTORY_OP_GROUP | HISTORY_OP_TEXT |
						 HISTORY_OP_STATUS)) != 0) {
		status = LIST_GROW(&checker->extras);
		if (status == 0) {
			op.extra = (uint32_t)checker->extras.count;
			checker->extras.at[checker->extras.count++] = (struct op_extra){
				from->producer_id, from->producer_epoch, from->producer_sequence,
				from->group, from->generation, from->text, from->status};
		}
	}
	if (status == 0 && from->kind == HISTORY_APPEND) {
		status = add_request(checker, &op, index);
	}
	if (status == 0 && from->kind == HISTORY_TOPIC) {
		status = add_topic(checker, from);
	} else if (status == 0) {
		status = add_parts(checker, from, index);
	}
	if (status == 0 && from->kind == HISTORY_SERVER) {
		status = LIST_GROW(&checker->server_ops);
		if (status == 0) {
			checker->server_ops.at[checker->server_ops.count++] = index;
		}
	}
	if (status != 0) {
		return error_fail(err, status,
			"no memory for the history, or more operations than 32 bits count");
	}
	if (op.invoke_ns < checker->first_ns) {
		checker->first_ns = op.invoke_ns;
	}
	checker->ops.at[checker->ops.count++] = op;
	return 0;
}

int checker_add(struct checker *checker, struct bytes history, struct error *err)
{
	struct history_stats stats;
	int status = history_read(history, add_op, checker, &stats, err);

	if (status == 0) {
		checker->stats.blocks += stats.blocks;
		checker->stats.records += stats.records;
		checker->stats.bytes += stats.bytes;
		checker->stats.cut_bytes += stats.cut_bytes;
	}
	return status;
}

static void count_append(
	const struct checker *checker, const struct op *op, struct checker_report *report)
{
	report->appends++;
	report->appends_done += op->outcome == HISTORY_DONE;
	report->appends_conflict += op->outcome == HISTORY_CONFLICT;
	report->appends_refused += op->outcome == HISTORY_REFUSED;
	report->appends_unknown += op->outcome == HISTORY_UNKNOWN;
	for (uint32_t i = 0; i < op->part_count && op->outcome == HISTORY_DONE; i++) {
		const struct part *part = &checker->parts.at[op->first_part + i];
		if ((part->mask & HISTORY_PART_REPLAYED) == 0) {
			report->events_acknowledged += part->count;
		}
	}
}

static void count_kinds(const struct op *op, struct checker_report *report)
{
	bool is_append = op->kind == HISTORY_APPEND;

	if (op->outcome != HISTORY_DONE) {
		return;
	}
	report->sequenced += is_append && (op->mask & HISTORY_OP_PRODUCER) != 0;
	report->transactions += is_append && (op->mask & HISTORY_OP_TRANSACTION) != 0;
	report->delayed += is_append && (op->mask & HISTORY_OP_DELAYED) != 0;
	report->backwards += op->kind == HISTORY_READ && (op->mask & HISTORY_OP_BACKWARD) != 0;
	report->seeks += op->kind == HISTORY_COMMIT && (op->mask & HISTORY_OP_RESET) != 0;
}

static void count_all(const struct checker *checker, struct checker_report *report)
{
	report->records = checker->stats.records;
	report->cut_bytes = checker->stats.cut_bytes;
	report->history_bytes = checker->stats.bytes;
	for (size_t i = 0; i < checker->ops.count; i++) {
		const struct op *op = &checker->ops.at[i];
		count_kinds(op, report);
		switch (op->kind) {
		case HISTORY_APPEND:
			count_append(checker, op, report);
			break;
		case HISTORY_READ:
			report->reads++;
			for (uint32_t k = 0; k < op->part_count; k++) {
				report->events_read += checker->parts.at[op->first_part + k].count;
			}
			break;
		case HISTORY_COMMIT:
			report->commits++;
			break;
		case HISTORY_FETCH:
			report->fetches++;
			break;
		case HISTORY_DELIVER:
			report->deliveries++;
			break;
		case HISTORY_ACKNOWLEDGE:
		case HISTORY_REFUSE:
		case HISTORY_PARK:
			report->settlements++;
			break;
		case HISTORY_SERVER:
			report->server_actions++;
			break;
		default:
			break;
		}
	}
	for (size_t i = 0; i < checker->logs.count; i++) {
		const struct log *log = &checker->logs.at[i];
		report->streams += log->is_stream;
		report->partitions += !log->is_stream && log->partition != HISTORY_NO_PARTITION;
		for (size_t k = 0; k < log->segment_count && !log->is_stream; k++) {
			report->events_known += checker->segments.at[log->first_segment + k].count;
		}
	}
}

int checker_judge(struct checker *checker, struct checker_report *ret, struct error *err)
{
	static int (*const steps[])(struct checker *) = {checker_build_logs, checker_attribute,
		checker_sweep, checker_sessions, checker_conditions, checker_groups,
		checker_atomicity, checker_delays};

	*ret = (struct checker_report){0};
	checker->report = ret;
	for (size_t i = 0; i < checker->logs.count; i++) {
		struct log *log = &checker->logs.at[i];
		uint32_t topic = map_find(&checker->topic_map, log->topic, 0);
		log->trim_only = topic != CHECKER_NONE && checker->topics.at[topic].trim_only;
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(steps); i++) {
		int status = steps[i](checker);
		if (status != 0) {
			return error_fail(err, status, "no memory to judge the history");
		}
	}
	count_all(checker, ret);
	return 0;
}
