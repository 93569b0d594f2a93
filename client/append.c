/* The synchronous append: one request, all or none. */
#include "append.h"
#include "conditions.h"
#include "convert.h"

#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/hash.h>
#include <annals/macros.h>
#include <stdlib.h>

void append_release(struct append *append)
{
	free(append->partitions);
	free(append->order);
	free(append->batches);
	buf_release(&append->body);
	buf_release(&append->control);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

/* Chooses a partition for each event and sorts the events by it. */
static int choose(struct append *append, const struct annals_event *events, size_t count,
	uint32_t partition, uint32_t partitions)
{
	append->partitions = calloc(count, sizeof(*append->partitions));
	append->order = calloc(count, sizeof(*append->order));
	append->batches = calloc(count, sizeof(*append->batches));
	uint64_t *keys = calloc(count, sizeof(*keys));
	if (!append->partitions || !append->order || !append->batches || !keys) {
		free(keys);
		return ANNALS_E_NO_MEMORY;
	}
	uint64_t seed;
	random_bytes(&seed, sizeof(seed));
	uint32_t keyless =
		partition == ANNALS_PARTITION_BY_KEY ? (uint32_t)(seed % partitions) : partition;
	for (size_t i = 0; i < count; i++) {
		bool by_key = partition == ANNALS_PARTITION_BY_KEY &&
			      (events[i].has_key || events[i].key.size > 0);
		append->partitions[i] = by_key ? annals_partition_for_key(events[i].key.data,
							 events[i].key.size, partitions)
					       : keyless;
		keys[i] = (uint64_t)append->partitions[i] << 32 | i;
	}
	qsort(keys, count, sizeof(*keys), compare_u64);
	for (size_t i = 0; i < count; i++) {
		append->order[i] = (uint32_t)keys[i];
	}
	free(keys);
	return ANNALS_OK;
}

static int encode(struct append *append, const struct annals_event *events, size_t count,
	struct annals_error *error)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t index = append->order[i];
		struct wire_append_batch *batch =
			append->batch_count ? &append->batches[append->batch_count - 1] : NULL;
		if (!batch || batch->partition != append->partitions[index]) {
			batch = &append->batches[append->batch_count++];
			batch->partition = append->partitions[index];
		}
		size_t before = append->body.size;
		struct error err = {0, ""};
		int status = event_encode(&events[index], bytes_of(NULL, 0), &append->body, &err);
		if (status == ANNALS_OK && append->body.size > BODY_BYTES_MAX) {
			status = error_fail(&err, ANNALS_E_TOO_LARGE,
				"the request exceeds %u bytes", BODY_BYTES_MAX);
		}
		if (status != ANNALS_OK) {
			client_error(error, status, "event %u: %.200s", index, err.text);
			if (error) {
				error->event_index = index;
			}
			return status;
		}
		batch->count++;
		batch->body_bytes += (uint32_t)(append->body.size - before);
	}
	size_t at = 0;
	for (size_t i = 0; i < append->batch_count; i++) {
		append->batches[i].body_crc =
			crc32c(0, append->body.data + at, append->batches[i].body_bytes);
		at += append->batches[i].body_bytes;
	}
	return ANNALS_OK;
}

int append_make(struct append *append, struct annals_client *client, const char *topic,
	uint32_t partition, const struct annals_event *events, size_t count, int timeout_ms,
	struct annals_error *error)
{
	if (count == 0 || count > UINT32_MAX) {
		return client_error(error, ANNALS_E_INVALID, "there are no events to append");
	}
	uint32_t partitions = 1;
	if (partition == ANNALS_PARTITION_BY_KEY) {
		int status = topic_partitions(client, topic, timeout_ms, &partitions, error);
		if (status != ANNALS_OK) {
			return status;
		}
	}
	int status = choose(append, events, count, partition, partitions);
	return status != ANNALS_OK ? client_error(error, status, "no memory for %zu events", count)
				   : encode(append, events, count, error);
}

