/*
 * libannals: the C client of Annals, a durable append-only event store.
 *
 *   struct annals_client    one connection to a server, kept up by itself
 *   struct annals_producer  gathers events into batches and appends them in the background
 *   struct annals_consumer  reads a topic from a place on, ahead of its caller
 *
 * Threads. By default a client runs one I/O thread. Every function may then be called from any
 * thread, except that one consumer belongs to one thread at a time and that no handle may be used
 * while or after it is closed. Callbacks run on the I/O thread, never under a lock; they must not
 * block and must not make blocking calls or close a handle of the same client
 * (annals_producer_send() with a timeout of 0 is fine).
 * With ANNALS_OPTION_EXTERNAL_LOOP there is no thread: your event loop watches annals_client_fd()
 * and calls annals_client_process(); see client_libevent.h. Then all calls on the client and its
 * producers and consumers must come from one thread; a call with a timeout above 0 drives the
 * connection itself while it waits, callbacks included.
 *
 * Time. Timeouts are in milliseconds; 0 means "do not wait". No call takes longer than its timeout,
 * give or take scheduling, except where a host name is resolved (getaddrinfo on the I/O thread, or
 * in annals_client_process()): use numeric addresses where that matters.
 *
 * Results. 0 or a negative ANNALS_E_* code (status.h); `ret_` parameters are written on success
 * only. A struct annals_error parameter may be NULL; it is untouched on success. Functions named
 * _free and _close accept NULL.
 *
 * Delivery. Retrying after an unknown outcome (ANNALS_E_OUTCOME_UNKNOWN, a lost connection, a
 * timeout after sending) can store an event twice: this server version does not yet recognise
 * repeated event ids. The producer retries the same bytes with the same ids, so readers can drop
 * repeats by (source, id), and servers that recognise them will. ANNALS_OPTION_RETRY_UNKNOWN = 0
 * reports such batches instead.
 *
 * This header stands alone: strict C11 and C++.
 */
#ifndef ANNALS_CLIENT_H
#define ANNALS_CLIENT_H

#include <annals/status.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "0.1.0". */
ANNALS_API const char *annals_version(void);

/* Borrowed bytes; text is UTF-8 and not NUL-terminated. */
struct annals_bytes {
	const void *data;
	size_t size;
};

/* The bytes of a NUL-terminated text; none for NULL. */
static inline struct annals_bytes annals_text(const char *text)
{
	struct annals_bytes bytes;
	bytes.data = text;
	bytes.size = text ? strlen(text) : 0;
	return bytes;
}

/* What went wrong: a code, one sentence for people, and what the server named. */
struct annals_error {
	int status;              /* enum annals_status */
	char text[256];          /* no capital, no full stop */
	int64_t event_index;     /* which event of the request, from 0; -1 when it names none */
	uint64_t first_offset;   /* ANNALS_E_OFFSET_GONE: the first offset kept */
	uint64_t end_offset;     /* ANNALS_E_OFFSET_BEYOND_END: one past the last */
	uint64_t retry_after_ms; /* the server's advice for retryable errors; 0 = none */
	/* ANNALS_E_PRECONDITION_FAILED */
	struct annals_conflict {
		uint32_t condition; /* index of the stream condition (the query's item) */
		int stream_exists;
		uint64_t version;  /* of the stream's newest event */
		uint64_t position; /* query: of an event that matches */
	} conflict;
	char topic[256]; /* which topic it is about, "" when the server names none */
};

/* ------------------------------------------------------------------ options
 *
 * One object for clients, producers and consumers; each reads its own when it is opened, so one
 * object can serve all of them, changed in between and freed afterwards. Not thread-safe.
 *
 * X(identifier, name, default, min, max, meaning): numbers. Units are last in the names.
 */
#define ANNALS_OPTION_LIST(X)                                                                      \
	X(CONNECT_TIMEOUT_MS, "connect-timeout-ms", 5000, 1, 600000,                               \
		"for one address: connecting and the hello exchange")                              \
	X(RECONNECT_MIN_MS, "reconnect-min-ms", 50, 1, 600000,                                     \
		"pause before the first reconnect; doubles with each failure, half of it random")  \
	X(RECONNECT_MAX_MS, "reconnect-max-ms", 5000, 1, 600000,                                   \
		"longest pause between reconnects")                                                \
	X(IDLE_PING_MS, "idle-ping-ms", 20000, 100, 3600000,                                       \
		"silence after which the server is pinged; a ping unanswered for as long ends "    \
		"the connection")                                                                  \
	X(FRAME_BYTES_MAX, "frame-bytes-max", 67108864, 65536, 1073741824,                         \
		"largest frame accepted from the server")                                          \
	X(EXTERNAL_LOOP, "external-loop", 0, 0, 1,                                                 \
		"1: no I/O thread, your event loop drives the client")                             \
	X(LINGER_US, "linger-us", 5000, 0, 10000000,                                               \
		"producer: how long the first event of a batch waits for more")                    \
	X(BATCH_BYTES, "batch-bytes", 262144, 1024, 4194304,                                       \
		"producer: a batch is sent when it holds so many bytes")                           \
	X(BATCH_EVENTS, "batch-events", 10000, 1, 1000000, "producer: ... or so many events")      \
	X(BUFFER_BYTES, "buffer-bytes", 33554432, 65536, 4294967296,                               \
		"producer: bytes of events unanswered; beyond it annals_producer_send() waits")    \
	X(IN_FLIGHT, "in-flight", 1, 1, 256,                                                       \
		"producer: requests unanswered per partition; with more than 1 a batch the "       \
		"server refuses can be overtaken")                                                 \
	X(DELIVERY_TIMEOUT_MS, "delivery-timeout-ms", 120000, 1, 86400000,                         \
		"producer: retries end so long after a batch was begun")                           \
	X(RETRY_UNKNOWN, "retry-unknown", 1, 0, 1,                                                 \
		"producer: retry when it is unknown whether a batch was stored; with idempotence " \
		"it is stored once all the same")                                                  \
	X(IDEMPOTENCE, "idempotence", 1, 0, 1,                                                     \
		"producer: number the batches, so that a retry stores nothing twice")              \
	X(GENERATE_IDS, "generate-ids", 1, 0, 1,                                                   \
		"producer: give events without an id a unique one")                                \
	X(COMPRESSION, "compression", 0, 0, 2, "producer: enum annals_compression")                \
	X(DURABILITY, "durability", 0, 0, 2, "producer: enum annals_durability")                   \
	X(READ_AHEAD_BYTES, "read-ahead-bytes", 4194304, 65536, 1073741824,                        \
		"consumer: bytes fetched ahead of the caller")

