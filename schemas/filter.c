#include <annals/filter.h>

#include <stdlib.h>
#include <string.h>

bool event_filter_is_empty(const struct event_filter *filter)
{
	return filter->type.data == NULL && filter->type_prefix.data == NULL &&
	       filter->subject.data == NULL && filter->key.data == NULL && filter->tag_count == 0;
}

static void take_text(struct bytes *text, uint8_t **room)
{
	if (text->data != NULL) {
		memcpy(*room, text->data, text->size);
		text->data = *room;
		*room += text->size;
		*(*room)++ = 0;
	}
}

struct event_filter *event_filter_copy(const struct event_filter *filter)
{
	size_t size = filter->type.size + filter->type_prefix.size + filter->subject.size +
		      filter->key.size + 4;
	struct event_filter *copy;
	uint8_t *room;

	for (size_t i = 0; i < filter->tag_count; i++) {
		size += filter->tags[i].size + 1;
	}
	copy = malloc(sizeof(*copy) + size);
	if (copy == NULL) {
		return NULL;
	}
	*copy = *filter;
	room = (uint8_t *)(copy + 1);
	take_text(&copy->type, &room);
	take_text(&copy->type_prefix, &room);
	take_text(&copy->subject, &room);
	take_text(&copy->key, &room);
	for (size_t i = 0; i < copy->tag_count; i++) {
		take_text(&copy->tags[i], &room);
	}
	return copy;
}

static bool has_tag(const struct record *record, struct bytes wanted)
{
	struct bytes tag;
	size_t cursor = 0;
	while (record_next_tag(record, &cursor, &tag) == 1) {
		if (bytes_equal(tag, wanted)) {
			return true;
		}
	}
	return false;
}

static bool has_prefix(struct bytes text, struct bytes prefix)
{
	return text.size >= prefix.size && bytes_equal(bytes_of(text.data, prefix.size), prefix);
}

bool event_filter_takes(const struct event_filter *filter, const struct record *record)
{
	if ((filter->type.data != NULL && !bytes_equal(record->type, filter->type)) ||
		(filter->type_prefix.data != NULL &&
			!has_prefix(record->type, filter->type_prefix)) ||
		(filter->subject.data != NULL && !bytes_equal(record->subject, filter->subject)) ||
		(filter->key.data != NULL &&
			(!record->has_key || !bytes_equal(record->key, filter->key)))) {
		return false;
	}
	for (size_t i = 0; i < filter->tag_count; i++) {
		if (!has_tag(record, filter->tags[i])) {
			return false;
		}
	}
	return true;
}

bool event_filter_passes(const struct event_filter *filter, struct bytes encoded)
{
	struct record record;

	return event_filter_is_empty(filter) || (record_decode_trusted(encoded, &record) == 0 &&
							event_filter_takes(filter, &record));
}

/* 1 when an event of the batch passes, 0 when none does. */
static int holds_some(
	const struct event_filter *filter, const struct batch *batch, struct buf *scratch)
{
	struct bytes plain, encoded;
	size_t cursor = 0;
	int more, status;

	if (batch->stamp.kind != BATCH_DATA) {
		return 0;
	}
	buf_reset(scratch);
	status = batch_plain_body(batch, scratch, &plain);
	if (status != 0) {
		return status;
	}
	while ((more = batch_next_event(plain, &cursor, &encoded)) == 1) {
		if (event_filter_passes(filter, encoded)) {
			return 1;
		}
	}
	return more < 0 ? ANNALS_E_CORRUPT_DATA : 0;
}

int event_filter_batches(
	const struct event_filter *filter, struct buf *batches, struct buf *scratch)
{
	size_t at = 0, kept = 0;

	if (event_filter_is_empty(filter)) {
		return 0;
	}
	while (at < batches->size) {
		struct batch batch;
		size_t size;
		int status;
		if (batch_view(bytes_of(batches->data + at, batches->size - at), &batch) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		size = batch.stored.size;
		status = holds_some(filter, &batch, scratch);
		if (status < 0) {
			return status;
		}
		if (status == 1) {
			memmove(batches->data + kept, batches->data + at, size);
			kept += size;
		}
		at += size;
	}
	batches->size = kept;
	return 0;
}
