/* What the files of the registry share. The registry's thread, unless said otherwise. */
#ifndef ANNALS_STORAGE_REGISTRY_INTERNAL_H
#define ANNALS_STORAGE_REGISTRY_INTERNAL_H

#include <annals/registry.h>

/* Where rows come from: as store_row_scan() without bounds. */
typedef int registry_scan(void *arg, struct bytes prefix,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *fn_arg,
	struct error *err);

struct registry {
	struct store *store;
	registry_scan *scan; /* NULL: the store's rows */
	void *scan_arg;
	struct registry_options options;
	struct descriptor_pool *builtin;
	pthread_t thread;
	pthread_mutex_t mutex; /* inbox, current, committed, stopping */
	pthread_cond_t wake;
	struct list_node inbox;
	unsigned inbox_count;
	bool stopping, committed;
	struct completion_queue completions;
	struct registry_snapshot *current;
	atomic_uint_fast64_t generation; /* of current */
	struct registry_schema **schemas;
	size_t schema_count, schema_capacity;
	uint64_t memory_bytes;
};

/* ---- FileDescriptorSets as bytes (registry_set.c); pure ---- */

/* Walks the files of a set: *cursor starts at 0; 1, 0 at the end, ANNALS_E_MALFORMED. */
int registry_set_next(struct bytes set, size_t *cursor, struct bytes *ret_file) ANNALS_MUST_CHECK;
/* The name in an encoded FileDescriptorProto; empty without one. ANNALS_E_MALFORMED. */
int registry_file_name(struct bytes file, struct bytes *ret_name) ANNALS_MUST_CHECK;
/* Appends a file without its source_code_info; name: another one for it, or empty.
 * ANNALS_E_MALFORMED, ANNALS_E_NO_MEMORY. */
int registry_set_add(struct buf *set, struct bytes file, struct bytes name) ANNALS_MUST_CHECK;
/* 1 when the set has a file of this name, 0 when not, ANNALS_E_MALFORMED. */
int registry_set_has(struct bytes set, struct bytes name) ANNALS_MUST_CHECK;

/* ---- Schemas (registry_schema.c) ---- */

/* What a schema is made of; see registry_schema. */
struct registry_parts {
	struct bytes file, text, set;
	const struct registry_reference *references;
	size_t reference_count;
	uint64_t registered_us;
};
/* Appends the parts as they are stored. ANNALS_E_NO_MEMORY. */
int registry_parts_encode(const struct registry_parts *parts, struct buf *out) ANNALS_MUST_CHECK;
/*
 * A schema from its stored form, whose memory is taken (also on failure). pool: linked already, a
 * reference is taken; NULL: to be linked on `builtin`. ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY.
 */
int registry_schema_new(struct descriptor_pool *builtin, uint32_t id, struct buf *stored,
	struct descriptor_pool *pool, struct registry_schema **ret,
	struct error *err) ANNALS_MUST_CHECK;
void registry_schema_free(struct registry_schema *schema);
/* Bytes of memory, about. */
uint64_t registry_schema_memory(const struct registry_schema *schema);
/* Are these the parts of that schema, times apart? */
bool registry_schema_is(const struct registry_schema *schema, const struct registry_parts *parts);
/* The message for rules 1 and 2 of the header: named by the subject. NULL: neither applies. */
const struct descriptor_message *registry_named_message(
	const struct registry_schema *schema, struct bytes subject);

/* ---- Subjects and snapshots (registry_snapshot.c) ---- */

/* A copy of a subject with room for so many more versions and readers; `from` may be NULL. The
 * arrays can be written until it is published. NULL without memory. */
struct registry_subject *registry_subject_copy(const struct registry_subject *from,
	struct bytes name, size_t more_versions, size_t more_readers);
struct registry_version *registry_subject_versions(struct registry_subject *subject);
struct registry_reader *registry_subject_readers(struct registry_subject *subject);
/* Copies what it names, into memory of the subject. ANNALS_E_NO_MEMORY. */
int registry_subject_set_reader(struct registry_subject *subject, size_t at, struct bytes group,
	uint32_t version, const struct bytes *fields, size_t field_count) ANNALS_MUST_CHECK;