enum annals_option {
#define ANNALS_OPTION_ENUM_(id, name, standard, min, max, text) ANNALS_OPTION_##id,
	ANNALS_OPTION_LIST(ANNALS_OPTION_ENUM_)
#undef ANNALS_OPTION_ENUM_
		ANNALS_OPTION_COUNT_
};

enum annals_compression {
	ANNALS_COMPRESSION_NONE = 0,
	ANNALS_COMPRESSION_ZSTD = 1,
	ANNALS_COMPRESSION_LZ4 = 2
};

/* When an append is answered. */
enum annals_durability {
	ANNALS_DURABILITY_TOPIC = 0, /* as the topic says, FSYNC by default */
	ANNALS_DURABILITY_FSYNC = 1, /* after the flush */
	ANNALS_DURABILITY_OS =
		2 /* after the write: survives a crash of the server, not of the machine */
};

struct annals_client;
struct annals_producer;
struct annals_consumer;
struct annals_options;

/* The state of a client's connection. */
enum annals_state {
	ANNALS_STATE_CONNECTING = 0, /* looking for a server, pauses included */
	ANNALS_STATE_READY = 1,
	ANNALS_STATE_CLOSED = 2
};

/* `error` says why the connection ended or could not be made; NULL for READY. It is borrowed. */
typedef void annals_state_fn(struct annals_client *client, enum annals_state state,
	const struct annals_error *error, void *arg);

/* One batch that was stored (status 0) or given up. Borrowed, valid during the callback. */
struct annals_delivery {
	int status;
	uint32_t partition;
	uint64_t offset; /* of its first event; event i has offset + i */
	uint32_t count;
	enum annals_durability durability; /* what the batch got */
	uint32_t attempts;
	void *const *cookies;             /* what annals_producer_send() was given, one per event */
	const struct annals_error *error; /* NULL when status is 0 */
};
typedef void annals_delivery_fn(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg);

/* NULL when memory ran out. */
ANNALS_API struct annals_options *annals_options_new(void);
ANNALS_API void annals_options_free(struct annals_options *options);
/* ANNALS_E_INVALID when the value is outside the range of ANNALS_OPTION_LIST; the text names both.
 */
ANNALS_API int annals_options_set(struct annals_options *options, enum annals_option option,
	uint64_t value, struct annals_error *error);
ANNALS_API uint64_t annals_options_get(
	const struct annals_options *options, enum annals_option option);
/* The name, "linger-us"; NULL for a number that is no option. */
ANNALS_API const char *annals_option_name(enum annals_option option);
/*
 * Where servers may be: "HOST:PORT", several separated by commas, tried in turn; "[v6]:port".
 * "127.0.0.1:7450" unless set. The text is copied. ANNALS_E_INVALID naming the part,
 * ANNALS_E_NO_MEMORY.
 */
ANNALS_API int annals_options_set_servers(
	struct annals_options *options, const char *servers, struct annals_error *error);
/* What the server logs about this client; at most 255 bytes, copied. ANNALS_E_INVALID,
 * ANNALS_E_NO_MEMORY. */
ANNALS_API int annals_options_set_client_name(struct annals_options *options, const char *name);
/*
 * The producer's name, 1 to 249 characters of [A-Za-z0-9._-]: whoever opens a producer of the same
 * name later fences this one (its batches fail with ANNALS_E_FENCED), so that a process thought
 * dead cannot write any more. Without a name nobody is fenced. ANNALS_E_INVALID,
 * ANNALS_E_NO_MEMORY.
 */
ANNALS_API int annals_options_set_producer_name(struct annals_options *options, const char *name);
/* A secret for servers that ask for one; at most 4,096 bytes, copied. ANNALS_E_INVALID,
 * ANNALS_E_NO_MEMORY. */
ANNALS_API int annals_options_set_token(struct annals_options *options, const char *token);
ANNALS_API void annals_options_on_state(
	struct annals_options *options, annals_state_fn *function, void *arg);
ANNALS_API void annals_options_on_delivery(
	struct annals_options *options, annals_delivery_fn *function, void *arg);

/* ------------------------------------------------------------------- client */

/*
 * Makes a client and begins to connect in the background; options may be NULL for all defaults. The
 * connection is made again whenever it is lost, until the client is closed: requests wait for it as
 * long as their timeouts allow. ANNALS_E_NO_MEMORY, ANNALS_E_IO.
 */
ANNALS_API int annals_client_open(const struct annals_options *options,
	struct annals_client **ret_client, struct annals_error *error);
/*
 * Waits until the client is connected. ANNALS_E_TIMEOUT or, when the server refused the client for
 * good (ANNALS_E_UNAUTHENTICATED, ANNALS_E_UNSUPPORTED_VERSION, ANNALS_E_FORBIDDEN), that; the text
 * says what happened last.
 */
ANNALS_API int annals_client_wait(
	struct annals_client *client, int timeout_ms, struct annals_error *error);
/* annals_client_open() and annals_client_wait() in one; nothing is left open on failure. */
ANNALS_API int annals_connect(const struct annals_options *options, int timeout_ms,
	struct annals_client **ret_client, struct annals_error *error);
/*
 * Ends the connection, the thread and the handle. Close producers and consumers first, and call it
 * only when no other thread is inside a call on the client. Returns when the I/O thread has ended.
 */
ANNALS_API void annals_client_close(struct annals_client *client);

/* Asks the server for its time, microseconds since 1970. The errors of every request:
 * ANNALS_E_TIMEOUT, ANNALS_E_DISCONNECTED, ANNALS_E_CLOSED, ANNALS_E_NO_MEMORY, and what the server
 * answers. */
ANNALS_API int annals_ping(struct annals_client *client, int timeout_ms, uint64_t *ret_time_us,
	struct annals_error *error);

/* What the server said of itself in the hello exchange. */
struct annals_server_info {
	char name[64];
	char version[64];
	char store_uuid[64];
	char address[300]; /* which of the addresses it is */
	uint32_t protocol_version;
};
/* ANNALS_E_DISCONNECTED when there is no connection now. */
ANNALS_API int annals_client_server(struct annals_client *client, struct annals_server_info *ret);

