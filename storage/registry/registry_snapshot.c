/* Snapshots: what everybody reads. */
#include "registry_internal.h"

#include <annals/hash.h>
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

static const struct {
	enum registry_level level;
	const char *name;
} levels[] = {{REGISTRY_LEVEL_NONE, "NONE"}, {REGISTRY_LEVEL_BACKWARD, "BACKWARD"},
	{REGISTRY_LEVEL_FORWARD, "FORWARD"}, {REGISTRY_LEVEL_FULL, "FULL"},
	{REGISTRY_LEVEL_BACKWARD_TRANSITIVE, "BACKWARD_TRANSITIVE"},
	{REGISTRY_LEVEL_FORWARD_TRANSITIVE, "FORWARD_TRANSITIVE"},
	{REGISTRY_LEVEL_FULL_TRANSITIVE, "FULL_TRANSITIVE"}};

const char *registry_level_name(enum registry_level level)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(levels); i++) {
		if (levels[i].level == level) {
			return levels[i].name;
		}
	}
	return NULL;
}

int registry_level_parse(struct bytes name, enum registry_level *ret)
{
	char upper[32] = "";
	if (name.size >= sizeof(upper)) {
		return ANNALS_E_INVALID;
	}
	for (size_t i = 0; i < name.size; i++) {
		upper[i] = (char)(name.data[i] == '-' ? '_' : toupper(name.data[i]));
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(levels); i++) {
		if (strcmp(upper, levels[i].name) == 0) {
			*ret = levels[i].level;
			return 0;
		}
	}
	return ANNALS_E_INVALID;
}

/* ---- Subjects ---- */

/* A reader's group and fields, in one piece. */
struct reader_memory {
	atomic_uint references;
	struct bytes fields[];
};

struct registry_subject_memory {
	struct registry_subject subject; /* first */
	struct registry_version *versions;
	struct registry_reader *readers;
	struct reader_memory **memories; /* of readers */
	size_t reader_capacity;
	uint8_t name[];
};

static struct registry_subject_memory *owned(const struct registry_subject *subject)
{
	return subject->memory;
}

static void memory_unref(struct reader_memory *memory)
{
	if (memory != NULL && atomic_fetch_sub(&memory->references, 1) == 1) {
		free(memory);
	}
}

void registry_subject_unref(struct registry_subject *subject)
{
	if (subject == NULL || atomic_fetch_sub(&subject->references, 1) > 1) {
		return;
	}
	struct registry_subject_memory *whole = owned(subject);
	for (size_t i = 0; i < whole->reader_capacity; i++) {
		memory_unref(whole->memories[i]);
	}
	free(whole->memories);
	free(whole->readers);
	free(whole->versions);
	free(whole);
}

struct registry_subject *registry_subject_copy(const struct registry_subject *from,
	struct bytes name, size_t more_versions, size_t more_readers)
{
	const size_t versions = (from != NULL ? from->version_count : 0) + more_versions;
	const size_t readers = (from != NULL ? from->reader_count : 0) + more_readers;
	struct registry_subject_memory *copy = calloc(1, sizeof(*copy) + name.size + 1);
	if (copy == NULL) {
		return NULL;
	}
	atomic_init(&copy->subject.references, 1);
	copy->subject.memory = copy;
	copy->versions = calloc(versions + 1, sizeof(*copy->versions));
	copy->readers = calloc(readers + 1, sizeof(*copy->readers));
	copy->memories = calloc(readers + 1, sizeof(struct reader_memory *));
	if (copy->versions == NULL || copy->readers == NULL || copy->memories == NULL) {
		registry_subject_unref(&copy->subject);
		return NULL;
	}
	copy->reader_capacity = readers;
	memcpy(copy->name, name.data, name.size);
	copy->subject.name = bytes_of(copy->name, name.size);
	copy->subject.level = REGISTRY_LEVEL_INHERITED;
	copy->subject.mode = REGISTRY_MODE_INHERITED;
	copy->subject.next_version = 1;
	copy->subject.versions = copy->versions;
	copy->subject.readers = copy->readers;
	if (from != NULL) {
		copy->subject.level = from->level;
		copy->subject.mode = from->mode;
		copy->subject.next_version = from->next_version;
		copy->subject.version_count = from->version_count;
		copy->subject.reader_count = from->reader_count;
		memcpy(copy->versions, from->versions,
			from->version_count * sizeof(*copy->versions));
		memcpy(copy->readers, from->readers, from->reader_count * sizeof(*copy->readers));
		for (size_t i = 0; i < from->reader_count; i++) {
			copy->memories[i] = owned(from)->memories[i];
			atomic_fetch_add(&copy->memories[i]->references, 1);
		}
	}
	registry_subject_settle(&copy->subject);
	return &copy->subject;
}

struct registry_version *registry_subject_versions(struct registry_subject *subject)
{
	return owned(subject)->versions;
}

struct registry_reader *registry_subject_readers(struct registry_subject *subject)
{
	return owned(subject)->readers;
}

