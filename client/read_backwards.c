/* Reading a partition from its end: pages of events, newest first. */
#include "control.h"
#include "convert.h"
#include "filter.h"
#include <annals/batch.h>
#include <annals/record.h>
#include <stdlib.h>

#define FETCH_BYTES (256u << 10)
#define CODECS_TAKEN ((1u << BATCH_CODECS) - 1)

/* An event that was found, in the bytes gathered. */
struct found {
	uint64_t offset, position, recorded_us, version;
	size_t at, size;
};

struct gathered {
	struct buf events; /* encoded, end to end */
	struct buf found;  /* struct found, newest first */
	struct buf scratch;
};

static void gathered_release(struct gathered *gathered)
{
	buf_release(&gathered->events);
	buf_release(&gathered->found);
	buf_release(&gathered->scratch);
}

static size_t found_count(const struct gathered *gathered)
{
	return gathered->found.size / sizeof(struct found);
}

/* Rising order to falling, of what was added since `from` (a count). */
static void turn_round(struct gathered *gathered, size_t from)
{
	struct found *all = (struct found *)(void *)gathered->found.data;
	for (size_t low = from, high = found_count(gathered); low + 1 < high; low++, high--) {
		const struct found kept = all[low];
		all[low] = all[high - 1];
		all[high - 1] = kept;
	}
}

/* The wanted events of a batch that lie below `before`, in rising order. */
static int gather_batch(struct gathered *gathered, const struct batch *batch, uint64_t before,
	const struct event_filter *filter)
{
	const struct stamp *stamp = &batch->stamp;
	struct batch_versions versions;
	struct bytes body, encoded;
	size_t cursor = 0;
	int status = batch_plain_body(batch, &gathered->scratch, &body);
	batch_versions_init(&versions, batch);
	for (uint32_t i = 0; i < stamp->count && status == ANNALS_OK; i++) {
		struct found found = {.offset = stamp->base_offset + i,
			.position = stamp->base_position + i,
			.recorded_us = stamp->recorded_us,
			.version = batch_versions_next(&versions),
			.at = gathered->events.size};
		if (batch_next_event(body, &cursor, &encoded) != 1) {
			return ANNALS_E_CORRUPT_DATA;
		}
		if (found.offset < before && event_filter_passes(filter, encoded)) {
			found.size = encoded.size;
			status = buf_add(&gathered->events, encoded.data, encoded.size);
			status = status != ANNALS_OK
					 ? status
					 : buf_add(&gathered->found, &found, sizeof(found));
		}
	}
	return status;
}

static int gather(struct gathered *gathered, struct bytes data, uint64_t before,
	const struct event_filter *filter, struct annals_error *error)
{
	const size_t from = found_count(gathered);
	while (data.size > 0) {
		struct error err = {0, ""};
		struct batch batch;
		int status = batch_view(data, &batch);
		status = status != ANNALS_OK ? ANNALS_E_CORRUPT_DATA : batch_verify(&batch, &err);
		if (status == ANNALS_OK && batch.stamp.kind == BATCH_DATA) {
			status = gather_batch(gathered, &batch, before, filter);
		}
		if (status != ANNALS_OK) {
			return client_error(error, status,
				"a batch below offset %llu is damaged%s%s",
				(unsigned long long)before, err.text[0] ? ": " : "", err.text);
		}
		data = bytes_of(data.data + batch.stored.size, data.size - batch.stored.size);
	}
	turn_round(gathered, from);
	return ANNALS_OK;
}

static int make_page(struct gathered *gathered, uint32_t partition, uint32_t limit,
	struct annals_page *page, struct annals_error *error)
{
	const struct found *found = (const struct found *)(const void *)gathered->found.data;
	const size_t count = ANNALS_MIN(found_count(gathered), (size_t)limit);
	const uint8_t *events = gathered->events.data; /* the memory stays, its owner changes */
	int status = page_fill(page, count, &gathered->events, error);
	for (size_t i = 0; i < count && status == ANNALS_OK; i++) {
		struct annals_event *event = &page->events[i];
		struct record record;
		if (record_decode(bytes_of(events + found[i].at, found[i].size), &record, NULL) !=
			ANNALS_OK) {
			return client_error(error, ANNALS_E_CORRUPT_DATA, "event %llu is damaged",
				(unsigned long long)found[i].offset);
		}
		event_from_record(&record, event);
		event->partition = partition;
		event->offset = found[i].offset;
		event->position = found[i].position;
		event->recorded_us = found[i].recorded_us;
		event->version = found[i].version;
	}
	if (status == ANNALS_OK && found_count(gathered) > limit) {
		page->before = found[count - 1].offset;
	}
	return status;
}

/* One FETCH; moves page->before down to where it looked, page->first_offset. */
static int fetch(struct annals_client *client, Annals__V1__FetchRequest *request,
	struct gathered *gathered, const struct event_filter *filter, int timeout_ms,
	struct annals_page *page, struct annals_error *error)
{
	struct buf data ANNALS_CLEANUP(buf_release) = BUF_INIT;
	ProtobufCMessage *answer;
	request->offset = page->before;
	int status = control_call_data(client, FRAME_FETCH, &request->base,
		&annals__v1__fetch_response__descriptor, timeout_ms, &answer, &data, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__FetchResponse *response = (const void *)answer;
	const uint64_t before = ANNALS_MIN(page->before, response->end_offset);
	page->first_offset = response->first_offset;
	page->before = ANNALS_MIN(before, response->next_offset);
	request->topic_id = response->topic_id;
	protobuf_c_message_free_unpacked(answer, NULL);
	return gather(gathered, buf_bytes(&data), before, filter, error);
}

int annals_read_backwards(struct annals_client *client, const char *topic, uint32_t partition,
	uint64_t before, const struct annals_filter *filter, uint32_t limit, int timeout_ms,
	struct annals_page *ret_page, struct annals_error *error)
{
	Annals__V1__FetchRequest request = ANNALS__V1__FETCH_REQUEST__INIT;
	struct gathered gathered ANNALS_CLEANUP(gathered_release) = {.events = BUF_INIT};
	char *tags[EVENT_FILTER_TAGS_MAX];
	Annals__V1__EventFilter message;
	struct annals_page page = {.before = before};
	struct event_filter wanted;
	int status = filter_read(filter, &wanted, error);
	if (status != ANNALS_OK) {
		return status;
	}
	if (limit == 0 || limit > ANNALS_PAGE_EVENTS_MAX) {
		return client_error(error, ANNALS_E_INVALID, "a page has 1 to %u events",
			ANNALS_PAGE_EVENTS_MAX);
	}
	request.topic = control_text(topic);
	request.partition = partition;
	request.bytes_max = FETCH_BYTES;
	request.codecs = CODECS_TAKEN;
	request.backwards = true;
	if (!event_filter_is_empty(&wanted)) {
		filter_message(&wanted, &message, tags);
		request.filter = &message;
	}
	do {
		status = fetch(client, &request, &gathered, &wanted, timeout_ms, &page, error);
	} while (status == ANNALS_OK && found_count(&gathered) < limit &&
		 page.before > page.first_offset);
	status =
		status != ANNALS_OK ? status : make_page(&gathered, partition, limit, &page, error);
	if (status == ANNALS_OK) {
		*ret_page = page;
	} else {
		annals_page_release(&page);
	}
	return status;
}