/* For external loops: one descriptor that is readable whenever annals_client_process() has
 * something to do, deadlines included. It stays the same for the client's life and must not be
 * read, written or closed. */
ANNALS_API int annals_client_fd(const struct annals_client *client);
/* Does what can be done without waiting, callbacks included. Only with ANNALS_OPTION_EXTERNAL_LOOP.
 */
ANNALS_API void annals_client_process(struct annals_client *client);

/* ------------------------------------------------------------------- topics */

/* What becomes of events whose data is not what the schema of their type says. */
enum annals_validation {
	ANNALS_VALIDATION_OFF,
	ANNALS_VALIDATION_WARN,   /* stored and counted */
	ANNALS_VALIDATION_ENFORCE /* the whole append is refused: ANNALS_E_VALIDATION */
};

struct annals_topic_config {
	uint32_t partitions;
	uint64_t retention_age_us; /* 0 = unlimited, also below */
	uint64_t retention_bytes;
	uint64_t retention_events;
	enum annals_durability durability;
	int streams;              /* 1: events with a key have versions per key */
	uint32_t event_bytes_max; /* 0 = the server's limit */
	/* The window in which the same (source, id) is stored once: 0 = a day where streams are on,
	 * else none; dedupe_off = none. */
	uint64_t dedupe_age_us;
	uint64_t dedupe_events; /* 0 = 10 million */
	int dedupe_off;
	int query_index; /* 1: types and tags are indexed, for queries and conditions over them */
	enum annals_validation validation;
};
struct annals_partition {
	uint32_t partition;
	uint64_t first_offset; /* first kept */
	uint64_t end_offset;   /* one past the last durable event */
	uint64_t bytes;        /* stored, about */
};
struct annals_topic {
	const char *name;
	uint32_t id;
	const char *uuid;
	struct annals_topic_config config;
	uint64_t created_us;
	uint32_t partition_count; /* of `partitions`; 0 in lists */
	const struct annals_partition *partitions;
};

/* 1 when the topic was created, 0 when it existed with the same settings, ANNALS_E_TOPIC_EXISTS
 * with others. ret_topic may be NULL; else free it with annals_topic_free(). */
ANNALS_API int annals_topic_create(struct annals_client *client, const char *name,
	const struct annals_topic_config *config, int timeout_ms, struct annals_topic **ret_topic,
	struct annals_error *error);
/* ANNALS_E_UNKNOWN_TOPIC. Free the result with annals_topic_free(). */
ANNALS_API int annals_topic_describe(struct annals_client *client, const char *name, int timeout_ms,
	struct annals_topic **ret_topic, struct annals_error *error);
/* The topics whose names begin with prefix (NULL or "": all), without partitions. Free the array
 * with annals_topics_free(). */
ANNALS_API int annals_topic_list(struct annals_client *client, const char *prefix, int timeout_ms,
	struct annals_topic ***ret_topics, size_t *ret_count, struct annals_error *error);
/* Changes the fields named ("retention_age_us", "partitions", ...) to what config says.
 * ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_INVALID. */
ANNALS_API int annals_topic_update(struct annals_client *client, const char *name,
	const struct annals_topic_config *config, const char *const *fields, size_t field_count,
	int timeout_ms, struct annals_topic **ret_topic, struct annals_error *error);
/* Deletes the topic, its events and its groups' offsets. ANNALS_E_UNKNOWN_TOPIC. */
ANNALS_API int annals_topic_delete(
	struct annals_client *client, const char *name, int timeout_ms, struct annals_error *error);
ANNALS_API void annals_topic_free(struct annals_topic *topic);
ANNALS_API void annals_topics_free(struct annals_topic **topics, size_t count);

/* The partition of a key: (murmur2(key) & 0x7fffffff) % partitions, as Kafka's Java client does.
 * partitions > 0. */
ANNALS_API uint32_t annals_partition_for_key(const void *key, size_t key_size, uint32_t partitions);

/* ------------------------------------------------------------------- events */

enum annals_attribute_kind {
	ANNALS_ATTRIBUTE_NONE = 0,
	ANNALS_ATTRIBUTE_BOOLEAN = 2,
	ANNALS_ATTRIBUTE_INTEGER = 3,
	ANNALS_ATTRIBUTE_TEXT = 4,
	ANNALS_ATTRIBUTE_BINARY = 5,
	ANNALS_ATTRIBUTE_URI = 6,
	ANNALS_ATTRIBUTE_URI_REFERENCE = 7,
	ANNALS_ATTRIBUTE_TIMESTAMP = 8
};
/* A CloudEvents extension attribute; names are [a-z0-9]{1,20}. */
struct annals_attribute {
	struct annals_bytes name;
	enum annals_attribute_kind kind;
	int boolean;
	int32_t integer;
	int64_t timestamp_ns;
	struct annals_bytes value; /* TEXT, BINARY, URI, URI_REFERENCE */
};
/* A header as Kafka has them: ordered, names may repeat. */
struct annals_header {
	struct annals_bytes name;
	int has_value;
	struct annals_bytes value;
};

/*
 * One event. Zero the structure and set what there is; `type` is required, the rest is optional.
 * What the library hands out borrows from its buffers: copy what must live longer than the call
 * says.
 */
#define ANNALS_VERSION_NONE UINT64_MAX
struct annals_event {
	struct annals_bytes id, source, type, subject, datacontenttype, dataschema;
	struct annals_bytes key; /* at most 1 KiB; chooses the partition */
	struct annals_bytes data;
	int has_key, has_data,
		has_time; /* an absent key and an empty key differ; so do absent and empty data */
	uint32_t schema_version; /* of the type's schema; 0 = not given */
	int64_t time_ns;         /* the producer's time, nanoseconds since 1970 */

	/* For appending: arrays of the caller. In events that were read they are NULL: use
	 * annals_event_next_*(). */
	const struct annals_attribute *extensions;
	const struct annals_header *headers;
	const struct annals_bytes *tags;
	uint32_t extension_count, header_count, tag_count;

