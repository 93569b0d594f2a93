/*
 * What the clients of the kill test did and were told, and the judgement over what the store holds
 * in the end.
 *
 * A producer appends numbered events to one partition, in requests of several events. Its requests
 * are written down before they are sent and marked when they are answered. The bytes of event
 * (producer, sequence) follow from the two numbers and the seed.
 */
#ifndef TESTS_KILL_ORACLE_H
#define TESTS_KILL_ORACLE_H

#include <annals/buf.h>
#include <stdbool.h>

#define ORACLE_PARTITIONS 4u
#define ORACLE_EVENT_BYTES_MAX 700u

struct oracle_request {
	uint32_t first_sequence, count;
	uint32_t attempts; /* more than one: may be stored more than once */
	bool acknowledged;
	uint64_t offset; /* of the first event, as acknowledged */
};

struct oracle_producer {
	uint32_t number, partition;
	uint32_t next_sequence;
	struct oracle_request *requests;
	size_t request_count, request_capacity;
};

/* An event as the store holds it. */
struct oracle_event {
	uint32_t producer, sequence;
};

struct oracle {
	uint64_t seed;
	struct oracle_producer *producers;
	uint32_t producer_count;
	struct oracle_event *events[ORACLE_PARTITIONS]; /* by offset, from the final read */
	size_t event_count[ORACLE_PARTITIONS], event_capacity[ORACLE_PARTITIONS];
	uint64_t committed[ORACLE_PARTITIONS]; /* the newest acknowledged group offset */
	uint64_t acknowledged_events, stored_events, problems;
};

/* Fills `out` (ORACLE_EVENT_BYTES_MAX) with the event's data; returns its size. */
size_t oracle_data(uint64_t seed, uint32_t producer, uint32_t sequence, uint8_t *out);
/* A new request of the producer; valid until its next one. Aborts without memory. */
struct oracle_request *oracle_request(struct oracle_producer *producer, uint32_t count);
/* One event of the final read: checks its bytes and that its offset is the next one. */
void oracle_take(struct oracle *oracle, uint32_t partition, uint64_t offset, const uint8_t *data,
	size_t size);
/* Prints a problem and counts it. */
void oracle_problem(struct oracle *oracle, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* After the final read: every acknowledged request is where it was said to be, whole; nobody's
 * order is broken; nothing is there that was not sent, or twice without a retry. */
void oracle_judge(struct oracle *oracle);
/* Frees what the producers and the final read left. */
void oracle_release(struct oracle *oracle);

#endif
