/*
 * CloudEvents 1.0.2 <-> struct record: the JSON format (formats/json-format.md) and the attributes
 * of the HTTP binding's binary mode (bindings/http-protocol-binding.md, section 3.1).
 *
 * Attributes that mean something to Annals
 *   partitionkey     the key, as text; annalskey64 (base64url without padding) when the key is not
 * UTF-8. Not both. schemaversion    the version of the type's schema, when it is a number; any
 * other value is an ordinary extension annalspartition, annalsoffset, annalsposition,
 * annalsversion, annalstopic, recordedtime   the server's: written on read, dropped when posted, so
 * that events that were read can be posted again
 *
 * Data
 *   JSON content (datacontenttype absent, `json` or `+json`): the JSON value keeps its bytes both
 * ways. Stored bytes that are no JSON after all are written as data_base64. Other content: `data`
 * must be a text and its characters are the data. Written as text when the media type is textual
 * and the bytes are UTF-8, else as data_base64. Kafka-style headers have no
 * place in CloudEvents and are not written.
 *
 * Pure; one struct cloudevent belongs to one thread and is reused event after event.
 */
#ifndef ANNALS_CLOUDEVENTS_H
#define ANNALS_CLOUDEVENTS_H

#include <annals/column.h>
#include <annals/json.h>
#include <annals/record.h>

/* One event being read. `record` borrows from the input, from scratch and from extensions until the
 * next call. */
struct cloudevent {
	struct record record;
	struct attribute extensions[RECORD_EXTENSIONS_MAX];
	struct bytes tags[RECORD_TAGS_MAX];
	struct buf scratch;
	/* private */
	uint32_t seen;
	struct json_value data;
};

void cloudevent_init(struct cloudevent *event);
void cloudevent_release(struct cloudevent *event);

/*
 * Reads one event in the JSON format. ANNALS_E_MALFORMED (JSON syntax with the byte, a required
 * attribute missing, an attribute twice or of a wrong form: err names it), ANNALS_E_TOO_LARGE (a
 * limit of record.h, named), ANNALS_E_NO_MEMORY. specversion "1.0", id, source and type are
 * required.
 */
int cloudevent_from_json(
	struct cloudevent *event, struct bytes text, struct error *err) ANNALS_MUST_CHECK;
/* The same for the object at the scanner's cursor, an element of a batch. */
int cloudevent_scan(struct cloudevent *event, struct json_scanner *scanner,
	struct error *err) ANNALS_MUST_CHECK;

/*
 * Binary mode: begin, one call per ce- header, finish. header_bytes_max is at least the sum of the
 * names' and values' sizes. Names are compared in lower case and come without "ce-"; values as on
 * the wire: a quoted-string is undone, then one round of percent-decoding, and the result must be
 * UTF-8. Errors as above.
 */
int cloudevent_begin(struct cloudevent *event, size_t header_bytes_max) ANNALS_MUST_CHECK;
int cloudevent_add_header(struct cloudevent *event, struct bytes name, struct bytes value,
	struct error *err) ANNALS_MUST_CHECK;
/* An attribute whose text needs no decoding (a query parameter). It must live as long as the
 * record. */
int cloudevent_add_text(struct cloudevent *event, struct bytes name, struct bytes text,
	struct error *err) ANNALS_MUST_CHECK;
/* content_type may be empty. `whole`: all four required attributes must be there; else only type.
 */
int cloudevent_finish(struct cloudevent *event, struct bytes content_type, struct bytes data,
	bool whole, struct error *err) ANNALS_MUST_CHECK;

/* Where an event is stored: what is needed to write it. */
struct cloudevent_place {
	const char *topic;
	const uint8_t *topic_uuid; /* 16 bytes */
	uint32_t partition;
	uint64_t offset, position, recorded_us;
	uint64_t version; /* in its stream, or VERSION_NONE */
};

/*
 * Appends one event as one line of JSON without the line's end. What the producer left out is
 * derived: id "<topic uuid>-<partition>-<offset>", source "urn:annals:topic:<name>", type
 * "annals.event", time = recorded time. The record is a decoded one. ANNALS_E_NO_MEMORY.
 */
int cloudevent_to_json(struct buf *out, const struct record *record,
	const struct cloudevent_place *place) ANNALS_MUST_CHECK;

/* The media type before any parameter equals `type` ("application/json"), in any case. Blanks
 * around it are ignored. */
bool media_type_is(struct bytes content_type, const char *type);
/* The media type begins with `prefix`, in any case. */
bool media_type_starts(struct bytes content_type, const char *prefix);
/* "application/json", "text/json", anything ending in "/json" or "+json"; true for none at all, as
 * the JSON format says. */
bool media_type_is_json(struct bytes content_type);
/* Of an event: none, which says nothing, one with "proto" in it, or application/octet-stream. */
bool media_type_is_protobuf(struct bytes content_type);

#endif