	/* In events that were read. */
	uint32_t partition;
	uint64_t offset;
	uint64_t position;    /* place in the server's order over all partitions */
	uint64_t recorded_us; /* when the server took it, microseconds since 1970 */
	uint64_t version;     /* place in its stream, ANNALS_VERSION_NONE if it has none */
	/*
	 * The whole event as annals.v1.Event (protobuf). An event that has it is appended as these
	 * bytes: set its size to 0 to append the fields above. Its key must be the key above.
	 */
	struct annals_bytes encoded;
};

/* Walks the extensions (headers, tags) of an event that was read. *cursor starts at 0; 1 with the
 * next one, 0 at the end. */
ANNALS_API int annals_event_next_extension(
	const struct annals_event *event, size_t *cursor, struct annals_attribute *ret);
ANNALS_API int annals_event_next_header(
	const struct annals_event *event, size_t *cursor, struct annals_header *ret);
ANNALS_API int annals_event_next_tag(
	const struct annals_event *event, size_t *cursor, struct annals_bytes *ret);
/* Reads one annals.v1.Event that the caller got elsewhere (a file); the result borrows from it.
 * ANNALS_E_MALFORMED, ANNALS_E_VALIDATION, ANNALS_E_TOO_LARGE; the text names the field. */
ANNALS_API int annals_event_decode(const void *encoded, size_t size, struct annals_event *ret_event,
	struct annals_error *error);

/* ------------------------------------------------------- appending, one call */

/* Where an event went. */
struct annals_placement {
	uint32_t partition;
	uint64_t offset;
	uint64_t version; /* in its stream; ANNALS_VERSION_NONE where it has none */
	int replayed;     /* it was stored before: this is where */
};
struct annals_receipt {
	enum annals_durability durability;
	uint64_t recorded_us;
};

/* What must hold, or nothing is stored (ANNALS_E_PRECONDITION_FAILED). */
enum annals_expect {
	ANNALS_EXPECT_ANY = 0,
	ANNALS_EXPECT_NONE = 1,   /* the stream never had an event */
	ANNALS_EXPECT_EXISTS = 2, /* it has had one */
	ANNALS_EXPECT_VERSION = 3 /* its newest event has `version` */
};
struct annals_stream_condition {
	struct annals_bytes key;
	enum annals_expect expect;
	uint64_t version;
	uint32_t incarnation; /* 0, or as annals_stream_read() said */
};
/* Events with any of the types (none = every type) and all of the tags. */
struct annals_query_item {
	const struct annals_bytes *types;
	size_t type_count;
	const struct annals_bytes *tags;
	size_t tag_count;
};
/* Alternatives, and a position: a condition holds when no matching event lies above it. */
struct annals_query {
	const struct annals_query_item *items;
	size_t item_count;
	uint64_t after;
};
struct annals_conditions {
	const struct annals_stream_condition *streams;
	size_t stream_count;
	const struct annals_query *query;    /* or NULL */
	struct annals_bytes idempotency_key; /* empty = none; a repeat gets the first answer */
};

#define ANNALS_PARTITION_BY_KEY UINT32_MAX

/*
 * Appends the events in one request, all or none, and waits for the answer. Each goes to
 * `partition`, or with ANNALS_PARTITION_BY_KEY to its key's; events without a key go together to a
 * partition picked at random. At most 4 MiB in all.
 *
 * ret_placements: an array of `count`, or NULL; ret_receipt may be NULL. After ANNALS_E_TIMEOUT,
 * ANNALS_E_DISCONNECTED or ANNALS_E_OUTCOME_UNKNOWN the events may be stored nevertheless; the text
 * says whether the request had been sent. Nothing is retried. Also ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_UNKNOWN_PARTITION, ANNALS_E_VALIDATION, ANNALS_E_TOO_LARGE (error->event_index says
 * which), ANNALS_E_OVERLOADED, ANNALS_E_STORAGE_FULL.
 */
ANNALS_API int annals_append(struct annals_client *client, const char *topic, uint32_t partition,
	const struct annals_event *events, size_t count, enum annals_durability durability,
	int timeout_ms, struct annals_placement *ret_placements, struct annals_receipt *ret_receipt,
	struct annals_error *error);

/* The events of one topic in a commit over several. */
struct annals_topic_append {
	const char *topic;
	const struct annals_conditions *conditions; /* or NULL; without an idempotency key */
	const struct annals_event *events;
	size_t event_count;
	struct annals_placement *ret_placements; /* of each event, or NULL */
};
/*
 * Appends to 1 to 64 topics in one commit, each under its own conditions: all of it is stored or
 * nothing. Events go to their keys' partitions; at most 4 MiB in all; no topic twice
 * (ANNALS_E_INVALID). One whose outcome is unknown can be repeated, the same events with the same
 * idempotency key, within a day: it gets the first answer, or happens now; without a key (empty)
 * that needs ids and dedupe in every topic. The repeat must be the same bytes: give events ids and
 * times of your own, and keys in topics with several partitions. error->topic says
 * which topic error->conflict and error->event_index belong to. ANNALS_E_LIMIT,
 * ANNALS_E_IDEMPOTENCY, ANNALS_E_DISCONNECTED, and what annals_append_if() returns.
 */
ANNALS_API int annals_transact(struct annals_client *client,
	const struct annals_topic_append *appends, size_t count,
	struct annals_bytes idempotency_key, enum annals_durability durability, int timeout_ms,
	struct annals_receipt *ret_receipt, struct annals_error *error);

/*
 * annals_append() under conditions, checked in the same step: all or nothing. Events go to their
 * keys' partitions. After ANNALS_E_PRECONDITION_FAILED error->conflict says what was found; an
 * append whose outcome is unknown can be repeated when its events have ids and the topic has
 * dedupe, or with the same idempotency key.
 */
ANNALS_API int annals_append_if(struct annals_client *client, const char *topic,
	const struct annals_conditions *conditions, const struct annals_event *events, size_t count,
	enum annals_durability durability, int timeout_ms, struct annals_placement *ret_placements,
	struct annals_receipt *ret_receipt, struct annals_error *error);

/* ------------------------------------------------------- streams and queries */

