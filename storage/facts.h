/*
 * What storage must know of each event of an append to a topic with streams, dedupe or a query
 * index. Gathered in the thread that submits, so that the writer does not open bodies.
 */
#ifndef ANNALS_STORAGE_FACTS_H
#define ANNALS_STORAGE_FACTS_H

#include "index/entry.h"

#include <annals/storage.h>

struct event_facts {
	bool has_key, has_id;
	struct index_hash key, id;
	uint32_t query_first, query_count; /* in append_facts.query */
};

struct append_facts {
	struct event_facts *events; /* of all parts, one after the other */
	uint32_t event_count;
	struct index_hash *query;
	uint32_t query_count, query_capacity;
	struct index_hash *conditions; /* of the stream conditions' keys */
};

/* Does the topic need them? */
bool facts_are_needed(const struct topic_config *config);
/*
 * Gathers them from the parts' bodies. ANNALS_E_WRONG_PARTITION (streams: a key's events lie in its
 * partition), ANNALS_E_VALIDATION (an offset's partition number is too large for an index),
 * ANNALS_E_CORRUPT_BATCH, ANNALS_E_NO_MEMORY. Any thread.
 */
int facts_gather(const struct append_request *request, const struct topic_config *config,
	const uint8_t store_uuid[16], struct append_facts **ret,
	struct error *err) ANNALS_MUST_CHECK;
void facts_free(struct append_facts *facts);
/* Those of an append and of all that come with it. */
void facts_drop(struct append_request *first);

/* The hashes under which types and tags are indexed. */
struct index_hash facts_hash_type(const uint8_t store_uuid[16], struct bytes type);
struct index_hash facts_hash_tag(const uint8_t store_uuid[16], struct bytes tag);
/* Of a (source, id); the two must fit RECORD_TEXT_BYTES_MAX each. */
struct index_hash facts_hash_id(const uint8_t store_uuid[16], struct bytes source, struct bytes id);
/* Are two events with one id the same? All but time, extensions, headers and tags. */
bool facts_same_event(const struct record *a, const struct record *b);

#endif
