#include "http_events.h"

#include "http_typed.h"

void http_event_walk_init(struct http_event_walk *walk, const struct topic *topic)
{
	*walk = (struct http_event_walk){.topic = topic, .scratch = BUF_INIT};
}

void http_event_walk_release(struct http_event_walk *walk)
{
	buf_release(&walk->scratch);
}

void http_event_walk_set(struct http_event_walk *walk, struct bytes batches)
{
	walk->batches = batches;
	walk->in_batch = false;
}

static int open_batch(struct http_event_walk *walk)
{
	if (batch_view(walk->batches, &walk->batch) != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	const size_t size = walk->batch.stored.size;
	walk->batches = bytes_of(walk->batches.data + size, walk->batches.size - size);
	if (walk->batch.stamp.kind != BATCH_DATA) {
		return 0;
	}
	buf_reset(&walk->scratch);
	const int status = batch_plain_body(&walk->batch, &walk->scratch, &walk->plain);
	walk->cursor = 0;
	walk->index = 0;
	batch_versions_init(&walk->versions, &walk->batch);
	walk->in_batch = status == 0;
	return status;
}

int http_event_walk_next(struct http_event_walk *walk, struct http_walked_event *ret)
{
	for (;;) {
		while (!walk->in_batch) {
			if (walk->batches.size == 0) {
				return 0;
			}
			const int status = open_batch(walk);
			if (status != 0) {
				return status;
			}
		}
		const size_t start = walk->cursor;
		const int more = batch_next_event(walk->plain, &walk->cursor, &ret->encoded);
		if (more < 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		if (more == 0) {
			walk->in_batch = false;
			continue;
		}
		const struct stamp *stamp = &walk->batch.stamp;
		ret->typed = walk->typed;
		ret->element = bytes_of(walk->plain.data + start, walk->cursor - start);
		ret->place = (struct cloudevent_place){walk->topic->name, walk->topic->uuid,
			stamp->partition, stamp->base_offset + walk->index,
			stamp->base_position + walk->index, stamp->recorded_us,
			batch_versions_next(&walk->versions)};
		walk->index++;
		return 1;
	}
}

int http_event_write_json(struct buf *out, const struct http_walked_event *event)
{
	struct record record;
	char lost[HTTP_TYPED_LOST_BYTES];
	if (record_decode_trusted(event->encoded, &record) != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	if (event->typed != NULL) {
		int status = http_typed_to_json(event->typed, &record, lost);
		status = status != 0 ? status : cloudevent_to_json(out, &record, &event->place);
		/* One more member of the object: the mark of a projection. */
		if (status == 0 && lost[0] != 0) {
			out->size--;
			status = buf_printf(out, ",\"annalslost\":\"%s\"}", lost);
		}
		return status;
	}
	return cloudevent_to_json(out, &record, &event->place);
}