/* Events read by index; events borrow from it. */
struct annals_page {
	struct annals_event *events;
	size_t count;
	/* streams */
	int exists; /* it has had an event */
	uint32_t incarnation;
	uint64_t next_version;  /* of the next event; the newest is one less */
	uint64_t first_version; /* the first kept */
	/* queries: everything up to this position was looked at; the next `after` */
	uint64_t up_to;
	/* backwards in a partition: the next `before`; the first kept offset, where it ends */
	uint64_t before, first_offset;
	void *memory; /* the library's */
};
#define ANNALS_NEWEST UINT64_MAX
/*
 * Up to `limit` events (0: only what the stream is now; at most 1,000) of a key's stream from
 * `version` on, or backwards from it (ANNALS_NEWEST). ANNALS_E_OFFSET_GONE below the first kept;
 * ANNALS_E_UNSUPPORTED_OPERATION for a topic without streams. Release the page.
 */
ANNALS_API int annals_stream_read(struct annals_client *client, const char *topic,
	struct annals_bytes key, uint64_t version, int backwards, uint32_t limit, int timeout_ms,
	struct annals_page *ret_page, struct annals_error *error);
/* Events that match the query, above query->after, by position. */
ANNALS_API int annals_query_read(struct annals_client *client, const char *topic,
	const struct annals_query *query, uint32_t limit, int timeout_ms,
	struct annals_page *ret_page, struct annals_error *error);
/*
 * Up to `limit` events (1 to ANNALS_PAGE_EVENTS_MAX) of a partition that lie before the offset
 * `before` (ANNALS_NEWEST: from the end on), newest first; filter: which (NULL: all). The page is
 * the last one when page->before is not above page->first_offset. ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_UNKNOWN_PARTITION, ANNALS_E_OFFSET_GONE, ANNALS_E_OFFSET_BEYOND_END, ANNALS_E_LIMIT
 * (tags), ANNALS_E_CORRUPT_DATA, and what every request can answer. Release the page.
 */
#define ANNALS_PAGE_EVENTS_MAX 1000u
struct annals_filter;
ANNALS_API int annals_read_backwards(struct annals_client *client, const char *topic,
	uint32_t partition, uint64_t before, const struct annals_filter *filter, uint32_t limit,
	int timeout_ms, struct annals_page *ret_page, struct annals_error *error);
ANNALS_API void annals_page_release(struct annals_page *page); /* a zeroed one is fine */

/* ------------------------------------------------- appending, in the background */

/*
 * A producer for one topic. It learns the partitions from the server within timeout_ms. options may
 * be NULL; only the producer's options and the delivery callback are read. ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_TIMEOUT and what every request can answer.
 */
ANNALS_API int annals_producer_open(struct annals_client *client, const char *topic,
	const struct annals_options *options, int timeout_ms, struct annals_producer **ret_producer,
	struct annals_error *error);
/*
 * Takes a copy of the event and returns. With a key it goes to the key's partition; without one it
 * joins the batch being filled for a partition that changes from batch to batch. `cookie` comes
 * back in the delivery callback. Events of one partition are stored in the order of these calls as
 * long as ANNALS_OPTION_IN_FLIGHT is 1 and no batch is given up.
 *
 * When ANNALS_OPTION_BUFFER_BYTES are waiting it waits up to timeout_ms for room:
 * ANNALS_E_OVERLOADED if there is none. ANNALS_E_VALIDATION or ANNALS_E_TOO_LARGE when the event
 * breaks a rule: the text names the field. ANNALS_E_NO_MEMORY, ANNALS_E_CLOSED. On failure the
 * event was not taken.
 */
ANNALS_API int annals_producer_send(struct annals_producer *producer,
	const struct annals_event *event, void *cookie, int timeout_ms, struct annals_error *error);
/* As annals_producer_send(), to a partition of the caller's choice. ANNALS_E_UNKNOWN_PARTITION. */
ANNALS_API int annals_producer_send_to(struct annals_producer *producer, uint32_t partition,
	const struct annals_event *event, void *cookie, int timeout_ms, struct annals_error *error);
/*
 * Sends what is waiting and waits until everything taken before this call was answered or given up.
 * ANNALS_E_TIMEOUT: some of it is still on its way. Otherwise 0, or the first error since the last
 * flush if batches were given up (each was also reported to the delivery callback).
 */
ANNALS_API int annals_producer_flush(
	struct annals_producer *producer, int timeout_ms, struct annals_error *error);

struct annals_producer_stats {
	uint64_t events_taken, events_stored, events_failed;
	uint64_t batches_stored, batches_retried;
	uint64_t bytes_waiting; /* of BUFFER_BYTES */
};
ANNALS_API void annals_producer_stats(
	struct annals_producer *producer, struct annals_producer_stats *ret);
/* Flushes for at most timeout_ms; batches that are still unanswered then are given up with
 * ANNALS_E_CLOSED (through the callback). Returns what annals_producer_flush() returned. The handle
 * is gone in any case. */
ANNALS_API int annals_producer_close(struct annals_producer *producer, int timeout_ms);

/* ------------------------------------------------------------------ reading */

enum annals_start_kind {
	ANNALS_START_EARLIEST = 0,
	ANNALS_START_LATEST = 1, /* only what is appended from now on */
	ANNALS_START_TIME = 2,   /* recorded at or after time_us */
	ANNALS_START_OFFSETS = 3 /* each partition from its offset */
};
struct annals_position {
	uint32_t partition;
	uint64_t offset;
};
/* Which events to read; the server looks through the others. NULL or size 0: any, as for a start
 * without a filter. Everything that is given must hold. */
struct annals_filter {
	const char *type, *type_prefix, *subject;
	struct annals_bytes key;
	int has_key;
	const char *const *tags; /* each must be there; at most 32 */
	size_t tag_count;
};
struct annals_start {
	enum annals_start_kind kind;
	uint64_t time_us; /* microseconds since 1970 */
	/* Which partitions, with offsets for ANNALS_START_OFFSETS (ignored otherwise). NULL and 0:
	 * all. Copied. */
	const struct annals_position *partitions;
	size_t partition_count;
	const struct annals_filter *filter; /* NULL: all events. Copied */
};

/*
 * Begins to read a topic. Events of one partition come in order; partitions are interleaved as they
 * arrive. The consumer keeps ANNALS_OPTION_READ_AHEAD_BYTES on the way, follows the end of the log
 * as it grows, and after a lost connection goes on where it was: nothing is skipped or repeated.
 * Waits up to timeout_ms for the server to accept. ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_UNKNOWN_PARTITION, ANNALS_E_OFFSET_GONE, ANNALS_E_OFFSET_BEYOND_END, ANNALS_E_INVALID
 * (ANNALS_START_OFFSETS without partitions), ANNALS_E_LIMIT (a filter with more than 32 tags), and
 * what every request can answer.
 */