/* Removes the reader at this place. */
void registry_subject_remove_reader(struct registry_subject *subject, size_t at);
/* Counts what is live, finds the latest. */
void registry_subject_settle(struct registry_subject *subject);
void registry_subject_unref(struct registry_subject *subject);

/*
 * A successor of `from` with one subject added or replaced (NULL: none; a reference
 * is taken) and all schemas of the registry. NULL without memory.
 */
struct registry_snapshot *registry_snapshot_next(const struct registry *registry,
	const struct registry_snapshot *from, struct registry_subject *subject);
/* Makes it the current one; takes the caller's reference. */
void registry_publish(struct registry *registry, struct registry_snapshot *snapshot);

/* The first one, with these subjects in the order of names; references are taken. */
struct registry_snapshot *registry_snapshot_of(
	const struct registry *registry, struct registry_subject *const *subjects, size_t count);

/* ---- The registry (registry.c) ---- */

/* The next id's; the schema is the registry's then. ANNALS_E_NO_MEMORY. */
int registry_add_schema(
	struct registry *registry, struct registry_schema *schema) ANNALS_MUST_CHECK;

/* ---- Rows (registry_rows.c); the formats are in docs/disk-format.md ---- */

int registry_load(struct registry *registry, struct error *err) ANNALS_MUST_CHECK;
/*
 * Can these rows be loaded as a registry, and does no schema follow a missing one? Without a store,
 * for store_verify(). ANNALS_E_CORRUPT_DATA says what is wrong; other codes as from `scan`,
 * ANNALS_E_NO_MEMORY.
 */
int registry_rows_check(registry_scan *scan, void *arg, struct error *err) ANNALS_MUST_CHECK;
/* All of it in one commit; what is NULL or 0 stays as it is. Waits. What STORE_ROWS says. */
struct registry_commit {
	uint32_t schema_id;
	struct bytes stored; /* the schema's stored form */
	const struct registry_subject *subject;
	bool has_global;
	enum registry_level level;
	enum registry_mode mode;
	struct bytes reader_subject, reader_group;
	const struct registry_reader *reader; /* NULL with a group: deleted */
};
int registry_commit(struct registry *registry, const struct registry_commit *commit,
	struct error *err) ANNALS_MUST_CHECK;

/* ---- Candidates (registry_candidate.c) ---- */

struct registry_candidate {
	struct registry_schema *schema; /* known already, or made for the candidate (id 0) */
	bool is_known;
	struct buf stored; /* of one that is not known */
};
/* From the request's schema. Statuses: those of REGISTER. */
int registry_candidate_make(struct registry *registry, struct registry_request *request,
	struct registry_candidate *ret, struct error *err) ANNALS_MUST_CHECK;
void registry_candidate_release(struct registry_candidate *candidate);

/* ---- Checks (registry_check.c, registry_data.c) ---- */

/* Adds a problem to the answer; beyond REGISTRY_PROBLEMS_MAX only says so. ANNALS_E_NO_MEMORY. */
int registry_problem_add(
	struct registry_request *request, const struct registry_problem *problem) ANNALS_MUST_CHECK;
/* Fills is_compatible, problems, broken_readers. ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY,
 * ANNALS_E_UNKNOWN_SCHEMA. */
int registry_check(const struct registry_snapshot *snapshot, const struct registry_subject *subject,
	const struct registry_schema *candidate, struct registry_request *request,
	struct error *err) ANNALS_MUST_CHECK;
int registry_check_data(struct registry *registry, const struct registry_schema *candidate,
	struct registry_request *request, struct error *err) ANNALS_MUST_CHECK;

/* ---- Changes (registry_change.c) ---- */

/* Runs a request to its end and returns its status. */
int registry_run(struct registry *registry, struct registry_request *request,
	struct error *err) ANNALS_MUST_CHECK;

#endif
