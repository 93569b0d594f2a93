#include "conditions.h"

#include <stdlib.h>

static int copy_terms(struct query_message *message, const struct annals_bytes *from, size_t count,
	char ***ret, size_t *ret_count)
{
	*ret = message->terms + message->term_count;
	*ret_count = count;
	for (size_t i = 0; i < count; i++) {
		char *copy = strndup((const char *)from[i].data, from[i].size);
		if (!copy) {
			return ANNALS_E_NO_MEMORY;
		}
		message->terms[message->term_count++] = copy;
	}
	return ANNALS_OK;
}

int query_message_init(struct query_message *message, const struct annals_query *query)
{
	size_t terms = 0;
	int status = ANNALS_OK;
	memset(message, 0, sizeof(*message));
	annals__v1__query_condition__init(&message->condition);
	for (size_t i = 0; i < query->item_count; i++) {
		terms += query->items[i].type_count + query->items[i].tag_count;
	}
	message->items = calloc(query->item_count + 1, sizeof(*message->items));
	message->item_pointers = calloc(query->item_count + 1, sizeof(*message->item_pointers));
	message->terms = calloc(terms + 1, sizeof(*message->terms));
	if (!message->items || !message->item_pointers || !message->terms) {
		status = ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < query->item_count && status == ANNALS_OK; i++) {
		const struct annals_query_item *from = &query->items[i];
		Annals__V1__QueryItem *item = &message->items[i];
		annals__v1__query_item__init(item);
		message->item_pointers[i] = item;
		status = copy_terms(
			message, from->types, from->type_count, &item->type, &item->n_type);
		if (status == ANNALS_OK) {
			status = copy_terms(
				message, from->tags, from->tag_count, &item->tag, &item->n_tag);
		}
	}
	message->condition.n_item = query->item_count;
	message->condition.item = message->item_pointers;
	message->condition.after = query->after;
	if (status != ANNALS_OK) {
		query_message_release(message);
	}
	return status;
}

void query_message_release(struct query_message *message)
{
	for (size_t i = 0; i < message->term_count; i++) {
		free(message->terms[i]);
	}
	free(message->terms);
	free(message->items);
	free(message->item_pointers);
	memset(message, 0, sizeof(*message));
}

static int encode_streams(Annals__V1__AppendRequest *request,
	const struct annals_conditions *conditions, Annals__V1__StreamCondition **ret_memory)
{
	size_t count = conditions->stream_count;
	Annals__V1__StreamCondition *messages = calloc(count + 1, sizeof(*messages));
	request->stream_condition = calloc(count + 1, sizeof(*request->stream_condition));
	*ret_memory = messages;
	if (!messages || !request->stream_condition) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < count; i++) {
		const struct annals_stream_condition *from = &conditions->streams[i];
		annals__v1__stream_condition__init(&messages[i]);
		messages[i].key.data = (uint8_t *)(uintptr_t)from->key.data;
		messages[i].key.len = from->key.size;
		messages[i].expect = (Annals__V1__StreamExpect)from->expect;
		messages[i].version = from->version;
		messages[i].incarnation = from->incarnation;
		request->stream_condition[i] = &messages[i];
	}
	request->n_stream_condition = count;
	return ANNALS_OK;
}

int conditions_encode(const struct annals_conditions *conditions, struct buf *out)
{
	Annals__V1__AppendRequest request = ANNALS__V1__APPEND_REQUEST__INIT;
	Annals__V1__StreamCondition *streams = NULL;
	struct query_message query = {0};
	int status = encode_streams(&request, conditions, &streams);
	if (status == ANNALS_OK && conditions->query) {
		status = query_message_init(&query, conditions->query);
		request.query = &query.condition;
	}
	request.idempotency_key.data = (uint8_t *)(uintptr_t)conditions->idempotency_key.data;
	request.idempotency_key.len = conditions->idempotency_key.size;
	if (status == ANNALS_OK) {
		status =
			buf_reserve(out, annals__v1__append_request__get_packed_size(&request) + 1);
	}
	if (status == ANNALS_OK) {
		out->size += annals__v1__append_request__pack(&request, out->data + out->size);
	}
	free(request.stream_condition);
	free(streams);
	query_message_release(&query);
	return status;
}
