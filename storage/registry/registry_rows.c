/* The registry's rows: see docs/disk-format.md. */
#include "registry_internal.h"

#include <annals/fault.h>
#include <assert.h>
#include <stdlib.h>

/* The second byte of a key. */
enum row_kind { ROW_BLOB = 'b', ROW_GLOBAL = 'c', ROW_SUBJECT = 'n', ROW_READER = 'r' };

#define FORMAT_VERSION 1u
#define SUBJECT_HEAD_BYTES 12u
#define SUBJECT_VERSION_BYTES 9u
#define PART_BYTES 60000u
#define PARTS_MAX (REGISTRY_SCHEMA_BYTES_MAX / PART_BYTES + 2)
#define CHANGES_MAX (PARTS_MAX + 4)

_Static_assert(PART_BYTES <= ROW_VALUE_BYTES_MAX, "a part fits a row");
_Static_assert(
	SUBJECT_HEAD_BYTES + REGISTRY_VERSIONS_MAX * SUBJECT_VERSION_BYTES <= ROW_VALUE_BYTES_MAX,
	"a subject fits a row");

struct key {
	uint8_t bytes[2 + REGISTRY_SUBJECT_BYTES_MAX + 1 + GROUP_NAME_MAX];
	size_t size;
};

static void key_begin(struct key *key, enum row_kind kind)
{
	key->bytes[0] = ROW_SCHEMA;
	key->bytes[1] = (uint8_t)kind;
	key->size = 2;
}

static void key_add(struct key *key, struct bytes text)
{
	if (text.size > 0) {
		memcpy(key->bytes + key->size, text.data, text.size);
		key->size += text.size;
	}
}

static struct bytes key_bytes(const struct key *key)
{
	return bytes_of(key->bytes, key->size);
}

static void key_blob(struct key *key, uint32_t id)
{
	key_begin(key, ROW_BLOB);
	store_u32_be(key->bytes + key->size, id);
	key->size += 4;
}

static void key_reader(struct key *key, struct bytes subject, struct bytes group)
{
	key_begin(key, ROW_READER);
	key_add(key, subject);
	key->bytes[key->size++] = 0;
	key_add(key, group);
}

/* ---- Loading ---- */

static int add_part(void *arg, struct bytes key, struct bytes value)
{
	(void)key;
	return buf_add(arg, value.data, value.size);
}

static int scan_rows(struct registry *registry, const struct key *prefix,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *arg, struct error *err)
{
	return registry->scan != NULL
		       ? registry->scan(registry->scan_arg, key_bytes(prefix), fn, arg, err)
		       : store_row_scan(registry->store, key_bytes(prefix), bytes_of(NULL, 0), 0,
				 fn, arg, err);
}

static int load_schemas(struct registry *registry, struct error *err)
{
	for (uint32_t id = 1; id <= REGISTRY_SCHEMAS_MAX; id++) {
		struct buf stored = BUF_INIT;
		struct key key;
		struct registry_schema *schema = NULL;
		key_blob(&key, id);
		int status = scan_rows(registry, &key, add_part, &stored, err);
		if (status != 0 || stored.size == 0) {
			buf_release(&stored);
			return status;
		}
		status = registry_schema_new(registry->builtin, id, &stored, NULL, &schema, err);
		if (status != 0) {
			return status;
		}
		status = registry_add_schema(registry, schema);
		if (status != 0) {
			registry_schema_free(schema);
			return error_fail(err, status, "no memory for the schemas");
		}
	}
	return 0;
}

struct loading {
	struct registry *registry;
	struct registry_subject **subjects;
	size_t count, capacity;
};

static bool is_level(uint8_t level)
{
	return level <= REGISTRY_LEVEL_FULL_TRANSITIVE && level != 4;
}

static bool is_mode(uint8_t mode)
{
	return mode <= REGISTRY_MODE_READONLY;
}

