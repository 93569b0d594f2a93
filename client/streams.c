/* Reading by index: pages of a stream, and of what matches a query. */
#include "conditions.h"
#include "control.h"
#include "convert.h"
#include <annals/batch.h>
#include <annals/record.h>
#include <stdlib.h>

void annals_page_release(struct annals_page *page)
{
	if (page && page->memory) {
		buf_release(page->memory);
		free(page->memory);
		free(page->events);
	}
	if (page) {
		memset(page, 0, sizeof(*page));
	}
}

int page_fill(struct annals_page *page, size_t count, struct buf *data, struct annals_error *error)
{
	struct buf *memory = malloc(sizeof(*memory));
	page->events = memory ? calloc(count + 1, sizeof(*page->events)) : NULL;
	if (!page->events) {
		free(memory);
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a page");
	}
	*memory = *data;
	*data = BUF_INIT;
	page->memory = memory;
	page->count = count;
	return ANNALS_OK;
}

/* Turns places and the data behind them into events; takes the data. */
static int fill_page(struct annals_page *page, Annals__V1__EventPlace **places, size_t count,
	struct buf *data, struct annals_error *error)
{
	struct bytes encoded;
	size_t cursor = 0;
	int status = page_fill(page, count, data, error);
	if (status != ANNALS_OK) {
		return status;
	}
	for (size_t i = 0; i < count; i++) {
		struct annals_event *event = &page->events[i];
		struct record record;
		if (batch_next_event(buf_bytes(page->memory), &cursor, &encoded) != 1 ||
			record_decode(encoded, &record, NULL) != 0) {
			return client_error(error, ANNALS_E_MALFORMED,
				"the server's answer holds other events than it says");
		}
		event_from_record(&record, event);
		event->partition = places[i]->partition;
		event->offset = places[i]->offset;
		event->position = places[i]->position;
		event->recorded_us = places[i]->recorded_us;
		event->version = places[i]->has_version ? places[i]->version : ANNALS_VERSION_NONE;
	}
	return ANNALS_OK;
}

int annals_stream_read(struct annals_client *client, const char *topic, struct annals_bytes key,
	uint64_t version, int backwards, uint32_t limit, int timeout_ms,
	struct annals_page *ret_page, struct annals_error *error)
{
	Annals__V1__StreamReadRequest request = ANNALS__V1__STREAM_READ_REQUEST__INIT;
	struct buf data ANNALS_CLEANUP(buf_release) = BUF_INIT;
	struct annals_page page = {0};
	ProtobufCMessage *answer;
	request.topic = control_text(topic);
	request.key.data = (uint8_t *)(uintptr_t)key.data;
	request.key.len = key.size;
	request.from_newest = backwards && version == ANNALS_NEWEST;
	request.version = request.from_newest ? 0 : version;
	request.backwards = backwards;
	request.limit = limit;
	int status = control_call_data(client, FRAME_STREAM_READ, &request.base,
		&annals__v1__stream_read_response__descriptor, timeout_ms, &answer, &data, error);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__StreamReadResponse *response = (const void *)answer;
	page.exists = response->exists;
	page.incarnation = response->incarnation;
	page.next_version = response->next_version;
	page.first_version = response->first_version;
	status = fill_page(&page, response->place, response->n_place, &data, error);
	protobuf_c_message_free_unpacked(answer, NULL);
	if (status == ANNALS_OK) {
		*ret_page = page;
	} else {
		annals_page_release(&page);
	}
	return status;
}

int annals_query_read(struct annals_client *client, const char *topic,
	const struct annals_query *query, uint32_t limit, int timeout_ms,
	struct annals_page *ret_page, struct annals_error *error)
{
	Annals__V1__QueryRequest request = ANNALS__V1__QUERY_REQUEST__INIT;
	struct buf data ANNALS_CLEANUP(buf_release) = BUF_INIT;
	struct query_message message;
	struct annals_page page = {0};
	ProtobufCMessage *answer;
	if (query_message_init(&message, query) != ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a query");
	}
	request.topic = control_text(topic);
	request.query = &message.condition;
	request.limit = limit;
	int status = control_call_data(client, FRAME_QUERY, &request.base,
		&annals__v1__query_response__descriptor, timeout_ms, &answer, &data, error);
	query_message_release(&message);
	if (status != ANNALS_OK) {
		return status;
	}
	const Annals__V1__QueryResponse *response = (const void *)answer;
	page.up_to = response->up_to;
	status = fill_page(&page, response->place, response->n_place, &data, error);
	protobuf_c_message_free_unpacked(answer, NULL);
	if (status == ANNALS_OK) {
		*ret_page = page;
	} else {
		annals_page_release(&page);
	}
	return status;
}