ANNALS_API int annals_consumer_open(struct annals_client *client, const char *topic,
	const struct annals_start *start, const struct annals_options *options, int timeout_ms,
	struct annals_consumer **ret_consumer, struct annals_error *error);
/*
 * Fills `events` with 1 to max events of one partition and sets *ret_count, or waits up to
 * timeout_ms and sets it to 0. The events borrow from the consumer until the next call on it.
 * Lost connections are no errors. Returns 0 or:
 * - ANNALS_E_CORRUPT_DATA: a batch failed its checksum; the text names topic, partition and
 *   offset. The next call goes on behind it.
 * - ANNALS_E_OFFSET_GONE, ANNALS_E_TOPIC_RECREATED, ANNALS_E_UNKNOWN_TOPIC and others: the server
 *   ended the subscription. Every later call returns it again.
 * - ANNALS_E_NO_MEMORY: a batch could not be decompressed; the next call tries again.
 */
ANNALS_API int annals_consumer_poll(struct annals_consumer *consumer, int timeout_ms,
	struct annals_event *events, size_t max, size_t *ret_count, struct annals_error *error);
/* One event: 1, or 0 when none came within timeout_ms, or an error as annals_consumer_poll(). */
ANNALS_API int annals_consumer_next(struct annals_consumer *consumer, int timeout_ms,
	struct annals_event *ret_event, struct annals_error *error);
/* The offset of the next event that the caller will get from a partition: what to commit.
 * ANNALS_E_UNKNOWN_PARTITION when it is not read here. */
ANNALS_API int annals_consumer_position(
	struct annals_consumer *consumer, uint32_t partition, uint64_t *ret_offset);
/* Calls `function` on the I/O thread whenever something has come for a consumer that had nothing
 * waiting: for event loops, which then call annals_consumer_poll() with a timeout of 0 until it is
 * empty. NULL ends it. */
typedef void annals_consumer_fn(struct annals_consumer *consumer, void *arg);
ANNALS_API void annals_consumer_on_ready(
	struct annals_consumer *consumer, annals_consumer_fn *function, void *arg);
ANNALS_API void annals_consumer_close(struct annals_consumer *consumer);

/* ------------------------------------------------------------------ offsets */

struct annals_offset {
	const char *topic;
	uint32_t partition;
	uint64_t offset;                                 /* the next one to read */
	const char *metadata;                            /* at most 4 KiB; NULL = none */
	uint64_t committed_us, first_offset, end_offset; /* in answers; lag = end_offset - offset */
};
/* Stores how far a group has come, all entries or none. ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_UNKNOWN_PARTITION, ANNALS_E_OFFSET_BEYOND_END, ANNALS_E_INVALID (group name),
 * ANNALS_E_FENCED (the group has members: they commit). */
ANNALS_API int annals_offsets_commit(struct annals_client *client, const char *group,
	const struct annals_offset *offsets, size_t count, int timeout_ms,
	struct annals_error *error);
/* The same as a member, with the generation of its last assignment. ANNALS_E_FENCED: another member
 * has one of the partitions by now; ANNALS_E_UNKNOWN_MEMBER: it was silent for too long. */
ANNALS_API int annals_offsets_commit_as(struct annals_client *client, const char *group,
	const char *member, uint32_t generation, const struct annals_offset *offsets, size_t count,
	int timeout_ms, struct annals_error *error);
/* What a group has committed, for one topic or (NULL) all; partitions without a commit are left
 * out. Free with annals_offsets_free(). */
ANNALS_API int annals_offsets_fetch(struct annals_client *client, const char *group,
	const char *topic, int timeout_ms, struct annals_offset **ret_offsets, size_t *ret_count,
	struct annals_error *error);
ANNALS_API void annals_offsets_free(struct annals_offset *offsets, size_t count);
/* The names of all groups. Free with annals_groups_free(). */
ANNALS_API int annals_groups_list(struct annals_client *client, int timeout_ms, char ***ret_groups,
	size_t *ret_count, struct annals_error *error);
ANNALS_API void annals_groups_free(char **groups, size_t count);
/* The first offset of a partition recorded at or after time_us; the end offset if there is none. */
ANNALS_API int annals_offset_for_time(struct annals_client *client, const char *topic,
	uint32_t partition, uint64_t time_us, int timeout_ms, uint64_t *ret_offset,
	struct annals_error *error);

/* ------------------------------------------------------------------ members */

/*
 * A group by offset shares the partitions of its topics among its members. Every change makes a new
 * generation; each member learns of it with its heartbeats, which must come more often than its
 * session ends. As few partitions as possible move, and one that moves stays with its holder until
 * a heartbeat names a generation in which it is not listed: the holder commits before, and the next
 * one goes on exactly there.
 */
struct annals_assigned {
	const char *topic;
	uint32_t partition;
};
struct annals_assignment {
	const char *member;
	uint32_t generation;
	uint32_t pending; /* partitions that come when others have let go of them */
	struct annals_assigned *partitions;
	size_t count;
	void *memory; /* private */
};
ANNALS_API void annals_assignment_release(struct annals_assignment *assignment);
/* member NULL: the server names it. A member that joins again begins anew: its earlier process is
 * fenced. session_ms 0: the group's, 30 s. The first member makes the group. Release with
 * annals_assignment_release(). ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_GROUP_MODE, ANNALS_E_LIMIT. */
ANNALS_API int annals_group_join(struct annals_client *client, const char *group,
	const char *member, const char *const *topics, size_t topic_count, uint32_t session_ms,
	int timeout_ms, struct annals_assignment *ret_assignment, struct annals_error *error);
/* generation: of the last assignment that the caller acts on; 0 lets go at once of all that the
 * answer does not list. ANNALS_E_UNKNOWN_MEMBER: join again. */
ANNALS_API int annals_group_heartbeat(struct annals_client *client, const char *group,
	const char *member, uint32_t generation, int timeout_ms,
	struct annals_assignment *ret_assignment, struct annals_error *error);
/* Also for members of groups by event, whose leases it gives back: *ret_released (may be NULL) says
 * how many. ANNALS_E_UNKNOWN_MEMBER (by offset). */
ANNALS_API int annals_group_leave(struct annals_client *client, const char *group,
	const char *member, int timeout_ms, uint64_t *ret_released, struct annals_error *error);