int append_place(const struct append *append, const struct wire_append_response *response,
	size_t count, struct annals_placement *placements)
{
	size_t cursor = 0, done = 0;
	struct wire_append_run run;
	int got;
	while ((got = wire_append_next_run(response, &cursor, &run)) > 0) {
		if (run.count > count - done) {
			return ANNALS_E_MALFORMED;
		}
		for (uint32_t i = 0; i < run.count; i++, done++) {
			placements[append->order[done]] = (struct annals_placement){
				.partition = run.partition,
				.offset = run.base_offset + i,
				.version = run.has_version ? run.first_version + i
							   : ANNALS_VERSION_NONE,
				.replayed = run.replayed,
			};
		}
	}
	return got == 0 && done == count ? ANNALS_OK : ANNALS_E_MALFORMED;
}

static int send_append(struct append *append, struct annals_client *client, const char *topic,
	const struct annals_conditions *conditions, size_t count, enum annals_durability durability,
	uint64_t deadline_ns, struct annals_placement *ret_placements,
	struct annals_receipt *ret_receipt, struct annals_error *error)
{
	struct buf answer ANNALS_CLEANUP(buf_release) = BUF_INIT;
	if (wire_append_request_encode(&append->control, bytes_text(topic), durability,
		    append->batches, append->batch_count) != ANNALS_OK ||
		(conditions && conditions_encode(conditions, &append->control) != ANNALS_OK)) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	uint64_t now_ns = clock_monotonic_ns();
	int left_ms = now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns) / 1000000u);
	int status = request_call(
		client, FRAME_APPEND, &append->control, &append->body, left_ms, &answer, error);
	if (status == ANNALS_E_UNKNOWN_TOPIC || status == ANNALS_E_UNKNOWN_PARTITION ||
		status == ANNALS_E_WRONG_PARTITION) {
		topic_forget(client, topic);
	}
	if (status != ANNALS_OK) {
		return status;
	}
	struct wire_append_response response;
	struct error err = {0, ""};
	if (wire_append_response_decode(buf_bytes(&answer), &response, &err) != ANNALS_OK ||
		(ret_placements &&
			append_place(append, &response, count, ret_placements) != ANNALS_OK)) {
		return client_error(
			error, ANNALS_E_MALFORMED, "the server's answer is malformed %s", err.text);
	}
	if (ret_receipt) {
		ret_receipt->durability = (enum annals_durability)response.durability;
		ret_receipt->recorded_us = response.recorded_us;
	}
	return ANNALS_OK;
}

static int append_events(struct annals_client *client, const char *topic, uint32_t partition,
	const struct annals_conditions *conditions, const struct annals_event *events, size_t count,
	enum annals_durability durability, int timeout_ms, struct annals_placement *ret_placements,
	struct annals_receipt *ret_receipt, struct annals_error *error)
{
	uint64_t deadline_ns = deadline_after_ms(timeout_ms);
	struct append append = {0};
	int status =
		append_make(&append, client, topic, partition, events, count, timeout_ms, error);
	if (status == ANNALS_OK) {
		status = send_append(&append, client, topic, conditions, count, durability,
			deadline_ns, ret_placements, ret_receipt, error);
	}
	append_release(&append);
	return status;
}

int annals_append(struct annals_client *client, const char *topic, uint32_t partition,
	const struct annals_event *events, size_t count, enum annals_durability durability,
	int timeout_ms, struct annals_placement *ret_placements, struct annals_receipt *ret_receipt,
	struct annals_error *error)
{
	return append_events(client, topic, partition, NULL, events, count, durability, timeout_ms,
		ret_placements, ret_receipt, error);
}

int annals_append_if(struct annals_client *client, const char *topic,
	const struct annals_conditions *conditions, const struct annals_event *events, size_t count,
	enum annals_durability durability, int timeout_ms, struct annals_placement *ret_placements,
	struct annals_receipt *ret_receipt, struct annals_error *error)
{
	return append_events(client, topic, ANNALS_PARTITION_BY_KEY, conditions, events, count,
		durability, timeout_ms, ret_placements, ret_receipt, error);
}
