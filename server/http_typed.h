/*
 * JSON that is appended to and read from typed topics over HTTP: the store keeps protobuf. Typed
 * are topics with validation. Loop thread.
 *
 * An event's data is JSON when its content type is `json` or `+json`, or when it has none and the
 * data begins with '{', which no message of proto3 does.
 */
#ifndef SERVER_HTTP_TYPED_H
#define SERVER_HTTP_TYPED_H

#include "loop.h"
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
/*
 * Makes protobuf data its canonical JSON (protojson.h), by the schema that the event names or the
 * latest one; record->data then points into scratch, which is emptied first, and datacontenttype is
 * "application/json". An event that has no schema, or whose data has no JSON form, stays as it is.
 * ANNALS_E_NO_MEMORY.
 */
int http_typed_to_json(
	struct loop *loop, struct record *record, struct buf *scratch) ANNALS_MUST_CHECK;

#endif