/*
 * A member that does all this by itself and reads what it is assigned. One thread at a time; it
 * heartbeats in its polls, so poll (or call heartbeat) well within session_ms (0: 30 s). Poll,
 * commit or close says that everything that earlier polls returned is handled. A partition that is
 * taken away is committed before it is let go: handled events are neither lost nor repeated by a
 * rebalance. After a crash, and when a session ended, what was not committed comes again.
 */
struct annals_group_consumer;
/* start: EARLIEST or LATEST, for partitions without a commit. `options` as of
 * annals_consumer_open(); they stay the caller's and must outlive the consumer. Errors as of
 * annals_group_join(). */
ANNALS_API int annals_group_consumer_open(struct annals_client *client, const char *group,
	const char *member, const char *const *topics, size_t topic_count,
	enum annals_start_kind start, uint32_t session_ms, const struct annals_options *options,
	int timeout_ms, struct annals_group_consumer **ret_consumer, struct annals_error *error);
/*
 * Up to max events of one partition of *ret_topic, or after wait_ms *ret_count 0. timeout_ms is for
 * each request it makes. Events borrow until the next call. ANNALS_E_OFFSET_GONE: retention has
 * removed what comes after the committed offset; the text and error->first_offset name the range
 * that is lost, and committing another offset goes on. Other errors as of annals_consumer_poll().
 */
ANNALS_API int annals_group_consumer_poll(struct annals_group_consumer *consumer, int wait_ms,
	int timeout_ms, const char **ret_topic, struct annals_event *events, size_t max,
	size_t *ret_count, struct annals_error *error);
/*
 * Stays a member while events of the last poll are being handled for long: call it often, it asks
 * the server only when that is due. Commits nothing, and the events stay as they are. Partitions
 * that shall move are kept until the next poll, but no longer than the session from then on.
 * ANNALS_E_UNKNOWN_MEMBER, ANNALS_E_FENCED, ANNALS_E_UNKNOWN_GROUP: the session had ended, others
 * may have the partitions, the next poll joins again and what was not committed comes again. Other
 * errors: call it again.
 */
ANNALS_API int annals_group_consumer_heartbeat(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error);
/* ANNALS_E_FENCED, ANNALS_E_UNKNOWN_MEMBER: it is not the member's any more; the next poll joins
 * again. */
ANNALS_API int annals_group_consumer_commit(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error);
ANNALS_API uint32_t annals_group_consumer_generation(const struct annals_group_consumer *consumer);
/* How many partitions it holds. */
ANNALS_API size_t annals_group_consumer_partitions(const struct annals_group_consumer *consumer);
/* Commits and leaves; timeout_ms 0 does neither: others take over when its session has ended. The
 * handle is gone whatever is returned. */
ANNALS_API int annals_group_consumer_close(
	struct annals_group_consumer *consumer, int timeout_ms, struct annals_error *error);

/* ------------------------------------------------------------- work queues */

/*
 * Groups by event: the server hands events out with a lease and a deadline, counts deliveries,
 * keeps the order per key, and delivers again what nobody acknowledged. See docs/guide-queues.md.
 */
#define ANNALS_GROUP_BY_EVENT 1
#define ANNALS_GROUP_BY_OFFSET 2
struct annals_group_settings {
	int mode;
	const char *const *topics; /* by event: 1 to 64 */
	size_t topic_count;
	/* 0: the default */
	uint64_t lease_us;         /* 30 s */
	uint32_t attempts_max;     /* 10; then the event is parked */
	int attempts_unlimited;    /* never parked for attempts */
	int backoff_none;          /* refused events come again at once */
	uint64_t backoff_first_us; /* 1 s, doubling */
	uint64_t backoff_max_us;   /* 5 min */
	int parked_pass;           /* events behind a parked one of their key are delivered */
	uint64_t parked_bytes_max; /* 64 MiB; above it the group pauses */
	int from_latest;           /* begin at the end of the topics, not at their start */
};
/* Creates a group or changes it; *ret_created may be NULL. ANNALS_E_GROUP_MODE,
 * ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_INVALID. */
ANNALS_API int annals_group_put(struct annals_client *client, const char *group,
	const struct annals_group_settings *settings, int timeout_ms, int *ret_created,
	struct annals_error *error);
/* Forgets the group with its leases and parked events. ANNALS_E_UNKNOWN_GROUP. */
ANNALS_API int annals_group_delete(struct annals_client *client, const char *group, int timeout_ms,
	struct annals_error *error);

struct annals_group_partition {
	const char *topic;
	uint32_t partition;
	uint64_t floor, cursor, end_offset, lag, in_flight, delayed, waiting, parked, expired;
};
struct annals_group_status {
	int mode;
	uint64_t lease_us, lag, lag_us, in_flight, delayed, waiting, parked, parked_bytes;
	uint32_t attempts_max, generation, members;
	int paused;
	struct annals_group_partition *partitions;
	size_t partition_count;
	void *memory; /* private */
};
/* Release with annals_group_status_release(). ANNALS_E_UNKNOWN_GROUP. */
ANNALS_API int annals_group_describe(struct annals_client *client, const char *group,
	int timeout_ms, struct annals_group_status *ret_status, struct annals_error *error);
ANNALS_API void annals_group_status_release(struct annals_group_status *status);

/* What answers to a delivery name; copy it freely. */
struct annals_lease {
	uint32_t topic_id, partition;
	uint64_t offset, lease;
};
struct annals_delivered_event {
	struct annals_event event;
	const char *topic;
	struct annals_lease lease;
	uint64_t deadline_us; /* wall clock of the server: after it the event goes to others */
	uint32_t attempt;     /* 1 is the first */
	/* parked events only */
	int has_event; /* its content was kept */
	const char *reason, *member;
	uint64_t parked_us;
};
struct annals_deliveries {
	struct annals_delivered_event *deliveries;
	size_t count;
	int paused;     /* polls: too much is parked, nothing is handed out */
	uint64_t total; /* parked events: of all */
	void *memory;   /* private */
};
ANNALS_API void annals_deliveries_release(struct annals_deliveries *deliveries);
/*
 * Takes up to max (1 to 1,000) events; waits up to wait_ms for the first. lease_us 0: the group's.
 * Release with annals_deliveries_release(). ANNALS_E_UNKNOWN_GROUP, ANNALS_E_GROUP_MODE,
 * ANNALS_E_INVALID. timeout_ms must exceed wait_ms.
 */
