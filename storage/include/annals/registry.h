/*
 * The schema registry: subjects with numbered versions of protobuf schemas, over a store. Part of
 * storage: the same rules (see storage.h) for requests, threads and errors.
 *
 * A schema is a set of .proto files that holds everything its main file needs (but for what
 * descriptor_pool_builtin() has), linked into a descriptor pool. It has an id, given once, dense
 * from 1: the same schema under two subjects has the same id, and a schema that was deleted
 * everywhere and comes again gets its old one. Schemas never go away: what an event says about its
 * schema can be looked up for ever, so pointers to schemas and into their pools stay valid until
 * registry_close().
 *
 * "The same schema" means: the same source text (or, when only descriptors were given, the same
 * files without source_code_info), the same main file and the same references.
 *
 * A subject is a name with versions 1, 2, ..., each of them a schema. Deleting a version hides it;
 * deleting it permanently takes it out of the subject, whose next version has a number that was
 * never used.
 *
 * Which message is meant: a schema's main file is the one that the request names; else the one that
 * declares a message with the subject's name; else the last of the set. A version's message is
 *   1. the one with the subject's name as its full name (subject "quake.Event": the default for
 *      typed topics, the subject of a type is its full name), else
 *   2. the one whose full name follows the first '-' that lets it (subject "quakes-quake.Event",
 *      the topic-record name of Confluent's serializers), else
 *   3. the first message of the main file (subjects "quakes-value" and "quakes-key", the topic
 *      name strategy; message index 0 of Confluent's wire format).
 * A schema without any message is there to be referred to and has no message.
 *
 * One thread makes all changes and all checks, one after the other; what it answers is durable.
 * Lookups read an immutable snapshot.
 */
#ifndef ANNALS_REGISTRY_H
#define ANNALS_REGISTRY_H

#include <annals/compat.h>
#include <annals/storage.h>

#define REGISTRY_SUBJECT_BYTES_MAX 249u /* of a name */
#define REGISTRY_SUBJECTS_MAX 100000u
#define REGISTRY_VERSIONS_MAX 2000u /* of a subject, deleted ones included */
#define REGISTRY_SCHEMAS_MAX 100000u
#define REGISTRY_SCHEMA_BYTES_MAX (2u << 20)   /* of a schema: all that is stored of it */
#define REGISTRY_MEMORY_BYTES_MAX (2ull << 30) /* of all linked schemas */
#define REGISTRY_REFERENCES_MAX 200u
#define REGISTRY_READERS_MAX 200u /* declared for one subject */
#define REGISTRY_READER_FIELDS_MAX 200u
#define REGISTRY_READER_BYTES_MAX 32768u /* of one declaration */
#define REGISTRY_PROBLEMS_MAX 1000u      /* in one answer */
#define REGISTRY_QUEUE_MAX 1024u
#define REGISTRY_DATA_EVENTS_MAX 100000u /* that one check looks at */

/* ---- What a snapshot holds ---- */

enum registry_level {
	REGISTRY_LEVEL_NONE = 0,
	REGISTRY_LEVEL_BACKWARD = 1,
	REGISTRY_LEVEL_FORWARD = 2,
	REGISTRY_LEVEL_FULL = 3,
	REGISTRY_LEVEL_BACKWARD_TRANSITIVE = 5,
	REGISTRY_LEVEL_FORWARD_TRANSITIVE = 6,
	REGISTRY_LEVEL_FULL_TRANSITIVE = 7,
	REGISTRY_LEVEL_INHERITED = 255 /* a subject without a level of its own */
};
/* The modes of enum compat_mode that a level asks for, and whether of all versions. */
static inline unsigned registry_level_modes(enum registry_level level)
{
	return (unsigned)level & COMPAT_FULL;
}
static inline bool registry_level_is_transitive(enum registry_level level)
{
	return ((unsigned)level & 4u) != 0;
}
/* "BACKWARD_TRANSITIVE"; NULL for other numbers. */
const char *registry_level_name(enum registry_level level);
/* Upper or lower case. ANNALS_E_INVALID. */
int registry_level_parse(struct bytes name, enum registry_level *ret) ANNALS_MUST_CHECK;

