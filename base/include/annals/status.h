/*
 * Status codes: one list for the library, the binary protocol, HTTP problem documents and exit
 * texts.
 *
 * Functions return 0 (ANNALS_OK) or one of these negative codes. On the wire the code travels as
 * its absolute value and over HTTP as `"type":"urn:annals:problem:<name>"`. Numbers and names are
 * stable: never reuse or renumber one.
 *
 * This header is installed: it must compile alone as strict C11 and as C++.
 */
#ifndef ANNALS_STATUS_H
#define ANNALS_STATUS_H

/* X(identifier, number, name, HTTP status, retryable, what it means) */
#define ANNALS_STATUS_LIST(X)                                                                      \
	X(INTERNAL, 1, "internal-error", 500, 0, "a defect of Annals; please report it")           \
	X(INVALID, 2, "invalid-argument", 400, 0, "a value is outside what is allowed")            \
	X(MALFORMED, 3, "malformed", 400, 0, "the bytes do not follow the protocol's syntax")      \
	X(CORRUPT_BATCH, 4, "corrupt-batch", 400, 0,                                               \
		"a batch does not match its checksum or count")                                    \
	X(TOO_LARGE, 5, "too-large", 413, 0, "something exceeds its limit")                        \
	X(UNKNOWN_TOPIC, 6, "unknown-topic", 404, 0, "no topic has this name or id")               \
	X(UNKNOWN_PARTITION, 7, "unknown-partition", 404, 0, "the topic has no such partition")    \
	X(TOPIC_EXISTS, 8, "topic-exists", 409, 0,                                                 \
		"a topic of this name exists with other settings")                                 \
	X(TOPIC_RECREATED, 9, "topic-recreated", 410, 0,                                           \
		"the topic was deleted and created again")                                         \
	X(OFFSET_BEYOND_END, 10, "offset-beyond-end", 416, 0, "the offset lies beyond the end")    \
	X(OFFSET_GONE, 11, "offset-gone", 410, 0, "the offset lies below the first one kept")      \
	X(UNSUPPORTED_MEDIA, 12, "unsupported-media-type", 415, 0,                                 \
		"the content type is not understood")                                              \
	X(NOT_ACCEPTABLE, 13, "not-acceptable", 406, 0,                                            \
		"no representation fits the accept header")                                        \
	X(UNSUPPORTED_VERSION, 14, "unsupported-version", 400, 0,                                  \
		"the protocol version is not spoken here")                                         \
	X(UNSUPPORTED_OPERATION, 15, "unsupported-operation", 501, 0,                              \
		"the operation is not known here")                                                 \
	X(UNAUTHENTICATED, 16, "unauthenticated", 401, 0, "credentials are missing or wrong")      \
	X(FORBIDDEN, 17, "forbidden", 403, 0, "the credentials do not allow this")                 \
	X(CONFLICT, 18, "conflict", 409, 0, "the current state contradicts the request")           \
	X(PRECONDITION_FAILED, 19, "precondition-failed", 412, 0,                                  \
		"the expected version is not the current one")                                     \
	X(OVERLOADED, 20, "overloaded", 429, 1, "a queue is full; try again later")                \
	X(UNAVAILABLE, 21, "unavailable", 503, 1, "the server is starting, stopping or not ready") \
	X(STORAGE_FULL, 22, "storage-full", 507, 1, "the disk is full; reads go on")               \
	X(OUTCOME_UNKNOWN, 23, "outcome-unknown", 503, 1,                                          \
		"the write may or may not have happened; ask again")                               \
	X(CORRUPT_DATA, 24, "corrupt-data", 500, 0, "stored bytes fail their checks")              \
	X(TIMEOUT, 25, "timeout", 408, 1, "a deadline passed")                                     \
	X(NOT_FOUND, 26, "not-found", 404, 0, "there is nothing at this address")                  \
	X(METHOD_NOT_ALLOWED, 27, "method-not-allowed", 405, 0,                                    \
		"the resource does not take this method")                                          \
	X(WRONG_PARTITION, 28, "wrong-partition", 422, 0, "the key belongs to another partition")  \
	X(HEADERS_TOO_LARGE, 29, "headers-too-large", 431, 0,                                      \
		"the header block exceeds its limit")                                              \
	X(URI_TOO_LONG, 30, "uri-too-long", 414, 0, "the request target exceeds its limit")        \
	X(LOCKED, 31, "locked", 409, 0, "another process uses the data directory")                 \
	X(IO, 32, "io-error", 500, 0, "the operating system refused a read or a write")            \
	X(NO_MEMORY, 33, "out-of-memory", 503, 1, "memory ran out")                                \
	X(FORMAT_NEWER, 34, "format-newer", 500, 0, "the data was written by a newer version")     \
	X(DISCONNECTED, 35, "disconnected", 503, 1, "the connection was lost")                     \
	X(VALIDATION, 36, "validation-failed", 422, 0,                                             \
		"the event breaks a rule of its topic or schema")                                  \
	X(LIMIT, 37, "limit-reached", 403, 0, "a configured maximum of things is reached")         \
	X(CLOSED, 38, "closed", 503, 0, "the handle or connection is being closed")                \
	X(CANCELLED, 39, "cancelled", 503, 0, "the request was given up before it was submitted")  \
	X(DUPLICATE_ID, 40, "duplicate-id", 409, 0,                                                \
		"an event with this source and id is stored already, with other content")          \
	X(PARTIAL_DUPLICATE, 41, "partial-duplicate", 409, 0,                                      \
		"some events of a conditional append are stored already")                          \
	X(IDEMPOTENCY, 42, "idempotency-key-reused", 422, 0,                                       \
		"the Idempotency-Key was used for another request")                                \
	X(FENCED, 43, "fenced", 409, 0, "a newer epoch or generation took over")                   \
	X(SEQUENCE, 44, "out-of-order-sequence", 409, 0,                                           \
		"the producer's sequence number does not follow the last one")                     \
	X(UNKNOWN_GROUP, 45, "unknown-group", 404, 0, "no group has this name")                    \
	X(UNKNOWN_MEMBER, 46, "unknown-member", 409, 0, "the group has no such member")            \
	X(LEASE_LOST, 47, "lease-lost", 409, 0, "the lease ended or was given to another")         \
	X(GROUP_MODE, 48, "group-mode", 409, 0,                                                    \
		"the group delivers the other way: by offset or by event")                         \
	X(INCOMPATIBLE_SCHEMA, 49, "incompatible-schema", 409, 0,                                  \
		"the schema breaks the subject's compatibility rule")                              \
	X(UNKNOWN_SCHEMA, 50, "unknown-schema", 404, 0, "no schema has this subject, version or id")

enum annals_status {
	ANNALS_OK = 0,
#define ANNALS_STATUS_ENUM_(id, number, name, http, retryable, text) ANNALS_E_##id = -number,
	ANNALS_STATUS_LIST(ANNALS_STATUS_ENUM_)
#undef ANNALS_STATUS_ENUM_
};

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ANNALS_API
#define ANNALS_API __attribute__((visibility("default")))
#endif

/* The stable name, "unknown-topic"; "ok" for 0; "unknown-status" for a number this version does not
 * know. Any thread. */
ANNALS_API const char *annals_status_name(int status);
/* One English clause that says what the status means. Any thread. */
ANNALS_API const char *annals_status_text(int status);
/* The HTTP status code that carries it; 200 for 0, 500 for an unknown number. */
ANNALS_API int annals_status_http(int status);
/* 1 when the same request may succeed later without being changed. */
ANNALS_API int annals_status_retryable(int status);

#ifdef __cplusplus
}
#endif
#endif
