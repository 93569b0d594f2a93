/*
 * JSON that is appended to and read from typed topics over HTTP: the store keeps protobuf. Typed
 * are topics with validation. Loop thread.
 *
 * An event's data is JSON when its content type is `json` or `+json`, or when it has none and the
 * data begins with '{', which no message of proto3 does.
 */
#ifndef SERVER_HTTP_TYPED_H
#define SERVER_HTTP_TYPED_H

#include "proto_http.h"
#include <annals/record.h>

/*
 * Makes JSON data protobuf by the schema of the event's type; record->data then points into
 * scratch, which is emptied first, and datacontenttype is "application/protobuf". Other events
 * stay as they are, and so do, with VALIDATION_WARN, those that cannot be converted.
 * ANNALS_E_VALIDATION (no schema, or not JSON of this type: names the member and its byte),
 * ANNALS_E_MALFORMED, ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY.
 */
int http_typed_from_json(struct loop *loop, const struct topic *topic, struct record *record,
	struct buf *scratch, struct error *err) ANNALS_MUST_CHECK;

/* What a reader asked for with ?data=json. */
struct http_typed_reader {
	struct loop *loop;
	struct buf json; /* of the last event */
};
/* Reads ?data=: `json`, or `stored`, which is the default. *ret_wanted: events are to be converted,
 * the reader is set up. False: a problem was sent and the request is gone. */
bool http_typed_reader_read(struct http_typed_reader *reader, struct http_request *request,
	bool *ret_wanted) ANNALS_MUST_CHECK;
/* Of zeroed memory: a no-op. */
void http_typed_reader_release(struct http_typed_reader *reader);
/*
 * Makes protobuf data its canonical JSON (protojson.h), by the schema that the event names or the
 * latest one; record->data then points into the reader until its next use, and datacontenttype is
 * "application/json". An event that has no schema, or whose data has no JSON form, stays as it is.
 * ANNALS_E_NO_MEMORY.
 */
int http_typed_to_json(struct http_typed_reader *reader, struct record *record) ANNALS_MUST_CHECK;

#endif