enum registry_mode {
	REGISTRY_MODE_READWRITE = 0,
	REGISTRY_MODE_READONLY = 1, /* takes no registrations and no deletes */
	REGISTRY_MODE_INHERITED = 255
};

/* Another subject's version that a schema imports under this name. */
struct registry_reference {
	struct bytes name; /* of the import */
	struct bytes subject;
	uint32_t version;
};

/* Immutable; lives until registry_close(). */
struct registry_schema {
	uint32_t id;
	struct bytes text; /* the .proto source; empty when descriptors were registered */
	struct bytes set;  /* a FileDescriptorSet: all files, imports first */
	const struct registry_reference *references;
	size_t reference_count;
	const struct descriptor_file *file; /* the main one */
	struct descriptor_pool *pool;
	uint64_t registered_us;
};

enum registry_version_state { REGISTRY_VERSION_LIVE = 0, REGISTRY_VERSION_DELETED = 1 };
struct registry_version {
	uint32_t version;
	enum registry_version_state state;
	const struct registry_schema *schema;
	const struct descriptor_message *message; /* NULL when the schema has none */
};

/* Who reads what of a subject: the fields named (empty: all) as of a version. */
struct registry_reader {
	struct bytes group;
	uint32_t version;           /* 0: the latest one at the time of each check */
	const struct bytes *fields; /* "depth", "origin.place": names or JSON names */
	size_t field_count;
};

/* Immutable; lives as long as its snapshot. */
struct registry_subject {
	atomic_uint references; /* private */
	struct bytes name;
	enum registry_level level;
	enum registry_mode mode;
	uint32_t next_version;
	const struct registry_version *versions; /* rising; permanently deleted ones are gone */
	size_t version_count;
	size_t live_count;                     /* 0: the subject is deleted */
	const struct registry_version *latest; /* live; NULL if there is none */
	const struct registry_reader *readers;
	size_t reader_count;
	struct registry_subject_memory *memory; /* private */
};

struct registry_snapshot {
	atomic_uint references; /* private */
	uint64_t generation;    /* rises with each change */
	enum registry_level level;
	enum registry_mode mode;
	const struct registry_schema **schemas; /* id 1 first */
	size_t schema_count;
	struct registry_subject **subjects; /* by name; those with nothing live too */
	size_t subject_count;
	uint32_t *slots; /* private: hash table of places in subjects */
	size_t slot_count;
};

/* NULL when there is none of this name; deleted ones are found too. O(1). */
const struct registry_subject *registry_subject(
	const struct registry_snapshot *snapshot, struct bytes name);
/* A version, deleted or not; 0: the latest live one. NULL when there is none. */
const struct registry_version *registry_version(
	const struct registry_subject *subject, uint32_t version);
/* NULL for an id that was never given. O(1). */
const struct registry_schema *registry_schema(
	const struct registry_snapshot *snapshot, uint32_t id);
/*
 * A type's version for events: `subject` is the event's type, which is the subject of a type by
 * default, or another subject. version 0: the latest. Deleted versions are found by their number,
 * so that old events keep their meaning, permanently deleted ones are not. NULL: there is none, or
 * it has no message.
 */
const struct registry_version *registry_find(
	const struct registry_snapshot *snapshot, struct bytes subject, uint32_t version);
/* The message meant by a subject in a schema, by the rule above; NULL when it has none. */
const struct descriptor_message *registry_main_message(
	const struct registry_schema *schema, struct bytes subject);
/* The level and mode in force for a subject; NULL: for those that do not exist yet. */
enum registry_level registry_level(
	const struct registry_snapshot *snapshot, const struct registry_subject *subject);
enum registry_mode registry_mode(
	const struct registry_snapshot *snapshot, const struct registry_subject *subject);

