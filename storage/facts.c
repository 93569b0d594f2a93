#include "facts.h"

#include <stdlib.h>

bool facts_are_needed(const struct topic_config *config)
{
	return config->streams || config->dedupe_age_us > 0 || config->query_index;
}

void facts_free(struct append_facts *facts)
{
	if (facts != NULL) {
		free(facts->events);
		free(facts->query);
		free(facts->conditions);
		free(facts);
	}
}

void facts_drop(struct append_request *first)
{
	for (struct append_request *request = first; request != NULL; request = request->next) {
		facts_free(request->facts);
		request->facts = NULL;
	}
}

struct index_hash facts_hash_type(const uint8_t store_uuid[16], struct bytes type)
{
	return index_hash(store_uuid, 't', type);
}

struct index_hash facts_hash_tag(const uint8_t store_uuid[16], struct bytes tag)
{
	return index_hash(store_uuid, 'g', tag);
}

struct index_hash facts_hash_id(const uint8_t store_uuid[16], struct bytes source, struct bytes id)
{
	uint8_t both[2 * RECORD_TEXT_BYTES_MAX + 1];

	if (source.size > 0) {
		memcpy(both, source.data, source.size);
	}
	both[source.size] = 0;
	memcpy(both + source.size + 1, id.data, id.size);
	return index_hash(store_uuid, 'i', bytes_of(both, source.size + 1 + id.size));
}

bool facts_same_event(const struct record *a, const struct record *b)
{
	return bytes_equal(a->id, b->id) && bytes_equal(a->source, b->source) &&
	       bytes_equal(a->type, b->type) && bytes_equal(a->subject, b->subject) &&
	       bytes_equal(a->datacontenttype, b->datacontenttype) &&
	       bytes_equal(a->dataschema, b->dataschema) &&
	       a->schema_version == b->schema_version && a->has_key == b->has_key &&
	       bytes_equal(a->key, b->key) && a->has_data == b->has_data &&
	       bytes_equal(a->data, b->data);
}

static int add_query(struct append_facts *facts, struct event_facts *event, struct index_hash hash)
{
	if (facts->query_count == facts->query_capacity) {
		uint32_t capacity = facts->query_capacity == 0 ? 16 : facts->query_capacity * 2;
		struct index_hash *larger = realloc(facts->query, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		facts->query = larger;
		facts->query_capacity = capacity;
	}
	facts->query[facts->query_count++] = hash;
	event->query_count++;
	return 0;
}

static int gather_query(struct append_facts *facts, struct event_facts *event,
	const struct record *record, const uint8_t store_uuid[16])
{
	size_t cursor = 0;
	struct bytes tag;
	int status = 0;

	event->query_first = facts->query_count;
	if (record->type.size > 0) {
		status = add_query(facts, event, facts_hash_type(store_uuid, record->type));
	}
	while (status == 0 && record_next_tag(record, &cursor, &tag) == 1) {
		status = add_query(facts, event, facts_hash_tag(store_uuid, tag));
	}
	return status;
}

static int gather_event(struct append_facts *facts, struct event_facts *event,
	const struct record *record, const struct topic_config *config,
	const uint8_t store_uuid[16])
{
	if (config->streams && record->has_key) {
		event->has_key = true;
		event->key = index_hash(store_uuid, 'k', record->key);
	}
	if (config->dedupe_age_us > 0 && record->id.size > 0) {
		event->has_id = true;
		event->id = facts_hash_id(store_uuid, record->source, record->id);
	}
	return config->query_index ? gather_query(facts, event, record, store_uuid) : 0;
}

static int plain_body(const struct append_part *part, struct buf *scratch, struct bytes *ret)
{
	int status = 0;

	*ret = part->body;
	if (part->codec != BATCH_PLAIN) {
		buf_reset(scratch);
		status = batch_decompress(part->body, part->codec, BATCH_BODY_BYTES_MAX, scratch);
		*ret = buf_bytes(scratch);
	}
	return status;
}

static int gather_part(struct append_facts *facts, const struct append_part *part, uint32_t first,
	const struct topic_config *config, const uint8_t store_uuid[16], struct buf *scratch,
	struct error *err)
{
	struct bytes body, encoded;
	size_t cursor = 0;
	uint32_t index = 0;
	int status = plain_body(part, scratch, &body);

	while (status == 0 && batch_next_event(body, &cursor, &encoded) == 1) {
		struct record record;
		if (index == part->summary.count || record_decode_trusted(encoded, &record) != 0) {
			break;
		}
		if (config->streams && record.has_key &&
			record_partition(record.key, config->partitions) != part->partition) {
			return error_fail(err, ANNALS_E_WRONG_PARTITION,
				"the key of event %u belongs to partition %u, not %u", index,
				record_partition(record.key, config->partitions), part->partition);
		}
		status = gather_event(
			facts, &facts->events[first + index], &record, config, store_uuid);
		index++;
	}
	if (status == 0 && index != part->summary.count) {
		return error_fail(err, ANNALS_E_CORRUPT_BATCH, "a batch was not checked");
	}
	return status == 0 ? 0 : error_fail(err, status, "cannot look into a batch");
}

static int gather_conditions(struct append_facts *facts, const struct append_request *request,
	const uint8_t store_uuid[16])
{
	if (request->stream_condition_count == 0) {
		return 0;
	}
	facts->conditions = calloc(request->stream_condition_count, sizeof(*facts->conditions));
	if (facts->conditions == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (uint32_t i = 0; i < request->stream_condition_count; i++) {
		facts->conditions[i] =
			index_hash(store_uuid, 'k', request->stream_conditions[i].key);
	}
	return 0;
}

int facts_gather(const struct append_request *request, const struct topic_config *config,
	const uint8_t store_uuid[16], struct append_facts **ret, struct error *err)
{
	struct append_facts *facts = calloc(1, sizeof(*facts));
	struct buf scratch = BUF_INIT;
	uint64_t events = 0;
	uint32_t first = 0;
	int status = 0;

	for (size_t i = 0; i < request->part_count; i++) {
		events += request->parts[i].summary.count;
	}
	if (facts != NULL && events <= BATCH_BODY_BYTES_MAX) {
		facts->events = calloc((size_t)events + 1, sizeof(*facts->events));
	}
	if (facts == NULL || facts->events == NULL ||
		gather_conditions(facts, request, store_uuid) != 0) {
		facts_free(facts);
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the events of an append");
	}
	facts->event_count = (uint32_t)events;
	for (size_t i = 0; i < request->part_count && status == 0; i++) {
		status = gather_part(
			facts, &request->parts[i], first, config, store_uuid, &scratch, err);
		first += request->parts[i].summary.count;
	}
	buf_release(&scratch);
	if (status != 0) {
		facts_free(facts);
		return status;
	}
	*ret = facts;
	return 0;
}
