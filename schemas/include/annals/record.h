/*
 * One event in memory: a view of the fields of annals.v1.Event (schemas/event.proto). The code
 * calls it record because libevent owns `struct event`.
 *
 * A record borrows every byte from the buffer it was parsed from or from its maker. Encoding is
 * canonical: fields in number order, defaults left out. Decoding accepts what protobuf allows (any
 * order, repeated scalars: the last wins, unknown fields skipped but never removed: stored bytes
 * are never rewritten).
 */
#ifndef ANNALS_RECORD_H
#define ANNALS_RECORD_H

#include <annals/buf.h>
#include <annals/error.h>

/* Limits that do not depend on options. */
#define RECORD_KEY_BYTES_MAX 1024
#define RECORD_ATTRIBUTE_NAME_MAX 20
#define RECORD_EXTENSIONS_MAX 64
#define RECORD_HEADERS_MAX 128
#define RECORD_TAGS_MAX 64
/* id, source, type, subject, content type, schema; the name of a header; a tag */
#define RECORD_TEXT_BYTES_MAX 4096
/* Times of events: the years 1678 to 2261, whole, so that RFC 3339 texts and the stamp's "none"
 * values stay apart. */
#define RECORD_TIME_NS_MIN (INT64_C(-9214560000) * 1000000000)
#define RECORD_TIME_NS_MAX (INT64_C(9214646400) * 1000000000 - 1)

enum attribute_kind { /* the field numbers of Attribute.value */
	ATTRIBUTE_NONE = 0,
	ATTRIBUTE_BOOLEAN = 2,
	ATTRIBUTE_INTEGER = 3,
	ATTRIBUTE_TEXT = 4,
	ATTRIBUTE_BINARY = 5,
	ATTRIBUTE_URI = 6,
	ATTRIBUTE_URI_REFERENCE = 7,
	ATTRIBUTE_TIMESTAMP = 8,
};

struct attribute {
	struct bytes name;
	enum attribute_kind kind;
	bool boolean;
	int32_t integer;
	int64_t timestamp_ns;
	struct bytes value; /* text, binary, uri, uri_reference */
};

struct record_header {
	struct bytes name;
	bool has_value;
	struct bytes value;
};

struct record {
	struct bytes id, source, type, subject, datacontenttype, dataschema;
	struct bytes key, data;
	bool has_time, has_key, has_data, has_due;
	int64_t time_ns, due_ns;
	uint32_t schema_version;
	uint32_t extension_count, header_count, tag_count;
	/* Encoded submessages in order; walk them with record_next_*(). Set by record_decode(); an
	 * encoder uses the arrays below instead. */
	struct bytes encoded; /* the whole event, for the walks */
	/* For encoding only: arrays of the maker, NULL when decoded. */
	const struct attribute *extensions;
	const struct record_header *headers;
	const struct bytes *tags;
};

/*
 * Reads one encoded Event. Checks wire types, lengths, UTF-8 of every string, RECORD_* limits,
 * attribute names ([a-z0-9]{1,20}, each once, none of the CloudEvents core names nor partitionkey,
 * which is `key`), time ranges. ANNALS_E_MALFORMED (protobuf syntax; groups count as such),
 * ANNALS_E_VALIDATION (a rule above, err names the field), ANNALS_E_TOO_LARGE (a limit, named).
 * Pure; any thread; nothing is allocated. An empty event is valid.
 */
int record_decode(
	struct bytes encoded, struct record *ret_record, struct error *err) ANNALS_MUST_CHECK;

/* As record_decode without UTF-8 and rule checks, for bytes that were checked when they were
 * appended. */
int record_decode_trusted(struct bytes encoded, struct record *ret_record) ANNALS_MUST_CHECK;

/* Walks the extensions (headers, tags) of a decoded record in order. *cursor starts at 0. Returns 1
 * with the next one, 0 at the end. */
int record_next_extension(const struct record *record, size_t *cursor, struct attribute *ret);
int record_next_header(const struct record *record, size_t *cursor, struct record_header *ret);
int record_next_tag(const struct record *record, size_t *cursor, struct bytes *ret);

/* Bytes that record_encode will append for this record. */
size_t record_encoded_size(const struct record *record);
/* Appends the encoded Event, from the arrays for repeated fields. 0 or ANNALS_E_NO_MEMORY. Checks
 * nothing. */
int record_encode(const struct record *record, struct buf *out) ANNALS_MUST_CHECK;
/* Appends the event as an element of a Batch body: tag 0x0a, length, event. */
int record_encode_in_batch(const struct record *record, struct buf *out) ANNALS_MUST_CHECK;

/*
 * The partition for a key: (murmur2(key) & 0x7fffffff) % partitions, the rule of Kafka's Java
 * client; partitions > 0.
 */
uint32_t record_partition(struct bytes key, uint32_t partitions);

#endif