/* ---- Opening ---- */

struct registry;

/* A .proto text to be compiled. */
struct registry_source {
	struct bytes name; /* of the file */
	struct bytes text;
	struct bytes imports; /* a FileDescriptorSet: what it may import */
};
/* What a compiler needs: appends to out the imports and those files of the pool (not of its base)
 * that the imports have not. ANNALS_E_MALFORMED, ANNALS_E_NO_MEMORY. Pure. */
int registry_set_with(struct bytes imports, const struct descriptor_pool *pool,
	struct buf *out) ANNALS_MUST_CHECK;

struct registry_options {
	/*
	 * Compiles a source: appends to ret_set a FileDescriptorSet with the file and all that it
	 * imports, the file last. Called on the registry's thread, which waits: must be bounded in
	 * time. ANNALS_E_UNSUPPORTED_OPERATION (there is no compiler), ANNALS_E_VALIDATION (with
	 * what the compiler says appended to ret_output), ANNALS_E_TIMEOUT, ANNALS_E_IO,
	 * ANNALS_E_NO_MEMORY. NULL: texts are ANNALS_E_UNSUPPORTED_OPERATION.
	 */
	int (*compile)(void *arg, const struct registry_source *source, struct buf *ret_set,
		struct buf *ret_output, struct error *err);
	void *arg;
};
/* Loads all schemas and starts the thread. options may be NULL. ANNALS_E_NO_MEMORY, ANNALS_E_IO,
 * ANNALS_E_CORRUPT_DATA. */
int registry_open(struct store *store, const struct registry_options *options,
	struct registry **ret, struct error *err) ANNALS_MUST_CHECK;
/* Before store_close(): answers what waits with ANNALS_E_UNAVAILABLE, stops the thread, frees the
 * schemas. Nobody may hold snapshots or readers any more. NULL is a no-op. */
void registry_close(struct registry *registry);

/* ---- Snapshots ---- */

/* A reference to the newest snapshot. Any thread; takes a lock for an instant. */
struct registry_snapshot *registry_snapshot(struct registry *registry);
struct registry_snapshot *registry_snapshot_ref(struct registry_snapshot *snapshot);
void registry_snapshot_unref(struct registry_snapshot *snapshot); /* NULL is a no-op */

/*
 * The hot path: one of these per thread keeps a snapshot, and looking costs one load unless the
 * registry has changed. Zeroed is valid and empty.
 */
struct registry_view {
	struct registry_snapshot *snapshot;
};
/* The newest snapshot, borrowed until the next call with this view. */
const struct registry_snapshot *registry_view_get(
	struct registry *registry, struct registry_view *view);
void registry_view_release(struct registry_view *view);

/* ---- Requests ---- */

enum registry_operation {
	REGISTRY_REGISTER,
	REGISTRY_CHECK,  /* what REGISTER would say, without doing it */
	REGISTRY_LOOKUP, /* is this schema a version of the subject? */
	REGISTRY_CHECK_DATA,
	REGISTRY_DELETE_VERSION,
	REGISTRY_DELETE_SUBJECT,
	REGISTRY_CONFIGURE, /* level and mode; subject "" is everything */
	REGISTRY_READER_PUT,
	REGISTRY_READER_DELETE,
	REGISTRY_OPERATIONS
};

/* What is wrong with a candidate. Texts are the answer's. */
struct registry_problem {
	enum {
		REGISTRY_PROBLEM_RULE,   /* against `version`: rule, path, sentence */
		REGISTRY_PROBLEM_READER, /* the same for the reader `group` */
		REGISTRY_PROBLEM_DATA    /* the event at partition, offset */
	} kind;
	uint32_t version;
	const char *rule; /* compat_rule_name(); of data "fails" or "loses-fields"; constant */
	unsigned breaks;  /* enum compat_mode */
	struct bytes path, sentence, group;
	uint32_t partition;
	uint64_t offset;
	void *memory; /* private: of the texts */
};

