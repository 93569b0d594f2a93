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
#include <annals/project.h>
#include <annals/record.h>

/* What an event of a typed topic needs beside its record: data that was JSON, texts of tags. */
struct http_typed_event;
void http_typed_event_free(struct http_typed_event *event); /* NULL is a no-op */
/*
 * An event on its way into a topic with validation. JSON data becomes protobuf by the schema of the
 * event's type, with the content type "application/protobuf". Then the schema's options say
 * (extract.h) what the event's key, subject and time are, in place of what was given, and which
 * tags, "name:value", it has beside those that were given.
 *
 * record points into *event until the next use, which is made when it is NULL. With VALIDATION_WARN
 * events that cannot be converted or looked into stay as they are.
 * ANNALS_E_VALIDATION (no schema, not JSON of this type: names the member and its byte; a time that
 * is none), ANNALS_E_MALFORMED, ANNALS_E_TOO_LARGE (RECORD_TAGS_MAX too), ANNALS_E_NO_MEMORY.
 */
int http_typed_take(struct http_typed_event **event, struct loop *loop, const struct topic *topic,
	struct record *record, struct error *err) ANNALS_MUST_CHECK;

#define HTTP_TYPED_LOST_BYTES PROJECT_REPORT_TEXT_BYTES

/* What a reader asked for with ?data=json and ?schemaVersion=. */
struct http_typed_reader {
	struct loop *loop;
	uint32_t version; /* as which events are shown; 0: as what they are */
	struct buf json, projected;
};
/* Reads ?data=: `json`, or `stored`, which is the default; and with `json` ?schemaVersion=.
 * *ret_wanted: events are to be converted, the reader is set up. False: a problem was sent and the
 * request is gone. */
bool http_typed_reader_read(struct http_typed_reader *reader, struct http_request *request,
	bool *ret_wanted) ANNALS_MUST_CHECK;
/* Of zeroed memory: a no-op. */
void http_typed_reader_release(struct http_typed_reader *reader);
/*
 * Makes protobuf data its canonical JSON (protojson.h), by the schema that the event names or the
 * latest one; record->data then points into the reader until its next use, and datacontenttype is
 * "application/json". With a version the data is projected to it first (project.h), where the type
 * has one; *ret_lost then lists what could not be kept, "unknown-field 8,...", else it is empty; it
 * is NUL-terminated. An event that has no schema, or whose data has no JSON form, stays as it is.
 * ANNALS_E_NO_MEMORY.
 */
int http_typed_to_json(struct http_typed_reader *reader, struct record *record,
	char ret_lost[HTTP_TYPED_LOST_BYTES]) ANNALS_MUST_CHECK;

#endif
