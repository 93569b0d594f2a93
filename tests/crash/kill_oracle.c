#include "kill_oracle.h"

#include <annals/hash.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

size_t oracle_data(uint64_t seed, uint32_t producer, uint32_t sequence, uint8_t *out)
{
	struct random random = {seed ^ ((uint64_t)producer << 32 | sequence)};
	size_t size = 8 + random_below(&random, ORACLE_EVENT_BYTES_MAX - 8);

	store_u32(out, producer);
	store_u32(out + 4, sequence);
	for (size_t i = 8; i < size; i++) {
		out[i] = (uint8_t)random_next(&random);
	}
	return size;
}

struct oracle_request *oracle_request(struct oracle_producer *producer, uint32_t count)
{
	struct oracle_request *request;

	if (producer->request_count == producer->request_capacity) {
		producer->request_capacity = producer->request_capacity * 2 + 64;
		producer->requests = realloc(producer->requests,
			producer->request_capacity * sizeof(*producer->requests));
		if (producer->requests == NULL) {
			abort();
		}
	}
	request = &producer->requests[producer->request_count++];
	*request =
		(struct oracle_request){.first_sequence = producer->next_sequence, .count = count};
	producer->next_sequence += count;
	return request;
}

void oracle_problem(struct oracle *oracle, const char *format, ...)
{
	va_list args;

	if (++oracle->problems > 20) {
		return;
	}
	va_start(args, format);
	(void)fputs("PROBLEM: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
}

void oracle_take(struct oracle *oracle, uint32_t partition, uint64_t offset, const uint8_t *data,
	size_t size)
{
	uint8_t wanted[ORACLE_EVENT_BYTES_MAX];
	struct oracle_event event;
	size_t count = oracle->event_count[partition];

	if (offset != count) {
		oracle_problem(oracle, "partition %u: offset %" PRIu64 " follows %zu events",
			partition, offset, count);
	}
	if (size < 8) {
		oracle_problem(oracle, "partition %u offset %" PRIu64 ": only %zu bytes", partition,
			offset, size);
		return;
	}
	event = (struct oracle_event){load_u32(data), load_u32(data + 4)};
	if (event.producer >= oracle->producer_count ||
		oracle->producers[event.producer].partition != partition ||
		event.sequence >= oracle->producers[event.producer].next_sequence) {
		oracle_problem(oracle, "partition %u offset %" PRIu64 ": nobody sent this",
			partition, offset);
	} else if (oracle_data(oracle->seed, event.producer, event.sequence, wanted) != size ||
		   memcmp(wanted, data, size) != 0) {
		oracle_problem(oracle,
			"partition %u offset %" PRIu64 ": other bytes than were sent", partition,
			offset);
	}
	if (count == oracle->event_capacity[partition]) {
		oracle->event_capacity[partition] = count * 2 + 1024;
		oracle->events[partition] = realloc(oracle->events[partition],
			oracle->event_capacity[partition] * sizeof(event));
		if (oracle->events[partition] == NULL) {
			abort();
		}
	}
	oracle->events[partition][oracle->event_count[partition]++] = event;
	oracle->stored_events++;
}

/* The request that holds a sequence number: they are in order. */
static struct oracle_request *request_of(const struct oracle_producer *producer, uint32_t sequence)
{
	size_t low = 0, high = producer->request_count;

	while (low + 1 < high) {
		size_t middle = low + (high - low) / 2;
		if (producer->requests[middle].first_sequence <= sequence) {
			low = middle;
		} else {
			high = middle;
		}
	}
	return &producer->requests[low];
}

/* Every request that appears in the partition appears whole, in the producer's order, once if it
 * was sent once. */
static void judge_partition(struct oracle *oracle, uint32_t partition)
{
	const struct oracle_event *events = oracle->events[partition];
	size_t count = oracle->event_count[partition], at = 0;
	uint32_t *newest = calloc(oracle->producer_count, sizeof(uint32_t));

	if (newest == NULL) {
		abort();
	}
	while (at < count) {
		const struct oracle_event *first = &events[at];
		const struct oracle_request *request;
		if (first->producer >= oracle->producer_count) {
			at++;
			continue;
		}
		request = request_of(&oracle->producers[first->producer], first->sequence);
		for (uint32_t i = 0; i < request->count; i++) {
			if (at + i >= count || events[at + i].producer != first->producer ||
				events[at + i].sequence != request->first_sequence + i) {
				oracle_problem(oracle,
					"partition %u offset %zu: producer %u's request of %u "
					"events is not whole",
					partition, at, first->producer, request->count);
				break;
			}
		}
		if (request->first_sequence + 1 < newest[first->producer] ||
			(request->first_sequence + 1 == newest[first->producer] &&
				request->attempts < 2)) {
			oracle_problem(oracle,
				"partition %u offset %zu: producer %u's event %u comes again or "
				"late",
				partition, at, first->producer, first->sequence);
		}
		newest[first->producer] = request->first_sequence + 1;
		at += request->count;
	}
	free(newest);
}

static void judge_producer(struct oracle *oracle, const struct oracle_producer *producer)
{
	uint32_t partition = producer->partition;

	for (size_t i = 0; i < producer->request_count; i++) {
		const struct oracle_request *request = &producer->requests[i];
		if (!request->acknowledged) {
			continue;
		}
		oracle->acknowledged_events += request->count;
		for (uint32_t k = 0; k < request->count; k++) {
			uint64_t offset = request->offset + k;
			if (offset >= oracle->event_count[partition]) {
				oracle_problem(oracle,
					"partition %u offset %" PRIu64
					": acknowledged to producer %u, lost",
					partition, offset, producer->number);
				break;
			}
			if (oracle->events[partition][offset].producer != producer->number ||
				oracle->events[partition][offset].sequence !=
					request->first_sequence + k) {
				oracle_problem(oracle,
					"partition %u offset %" PRIu64
					": acknowledged to producer %u, holds another event",
					partition, offset, producer->number);
				break;
			}
		}
	}
}

void oracle_judge(struct oracle *oracle)
{
	for (uint32_t i = 0; i < ORACLE_PARTITIONS; i++) {
		judge_partition(oracle, i);
	}
	for (uint32_t i = 0; i < oracle->producer_count; i++) {
		judge_producer(oracle, &oracle->producers[i]);
	}
}

void oracle_release(struct oracle *oracle)
{
	for (uint32_t i = 0; i < ORACLE_PARTITIONS; i++) {
		free(oracle->events[i]);
	}
	for (uint32_t i = 0; i < oracle->producer_count; i++) {
		free(oracle->producers[i].requests);
	}
}