struct registry_request {
	struct store_request base; /* base.operation is not used */
	enum registry_operation operation;
	/* input; everything is borrowed until the request comes back */
	struct bytes subject;
	uint32_t version; /* DELETE_VERSION; CHECK: against this one alone (0: by the level);
			     READER_PUT */
	/* The candidate of REGISTER, CHECK, LOOKUP, CHECK_DATA: a text, one FileDescriptorProto, or
	 * a FileDescriptorSet. */
	enum registry_form { REGISTRY_FORM_TEXT, REGISTRY_FORM_FILE, REGISTRY_FORM_SET } form;
	struct bytes schema;
	struct bytes file; /* name of the main file; of a text "schema.proto" when empty */
	const struct registry_reference *references;
	size_t reference_count;
	bool refuse_broken_readers; /* REGISTER: declared readers count like the level */
	bool permanently; /* DELETE_*: what is deleted already (ANNALS_E_CONFLICT if it is not) */
	bool include_deleted;       /* LOOKUP */
	enum registry_level level;  /* CONFIGURE; CHECK uses it instead of the subject's unless
				       INHERITED */
	enum registry_mode mode;    /* CONFIGURE */
	bool sets_level, sets_mode; /* CONFIGURE: what is changed */
	struct bytes group;         /* READER_* */
	const struct bytes *fields;
	size_t field_count;
	/* CHECK_DATA: events of this type (empty: the message's full name) from `offset` on in one
	 * partition, at most events_max. */
	uint32_t topic_id, partition, events_max;
	uint64_t offset;
	struct bytes event_type;

	/* results */
	bool created;       /* REGISTER: a new version */
	bool is_compatible; /* REGISTER, CHECK: by the level */
	uint32_t result_version;
	const struct registry_schema *result_schema; /* REGISTER, LOOKUP */
	enum registry_level result_level;
	uint32_t *versions; /* DELETE_*: which; malloc'ed */
	size_t version_count;
	struct registry_problem *problems; /* those that break the level first */
	size_t problem_count;
	bool problems_truncated;
	uint32_t broken_readers;
	uint64_t events_read, events_failed, events_losing, next_offset, end_offset;
	struct buf output; /* what the compiler says, when it refused */
};
/* Frees the results. */
void registry_request_release(struct registry_request *request);

/*
 * Hands a request over; it comes back through base.queue, always, exactly once.
 * ANNALS_E_UNAVAILABLE (closing) and ANNALS_E_OVERLOADED (REGISTRY_QUEUE_MAX wait): not taken.
 * Statuses:
 * - all: ANNALS_E_INVALID (a name, a form), ANNALS_E_NO_MEMORY, ANNALS_E_UNAVAILABLE,
 *   ANNALS_E_OUTCOME_UNKNOWN;
 * - ANNALS_E_UNKNOWN_SCHEMA: no such subject or version, or (REGISTER, CHECK) a reference that
 * leads nowhere; LOOKUP: the subject has no such schema;
 * - REGISTER, CHECK, LOOKUP: ANNALS_E_MALFORMED, ANNALS_E_VALIDATION (what descriptor_pool_build()
 *   says, or the compiler), ANNALS_E_TOO_LARGE, ANNALS_E_UNSUPPORTED_OPERATION, ANNALS_E_TIMEOUT;
 *   REGISTER: ANNALS_E_INCOMPATIBLE_SCHEMA with `problems`, ANNALS_E_LIMIT. CHECK comes back with 0
 *   and is_compatible;
 * - changes: ANNALS_E_FORBIDDEN (mode READONLY);
 * - DELETE_*: ANNALS_E_CONFLICT (permanently: it is not deleted yet; or another schema refers to
 *   it), ANNALS_E_NOT_FOUND (it is deleted already);
 * - CHECK_DATA: those of STORE_READ.
 */
int registry_submit(struct registry *registry, struct registry_request *request,
	struct error *err) ANNALS_MUST_CHECK;

#endif