int registry_subject_set_reader(struct registry_subject *subject, size_t at, struct bytes group,
	uint32_t version, const struct bytes *fields, size_t field_count)
{
	struct registry_subject_memory *whole = owned(subject);
	size_t size = sizeof(struct reader_memory) + field_count * sizeof(*fields) + group.size;
	for (size_t i = 0; i < field_count; i++) {
		size += fields[i].size;
	}
	struct reader_memory *memory = calloc(1, size + 1);
	if (memory == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	assert(at < whole->reader_capacity);
	atomic_init(&memory->references, 1);
	uint8_t *end = (uint8_t *)(memory->fields + field_count);
	for (size_t i = 0; i < field_count; i++) {
		if (fields[i].size > 0) {
			memcpy(end, fields[i].data, fields[i].size);
		}
		memory->fields[i] = bytes_of(end, fields[i].size);
		end += fields[i].size;
	}
	memcpy(end, group.data, group.size);
	memory_unref(whole->memories[at]);
	whole->memories[at] = memory;
	whole->readers[at] = (struct registry_reader){
		bytes_of(end, group.size), version, memory->fields, field_count};
	return 0;
}

void registry_subject_remove_reader(struct registry_subject *subject, size_t at)
{
	struct registry_subject_memory *whole = owned(subject);
	const size_t after = subject->reader_count - at - 1;
	memory_unref(whole->memories[at]);
	memmove(whole->memories + at, whole->memories + at + 1,
		after * sizeof(struct reader_memory *));
	memmove(whole->readers + at, whole->readers + at + 1, after * sizeof(*whole->readers));
	whole->memories[--subject->reader_count] = NULL;
}

void registry_subject_settle(struct registry_subject *subject)
{
	subject->live_count = 0;
	subject->latest = NULL;
	for (size_t i = 0; i < subject->version_count; i++) {
		if (subject->versions[i].state == REGISTRY_VERSION_LIVE) {
			subject->live_count++;
			subject->latest = &subject->versions[i];
		}
	}
}

/* ---- Snapshots ---- */

static uint32_t *find_slot(
	const struct registry_snapshot *snapshot, uint32_t *slots, struct bytes name)
{
	size_t at = (size_t)hash_table64(name) & (snapshot->slot_count - 1);
	while (slots[at] != 0 && !bytes_equal(snapshot->subjects[slots[at] - 1]->name, name)) {
		at = (at + 1) & (snapshot->slot_count - 1);
	}
	return &slots[at];
}

/* Where the name is or would stand. */
static size_t find_place(
	const struct registry_snapshot *snapshot, struct bytes name, bool *ret_found)
{
	size_t low = 0;
	size_t high = snapshot->subject_count;
	while (low < high) {
		const size_t middle = (low + high) / 2;
		const struct bytes at = snapshot->subjects[middle]->name;
		int order = memcmp(at.data, name.data, ANNALS_MIN(at.size, name.size));
		if (order == 0) {
			order = at.size < name.size ? -1 : at.size > name.size;
		}
		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	*ret_found = false;
	return low;
}

/* Copies the subjects of `from` with the other one (if any) among them; returns how many. */
static size_t copy_subjects(const struct registry_snapshot *from, struct registry_subject *subject,
	struct registry_subject **subjects)
{
	size_t count = 0;
	bool found = false;
	const size_t place = subject != NULL ? find_place(from, subject->name, &found) : 0;
	for (size_t i = 0; i < from->subject_count; i++) {
		if (subject != NULL && i == place) {
			subjects[count++] = subject;
			if (found) {
				continue;
			}
		}
		subjects[count++] = from->subjects[i];
	}
	if (subject != NULL && place == from->subject_count) {
		subjects[count++] = subject;
	}
	return count;
}

static void count_references(struct registry_subject *const *subjects, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		atomic_fetch_add(&subjects[i]->references, 1);
	}
}

/* Takes `subjects`, which is malloc'ed, and references to what it holds; frees it on failure. */
static struct registry_snapshot *snapshot_new(
	const struct registry *registry, struct registry_subject **subjects, size_t count)
{
	struct registry_snapshot *next = calloc(1, sizeof(*next));
	size_t slot_count = 16;
	while (slot_count < 2 * count) {
		slot_count *= 2;
	}
	const struct registry_schema **schemas =
		calloc(registry->schema_count + 1, sizeof(const struct registry_schema *));
	uint32_t *slots = calloc(slot_count, sizeof(*slots));
	if (next == NULL || schemas == NULL || slots == NULL) {
		free(next);
		free(schemas);
		free(slots);
		free(subjects);
		return NULL;
	}
	atomic_init(&next->references, 1);
	next->generation = 1;
	next->level = REGISTRY_LEVEL_BACKWARD;
	next->mode = REGISTRY_MODE_READWRITE;
	for (size_t i = 0; i < registry->schema_count; i++) {
		schemas[i] = registry->schemas[i];
	}
	next->schemas = schemas;
	next->schema_count = registry->schema_count;
	count_references(subjects, count);
	next->subjects = subjects;
	next->subject_count = count;
	next->slot_count = slot_count;
	for (size_t i = 0; i < count; i++) {
		*find_slot(next, slots, subjects[i]->name) = (uint32_t)i + 1;
	}
	next->slots = slots;
	return next;
}

struct registry_snapshot *registry_snapshot_next(const struct registry *registry,
	const struct registry_snapshot *from, struct registry_subject *subject)
{
	struct registry_subject **subjects =
		calloc(from->subject_count + 1, sizeof(struct registry_subject *));
	if (subjects == NULL) {
		return NULL;
	}
	const size_t count = copy_subjects(from, subject, subjects);
	struct registry_snapshot *next = snapshot_new(registry, subjects, count);
	if (next != NULL) {
		next->generation = from->generation + 1;
		next->level = from->level;
		next->mode = from->mode;
	}
	return next;
}

struct registry_snapshot *registry_snapshot_of(
	const struct registry *registry, struct registry_subject *const *subjects, size_t count)
{
	struct registry_subject **copy = calloc(count + 1, sizeof(struct registry_subject *));
	if (copy == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		copy[i] = subjects[i];
	}
	return snapshot_new(registry, copy, count);
}

struct registry_snapshot *registry_snapshot_ref(struct registry_snapshot *snapshot)
{
	atomic_fetch_add(&snapshot->references, 1);
	return snapshot;
}

void registry_snapshot_unref(struct registry_snapshot *snapshot)
{
	if (snapshot == NULL || atomic_fetch_sub(&snapshot->references, 1) > 1) {
		return;
	}
	for (size_t i = 0; i < snapshot->subject_count; i++) {
		registry_subject_unref(snapshot->subjects[i]);
	}
	free(snapshot->subjects);
	free(snapshot->schemas);
	free(snapshot->slots);
	free(snapshot);
}

void registry_publish(struct registry *registry, struct registry_snapshot *snapshot)
{
	struct registry_snapshot *old;
	(void)pthread_mutex_lock(&registry->mutex);
	old = registry->current;
	registry->current = snapshot;
	atomic_store_explicit(&registry->generation, snapshot->generation, memory_order_release);
	(void)pthread_mutex_unlock(&registry->mutex);
	registry_snapshot_unref(old);
}

struct registry_snapshot *registry_snapshot(struct registry *registry)
{
	struct registry_snapshot *snapshot;
	(void)pthread_mutex_lock(&registry->mutex);
	snapshot = registry_snapshot_ref(registry->current);
	(void)pthread_mutex_unlock(&registry->mutex);
	return snapshot;
}

const struct registry_snapshot *registry_view_get(
	struct registry *registry, struct registry_view *view)
{
	const uint64_t newest = atomic_load_explicit(&registry->generation, memory_order_acquire);
	if (ANNALS_UNLIKELY(view->snapshot == NULL || view->snapshot->generation != newest)) {
		registry_snapshot_unref(view->snapshot);
		view->snapshot = registry_snapshot(registry);
	}
	return view->snapshot;
}

void registry_view_release(struct registry_view *view)
{
	registry_snapshot_unref(view->snapshot);
	view->snapshot = NULL;
}

/* ---- Lookups ---- */

const struct registry_subject *registry_subject(
	const struct registry_snapshot *snapshot, struct bytes name)
{
	size_t at = (size_t)hash_table64(name) & (snapshot->slot_count - 1);
	while (snapshot->slots[at] != 0) {
		const struct registry_subject *subject =
			snapshot->subjects[snapshot->slots[at] - 1];
		if (bytes_equal(subject->name, name)) {
			return subject;
		}
		at = (at + 1) & (snapshot->slot_count - 1);
	}
	return NULL;
}

const struct registry_version *registry_version(
	const struct registry_subject *subject, uint32_t version)
{
	size_t low = 0;
	size_t high = subject->version_count;
	if (version == 0) {
		return subject->latest;
	}
	while (low < high) {
		const size_t middle = (low + high) / 2;
		if (subject->versions[middle].version < version) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < subject->version_count && subject->versions[low].version == version
		       ? &subject->versions[low]
		       : NULL;
}

const struct registry_schema *registry_schema(const struct registry_snapshot *snapshot, uint32_t id)
{
	return id == 0 || id > snapshot->schema_count ? NULL : snapshot->schemas[id - 1];
}

const struct registry_version *registry_find(
	const struct registry_snapshot *snapshot, struct bytes subject, uint32_t version)
{
	const struct registry_subject *found = registry_subject(snapshot, subject);
	const struct registry_version *at = found != NULL ? registry_version(found, version) : NULL;
	return at != NULL && at->message != NULL ? at : NULL;
}

enum registry_level registry_level(
	const struct registry_snapshot *snapshot, const struct registry_subject *subject)
{
	return subject == NULL || subject->level == REGISTRY_LEVEL_INHERITED ? snapshot->level
									     : subject->level;
}

enum registry_mode registry_mode(
	const struct registry_snapshot *snapshot, const struct registry_subject *subject)
{
	return subject == NULL || subject->mode == REGISTRY_MODE_INHERITED ? snapshot->mode
									   : subject->mode;
}
