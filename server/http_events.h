/* Walking stored batches and writing their events in the formats HTTP answers have. Pure but for
 * memory; loop thread only. */
#ifndef SERVER_HTTP_EVENTS_H
#define SERVER_HTTP_EVENTS_H

#include <annals/cloudevents.h>
#include <annals/schemas.h>
#include <annals/storage.h>

struct http_typed_reader;

enum http_event_format {
	HTTP_FORMAT_LINES, /* NDJSON */
	HTTP_FORMAT_ARRAY, /* a JSON array */
	HTTP_FORMAT_PROTOBUF,
	HTTP_FORMATS
};

/* A walk over stored batches end to end. */
struct http_event_walk {
	const struct topic *topic;
	struct bytes batches; /* what is left of them; borrowed */
	bool in_batch;
	struct batch batch;
	struct bytes plain; /* of the current batch, in it or in scratch */
	size_t cursor;
	uint32_t index;
	struct batch_versions versions;
	struct buf scratch;
	struct http_typed_reader *typed; /* how events are written; NULL: as they are stored */
};

/* One event on the walk. */
struct http_walked_event {
	struct bytes element; /* as an element of a Batch: tag, length, event */
	struct bytes encoded;
	struct cloudevent_place place;
	struct http_typed_reader *typed; /* the walk's */
};

void http_event_walk_init(struct http_event_walk *walk, const struct topic *topic);
void http_event_walk_release(struct http_event_walk *walk);
/* Goes on with other batches, which must stay until the walk is through. */
void http_event_walk_set(struct http_event_walk *walk, struct bytes batches);
/*
 * 1 with the next event, 0 at the end of the batches. Holes and control records are stepped over.
 * ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY.
 */
int http_event_walk_next(struct http_event_walk *walk, struct http_walked_event *ret);
/* Appends the event as one JSON object on one line. */
int http_event_write_json(struct buf *out, const struct http_walked_event *event) ANNALS_MUST_CHECK;

#endif