ANNALS_API int annals_group_poll(struct annals_client *client, const char *group,
	const char *member, uint32_t max, uint64_t lease_us, uint32_t wait_ms, int timeout_ms,
	struct annals_deliveries *ret_deliveries, struct annals_error *error);
/*
 * Answers to deliveries, up to 1,000 at once, each for itself: *ret_lost says how many leases were
 * not held any more (may be NULL). ANNALS_E_LEASE_LOST when none was.
 */
ANNALS_API int annals_group_acknowledge(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, int timeout_ms, size_t *ret_lost,
	struct annals_error *error);
/*
 * Both at once: the requests are sent one behind the other, so that they share a commit and a
 * round trip. It comes back when both are answered, so with wait_ms it may take as long to learn
 * that the acknowledgement arrived. *ret_lost (may be NULL) is `count` when none of the leases was
 * held; that is no error here. Errors are those of either; then it is unknown whether the leases
 * are acknowledged, and events that the poll took come again when their leases end.
 */
ANNALS_API int annals_group_acknowledge_and_poll(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, const char *member, uint32_t max,
	uint64_t lease_us, uint32_t wait_ms, int timeout_ms, size_t *ret_lost,
	struct annals_deliveries *ret_deliveries, struct annals_error *error);
/* delay_us UINT64_MAX: the group's back-off. park: at once. reason: at most 512 bytes, may be NULL.
 */
ANNALS_API int annals_group_refuse(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, uint64_t delay_us, int park,
	const char *reason, int timeout_ms, size_t *ret_lost, struct annals_error *error);
/* lease_us from now; 0: the group's. */
ANNALS_API int annals_group_extend(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t count, uint64_t lease_us, int timeout_ms,
	size_t *ret_lost, struct annals_error *error);

#define ANNALS_SEEK_EARLIEST 0
#define ANNALS_SEEK_LATEST 1
#define ANNALS_SEEK_OFFSET 2
#define ANNALS_SEEK_TIME 3
struct annals_group_seek {
	int target;
	uint64_t value;    /* offset, or microseconds since 1970 */
	const char *topic; /* NULL: all of the group's */
	int64_t partition; /* -1: all */
	int dry_run;
	/* results */
	uint64_t partitions, leases_ended, delivered_again, skipped;
};
/* Ends all leases there; parked events stay. ANNALS_E_OFFSET_GONE, ANNALS_E_OFFSET_BEYOND_END. */
ANNALS_API int annals_group_seek(struct annals_client *client, const char *group,
	struct annals_group_seek *seek, int timeout_ms, struct annals_error *error);

/* Parked events with their reasons, up to max (1 to 1,000), after a place (`after_topic` NULL: from
 * the first). */
ANNALS_API int annals_group_parked(struct annals_client *client, const char *group,
	const char *after_topic, uint32_t after_partition, uint64_t after_offset, uint32_t max,
	int timeout_ms, struct annals_deliveries *ret_parked, struct annals_error *error);
/* Delivers parked events again with fresh attempts, or drops them: one (topic, partition, offset),
 * or with partition -1 all of a topic, or with topic NULL all. ANNALS_E_NOT_FOUND. */
ANNALS_API int annals_group_parked_change(struct annals_client *client, const char *group, int drop,
	const char *topic, int64_t partition, uint64_t offset, int dry_run, int timeout_ms,
	uint64_t *ret_count, struct annals_error *error);

/*
 * Acknowledges leases, appends events (event_count may be 0) and keeps a checkpoint (unless its
 * name is NULL or "") in one commit: all of it or nothing. Events go to their keys' partitions.
 * After a lost answer (ANNALS_E_OUTCOME_UNKNOWN, ANNALS_E_DISCONNECTED, ANNALS_E_TIMEOUT) nothing
 * needs doing: if it happened the events are finished, if not they come again.
 * ANNALS_E_LEASE_LOST, ANNALS_E_TOO_LARGE, ANNALS_E_LIMIT (1,000 leases), and what
 * annals_append() and annals_group_acknowledge() return. ret_placements: of each event, or NULL.
 */
ANNALS_API int annals_group_transact(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t lease_count, const char *topic,
	const struct annals_event *events, size_t event_count, const char *checkpoint_name,
	struct annals_bytes checkpoint, int timeout_ms, struct annals_placement *ret_placements,
	struct annals_error *error);
/* The same with events for several topics (0 to 64, no topic twice). */
ANNALS_API int annals_group_transact_topics(struct annals_client *client, const char *group,
	const struct annals_lease *leases, size_t lease_count,
	const struct annals_topic_append *appends, size_t append_count, const char *checkpoint_name,
	struct annals_bytes checkpoint, int timeout_ms, struct annals_error *error);
/* *ret_value: to be freed, with a 0 byte behind it. ANNALS_E_NOT_FOUND. */
ANNALS_API int annals_group_checkpoint(struct annals_client *client, const char *group,
	const char *name, int timeout_ms, void **ret_value, size_t *ret_size,
	struct annals_error *error);

/* What happened to one event in a group. */
struct annals_attempt {
	uint32_t delivery; /* 1 is the first */
	/* "leased" (goes on), "acknowledged", "refused", "expired", "fenced", "gone", "left" */
	const char *outcome;
	uint64_t leased_us, deadline_us, ended_us; /* ended: 0 while it goes on */
	const char *member, *reason;
};
struct annals_explanation {
	/* "unread", "ready", "leased", "delayed", "waiting", "parked", "finished" */
	const char *state;
	uint64_t due_us; /* leased: the deadline; delayed: when it comes again; else 0 */
	uint32_t deliveries, attempts;
	struct annals_attempt *history; /* oldest first, the last 16 */
	size_t history_count;
	void *memory; /* private */
};
/* Release with annals_explanation_release(). ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_UNKNOWN_PARTITION,
 * ANNALS_E_OFFSET_BEYOND_END. */
ANNALS_API int annals_group_explain(struct annals_client *client, const char *group,
	const char *topic, uint32_t partition, uint64_t offset, int timeout_ms,
	struct annals_explanation *ret_explanation, struct annals_error *error);
ANNALS_API void annals_explanation_release(struct annals_explanation *explanation);

#ifdef __cplusplus
}
#endif

#endif