static int decode_subject(
	const struct registry *registry, struct registry_subject *subject, struct bytes value)
{
	struct registry_version *versions = registry_subject_versions(subject);
	subject->level = value.data[1];
	subject->mode = value.data[2];
	subject->next_version = load_u32(value.data + 4);
	subject->version_count = load_u32(value.data + 8);
	if ((!is_level(value.data[1]) && value.data[1] != REGISTRY_LEVEL_INHERITED) ||
		(!is_mode(value.data[2]) && value.data[2] != REGISTRY_MODE_INHERITED)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (size_t i = 0; i < subject->version_count; i++) {
		const uint8_t *at = value.data + SUBJECT_HEAD_BYTES + i * SUBJECT_VERSION_BYTES;
		const uint32_t id = load_u32(at + 4);
		if (id == 0 || id > registry->schema_count || at[8] > REGISTRY_VERSION_DELETED ||
			load_u32(at) == 0 || load_u32(at) >= subject->next_version ||
			(i > 0 && load_u32(at) <= versions[i - 1].version)) {
			return ANNALS_E_CORRUPT_DATA;
		}
		versions[i].version = load_u32(at);
		versions[i].schema = registry->schemas[id - 1];
		versions[i].state = at[8];
		versions[i].message = registry_main_message(versions[i].schema, subject->name);
	}
	registry_subject_settle(subject);
	return 0;
}

static int load_subject(void *arg, struct bytes key, struct bytes value)
{
	struct loading *loading = arg;
	if (key.size <= 2 || key.size > 2 + REGISTRY_SUBJECT_BYTES_MAX ||
		value.size < SUBJECT_HEAD_BYTES || value.data[0] != FORMAT_VERSION) {
		return ANNALS_E_CORRUPT_DATA;
	}
	const size_t count = load_u32(value.data + 8);
	if (count > REGISTRY_VERSIONS_MAX ||
		value.size != SUBJECT_HEAD_BYTES + count * SUBJECT_VERSION_BYTES) {
		return ANNALS_E_CORRUPT_DATA;
	}
	if (loading->count == loading->capacity) {
		const size_t capacity = loading->capacity == 0 ? 64 : 2 * loading->capacity;
		struct registry_subject **larger =
			realloc(loading->subjects, capacity * sizeof(struct registry_subject *));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		loading->subjects = larger;
		loading->capacity = capacity;
	}
	struct registry_subject *subject =
		registry_subject_copy(NULL, bytes_of(key.data + 2, key.size - 2), count, 0);
	if (subject == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	loading->subjects[loading->count++] = subject;
	return decode_subject(loading->registry, subject, value);
}

static struct registry_subject **find_loading(const struct loading *loading, struct bytes name)
{
	for (size_t low = 0, high = loading->count; low < high;) {
		const size_t middle = (low + high) / 2;
		const struct bytes at = loading->subjects[middle]->name;
		int order = memcmp(at.data, name.data, ANNALS_MIN(at.size, name.size));
		if (order == 0) {
			order = at.size < name.size ? -1 : at.size > name.size;
		}
		if (order == 0) {
			return &loading->subjects[middle];
		}
		low = order < 0 ? middle + 1 : low;
		high = order < 0 ? high : middle;
	}
	return NULL;
}

static int load_reader(void *arg, struct bytes key, struct bytes value)
{
	struct loading *loading = arg;
	struct bytes fields[REGISTRY_READER_FIELDS_MAX];
	const uint8_t *zero = key.size > 2 ? memchr(key.data + 2, 0, key.size - 2) : NULL;
	if (zero == NULL || value.size < 9 || value.data[0] != FORMAT_VERSION) {
		return ANNALS_E_CORRUPT_DATA;
	}
	const struct bytes name = bytes_of(key.data + 2, (size_t)(zero - key.data) - 2);
	const struct bytes group = bytes_of(zero + 1, key.size - name.size - 3);
	struct registry_subject **place = find_loading(loading, name);
	const uint32_t count = load_u32(value.data + 5);
	size_t at = 9;
	if (count > REGISTRY_READER_FIELDS_MAX || place == NULL ||
		(*place)->reader_count == REGISTRY_READERS_MAX) {
		return ANNALS_E_CORRUPT_DATA;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (value.size - at < 4 || value.size - at - 4 < load_u32(value.data + at)) {
			return ANNALS_E_CORRUPT_DATA;
		}
		fields[i] = bytes_of(value.data + at + 4, load_u32(value.data + at));
		at += 4 + fields[i].size;
	}
	struct registry_subject *subject = registry_subject_copy(*place, name, 0, 1);
	if (subject == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	registry_subject_unref(*place);
	*place = subject;
	const int status = registry_subject_set_reader(
		subject, subject->reader_count, group, load_u32(value.data + 1), fields, count);
	subject->reader_count += status == 0;
	return status;
}

static int load_settings(void *arg, struct bytes key, struct bytes value)
{
	struct registry_snapshot *snapshot = arg;
	if (key.size != 2 || value.size != 3 || value.data[0] != FORMAT_VERSION ||
		!is_level(value.data[1]) || !is_mode(value.data[2])) {
		return ANNALS_E_CORRUPT_DATA;
	}
	snapshot->level = value.data[1];
	snapshot->mode = value.data[2];
	return 0;
}

static int load_global(
	struct registry *registry, struct registry_snapshot *snapshot, struct error *err)
{
	struct key key;
	key_begin(&key, ROW_GLOBAL);
	const int status = scan_rows(registry, &key, load_settings, snapshot, err);
	return status == ANNALS_E_CORRUPT_DATA
		       ? error_fail(err, status, "the registry's settings are damaged")
		       : status;
}

static int load_subjects(struct registry *registry, struct loading *loading, struct error *err)
{
	struct key key;
	key_begin(&key, ROW_SUBJECT);
	int status = scan_rows(registry, &key, load_subject, loading, err);
	if (status == 0) {
		key_begin(&key, ROW_READER);
		status = scan_rows(registry, &key, load_reader, loading, err);
	}
	return status == ANNALS_E_CORRUPT_DATA
		       ? error_fail(err, status, "a row of the schema registry is damaged")
		       : status;
}

static int load_snapshot(
	struct registry *registry, struct registry_snapshot **ret, struct error *err)
{
	struct loading loading = {.registry = registry};
	struct registry_snapshot *snapshot = NULL;
	int status = load_schemas(registry, err);
	if (status == 0) {
		status = load_subjects(registry, &loading, err);
	}
	if (status == 0) {
		snapshot = registry_snapshot_of(registry, loading.subjects, loading.count);
		status = snapshot != NULL ? load_global(registry, snapshot, err)
					  : error_fail(err, ANNALS_E_NO_MEMORY,
						    "no memory for the schema registry");
	}
	for (size_t i = 0; i < loading.count; i++) {
		registry_subject_unref(loading.subjects[i]);
	}
	free(loading.subjects);
	if (status != 0) {
		registry_snapshot_unref(snapshot);
		return status;
	}
	*ret = snapshot;
	return 0;
}

int registry_load(struct registry *registry, struct error *err)
{
	struct registry_snapshot *snapshot;
	const int status = load_snapshot(registry, &snapshot, err);
	if (status == 0) {
		registry_publish(registry, snapshot);
	}
	return status;
}

static int is_loaded(void *arg, struct bytes key, struct bytes value)
{
	const struct registry *registry = arg;
	(void)value;
	return key.size >= 6 && load_u32_be(key.data + 2) - 1 < registry->schema_count
		       ? 0
		       : ANNALS_E_CORRUPT_DATA;
}

int registry_rows_check(registry_scan *scan, void *arg, struct error *err)
{
	struct registry registry = {.scan = scan, .scan_arg = arg};
	struct registry_snapshot *snapshot = NULL;
	struct key key;
	int status = descriptor_pool_builtin(&registry.builtin, err);
	if (status == 0) {
		status = load_snapshot(&registry, &snapshot, err);
	}
	if (status == 0) {
		key_begin(&key, ROW_BLOB);
		status = scan_rows(&registry, &key, is_loaded, &registry, err);
		if (status == ANNALS_E_CORRUPT_DATA) {
			(void)error_fail(err, status,
				"the registry lacks the schema with the id %zu, but has later ones",
				registry.schema_count + 1);
		}
	}
	registry_snapshot_unref(snapshot);
	for (size_t i = 0; i < registry.schema_count; i++) {
		registry_schema_free(registry.schemas[i]);
	}
	free(registry.schemas);
	descriptor_pool_unref(registry.builtin);
	return status;
}

/* ---- Committing ---- */

static int encode_subject(const struct registry_subject *subject, struct buf *out)
{
	uint8_t head[SUBJECT_HEAD_BYTES] = {
		FORMAT_VERSION, (uint8_t)subject->level, (uint8_t)subject->mode};
	store_u32(head + 4, subject->next_version);
	store_u32(head + 8, (uint32_t)subject->version_count);
	int status = buf_add(out, head, sizeof(head));
	for (size_t i = 0; i < subject->version_count && status == 0; i++) {
		uint8_t version[SUBJECT_VERSION_BYTES];
		store_u32(version, subject->versions[i].version);
		store_u32(version + 4, subject->versions[i].schema->id);
		version[8] = (uint8_t)subject->versions[i].state;
		status = buf_add(out, version, sizeof(version));
	}
	return status;
}

static int encode_reader(const struct registry_reader *reader, struct buf *out)
{
	uint8_t head[9] = {FORMAT_VERSION};
	store_u32(head + 1, reader->version);
	store_u32(head + 5, (uint32_t)reader->field_count);
	int status = buf_add(out, head, sizeof(head));
	for (size_t i = 0; i < reader->field_count && status == 0; i++) {
		uint8_t size[4];
		store_u32(size, (uint32_t)reader->fields[i].size);
		status = buf_add(out, size, sizeof(size));
		status = status != 0 ? status
				     : buf_add(out, reader->fields[i].data, reader->fields[i].size);
	}
	return status;
}

/* Submits and waits: the thread has nothing else to do. */
static int run_rows(struct registry *registry, struct rows_request *request, struct error *err)
{
	struct list_node done;
	list_init(&request->base.node);
	request->base.operation = STORE_ROWS;
	request->base.queue = &registry->completions;
	ANNALS_FAULT("registry.before_commit");
	const int status = store_submit(registry->store, &request->base, err);
	if (status != 0) {
		return status;
	}
	(void)pthread_mutex_lock(&registry->mutex);
	while (!registry->committed) {
		(void)pthread_cond_wait(&registry->wake, &registry->mutex);
	}
	registry->committed = false;
	(void)pthread_mutex_unlock(&registry->mutex);
	ANNALS_FAULT("registry.after_commit");
	list_init(&done);
	completion_queue_take(&registry->completions, &done);
	return request->base.status == 0
		       ? 0
		       : error_fail(err, request->base.status, "%s", request->base.error.text);
}

struct writing {
	struct row_change changes[CHANGES_MAX];
	struct key keys[CHANGES_MAX];
	size_t count;
	struct buf subject, reader;
	uint8_t global[3];
};

static struct key *next_change(struct writing *writing, struct bytes value)
{
	assert(writing->count < CHANGES_MAX);
	writing->changes[writing->count].value = value;
	return &writing->keys[writing->count++];
}

static int write_changes(struct writing *writing, const struct registry_commit *commit)
{
	int status = 0;
	for (size_t at = 0; at < commit->stored.size; at += PART_BYTES) {
		struct key *key = next_change(
			writing, bytes_of(commit->stored.data + at,
					 ANNALS_MIN(PART_BYTES, commit->stored.size - at)));
		key_blob(key, commit->schema_id);
		key->bytes[key->size++] = (uint8_t)(at / PART_BYTES);
	}
	if (commit->subject != NULL) {
		status = encode_subject(commit->subject, &writing->subject);
		struct key *key = next_change(writing, buf_bytes(&writing->subject));
		key_begin(key, ROW_SUBJECT);
		key_add(key, commit->subject->name);
	}
	if (commit->has_global) {
		writing->global[0] = FORMAT_VERSION;
		writing->global[1] = (uint8_t)commit->level;
		writing->global[2] = (uint8_t)commit->mode;
		key_begin(next_change(writing, bytes_of(writing->global, 3)), ROW_GLOBAL);
	}
	if (commit->reader_group.size > 0) {
		status = status != 0 || commit->reader == NULL
				 ? status
				 : encode_reader(commit->reader, &writing->reader);
		struct key *key = next_change(writing, buf_bytes(&writing->reader));
		key_reader(key, commit->reader_subject, commit->reader_group);
	}
	return status;
}

int registry_commit(
	struct registry *registry, const struct registry_commit *commit, struct error *err)
{
	struct writing *writing = calloc(1, sizeof(*writing));
	if (writing == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to register");
	}
	int status = write_changes(writing, commit);
	for (size_t i = 0; i < writing->count; i++) {
		writing->changes[i].key = key_bytes(&writing->keys[i]);
	}
	if (status == 0) {
		struct rows_request request = {
			.changes = writing->changes, .change_count = writing->count};
		status = run_rows(registry, &request, err);
	}
	buf_release(&writing->subject);
	buf_release(&writing->reader);
	free(writing);
	return status;
}
