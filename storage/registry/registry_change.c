/* What requests do. */
#include "registry_internal.h"

#include <stdlib.h>

static const struct registry_subject *subject_of(
	const struct registry *registry, const struct registry_request *request)
{
	return registry_subject(registry->current, request->subject);
}

static int unknown_subject(const struct registry_request *request, struct error *err)
{
	return error_fail(err, ANNALS_E_UNKNOWN_SCHEMA, "no subject '%.*s'",
		(int)request->subject.size, (const char *)request->subject.data);
}

static int no_memory(struct error *err)
{
	return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for the schema registry");
}

/* Subjects are names for people and parts of keys: 1 to 249 bytes, no control characters. */
static int check_name(struct bytes name, struct error *err)
{
	bool is_good = name.size > 0 && name.size <= REGISTRY_SUBJECT_BYTES_MAX;
	for (size_t i = 0; i < name.size && is_good; i++) {
		is_good = name.data[i] >= 0x20 && name.data[i] != 0x7f;
	}
	return is_good ? 0
		       : error_fail(err, ANNALS_E_INVALID,
				 "a subject's name has 1 to %u bytes and no control characters",
				 REGISTRY_SUBJECT_BYTES_MAX);
}

static int check_writable(
	const struct registry *registry, const struct registry_subject *subject, struct error *err)
{
	return registry_mode(registry->current, subject) == REGISTRY_MODE_READWRITE
		       ? 0
		       : error_fail(err, ANNALS_E_FORBIDDEN,
				 "the mode is READONLY: nothing is registered or deleted");
}

/* Commits and publishes the subject, whose reference is taken. */
static int replace(struct registry *registry, struct registry_subject *subject,
	struct registry_commit *commit, struct error *err)
{
	registry_subject_settle(subject);
	commit->subject = subject;
	struct registry_snapshot *next =
		registry_snapshot_next(registry, registry->current, subject);
	int status = next != NULL ? registry_commit(registry, commit, err) : no_memory(err);
	registry_subject_unref(subject);
	if (status != 0) {
		registry_snapshot_unref(next);
		return status;
	}
	registry_publish(registry, next);
	return 0;
}

/* ---- Registering ---- */

static const struct registry_version *find_version(const struct registry_subject *subject,
	const struct registry_schema *schema, bool include_deleted)
{
	for (size_t i = subject == NULL ? 0 : subject->version_count; i-- > 0;) {
		const struct registry_version *version = &subject->versions[i];
		if (version->schema == schema &&
			(include_deleted || version->state == REGISTRY_VERSION_LIVE)) {
			return version;
		}
	}
	return NULL;
}

static int check_limits(const struct registry *registry, const struct registry_subject *subject,
	const struct registry_candidate *candidate, struct error *err)
{
	if (subject == NULL && registry->current->subject_count >= REGISTRY_SUBJECTS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT, "there are %u subjects: that is the limit",
			REGISTRY_SUBJECTS_MAX);
	}
	if (subject != NULL && subject->version_count >= REGISTRY_VERSIONS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT,
			"the subject has %u versions: that is the limit; delete some permanently",
			REGISTRY_VERSIONS_MAX);
	}
	if (!candidate->is_known && registry->schema_count >= REGISTRY_SCHEMAS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT, "there are %u schemas: that is the limit",
			REGISTRY_SCHEMAS_MAX);
	}
	if (!candidate->is_known && registry->memory_bytes > REGISTRY_MEMORY_BYTES_MAX) {
		return error_fail(err, ANNALS_E_LIMIT,
			"the schemas take %llu bytes: that is the limit",
			REGISTRY_MEMORY_BYTES_MAX);
	}
	return 0;
}

static int judge(struct registry *registry, const struct registry_subject *subject,
	const struct registry_candidate *candidate, struct registry_request *request,
	struct error *err)
{
	int status = registry_check(registry->current, subject, candidate->schema, request, err);
	if (status != 0 || request->operation == REGISTRY_CHECK) {
		return status;
	}
	if (!request->is_compatible) {
		return error_fail(err, ANNALS_E_INCOMPATIBLE_SCHEMA,
			"the schema is not %s compatible with the versions of '%.*s'",
			registry_level_name(request->result_level), (int)request->subject.size,
			(const char *)request->subject.data);
	}
	if (request->refuse_broken_readers && request->broken_readers > 0) {
		return error_fail(err, ANNALS_E_INCOMPATIBLE_SCHEMA,
			"the schema breaks %u of the declared readers of '%.*s'",
			request->broken_readers, (int)request->subject.size,
			(const char *)request->subject.data);
	}
	return check_limits(registry, subject, candidate, err);
}

static int add_version(struct registry *registry, const struct registry_subject *from,
	struct registry_candidate *candidate, struct registry_request *request, struct error *err)
{
	struct registry_commit commit = {0};
	struct registry_subject *subject = registry_subject_copy(from, request->subject, 1, 0);
	if (subject == NULL) {
		return no_memory(err);
	}
	struct registry_schema *schema = candidate->schema;
	const bool is_new = !candidate->is_known;
	if (is_new) {
		commit.schema_id = schema->id;
		commit.stored = buf_bytes(&candidate->stored);
		if (registry_add_schema(registry, schema) != 0) {
			registry_subject_unref(subject);
			return no_memory(err);
		}
		candidate->is_known = true; /* the registry's now */
	}
	const uint32_t version = subject->next_version++;
	registry_subject_versions(subject)[subject->version_count++] =
		(struct registry_version){version, REGISTRY_VERSION_LIVE, schema,
			registry_main_message(schema, request->subject)};
	const int status = replace(registry, subject, &commit, err);
	if (status != 0 && is_new) {
		registry->schema_count--;
		registry->memory_bytes -= registry_schema_memory(schema);
		candidate->is_known = false;
		return status;
	}
	request->created = status == 0;
	request->result_version = version;
	return status;
}

static int run_register(
	struct registry *registry, struct registry_request *request, struct error *err)
{
	const struct registry_subject *subject = subject_of(registry, request);
	struct registry_candidate candidate = {0};
	int status = check_writable(registry, subject, err);
	if (status == 0) {
		status = registry_candidate_make(registry, request, &candidate, err);
	}
	const struct registry_version *version =
		status == 0 ? find_version(subject, candidate.schema, false) : NULL;
	if (version != NULL) {
		request->is_compatible = true;
		request->result_version = version->version;
	} else if (status == 0) {
		status = judge(registry, subject, &candidate, request, err);
		status = status != 0 ? status
				     : add_version(registry, subject, &candidate, request, err);
	}
	request->result_schema = status == 0 ? candidate.schema : NULL;
	registry_candidate_release(&candidate);
	return status;
}

static int run_check(struct registry *registry, struct registry_request *request, struct error *err)
{
	const struct registry_subject *subject = subject_of(registry, request);
	struct registry_candidate candidate = {0};
	if (request->version != 0 && subject == NULL) {
		return unknown_subject(request, err);
	}
	int status = registry_candidate_make(registry, request, &candidate, err);
	if (status == 0) {
		status = request->operation == REGISTRY_CHECK
				 ? judge(registry, subject, &candidate, request, err)
				 : registry_check_data(registry, candidate.schema, request, err);
	}
	registry_candidate_release(&candidate);
	return status;
}

static int run_lookup(
	struct registry *registry, struct registry_request *request, struct error *err)
{
	const struct registry_subject *subject = subject_of(registry, request);
	struct registry_candidate candidate = {0};
	if (subject == NULL || (subject->live_count == 0 && !request->include_deleted)) {
		return unknown_subject(request, err);
	}
	int status = registry_candidate_make(registry, request, &candidate, err);
	const struct registry_version *version =
		status == 0 && candidate.is_known
			? find_version(subject, candidate.schema, request->include_deleted)
			: NULL;
	if (version != NULL) {
		request->result_version = version->version;
		request->result_schema = version->schema;
	} else if (status == 0) {
		status = error_fail(err, ANNALS_E_NOT_FOUND, "the schema is no version of '%.*s'",
			(int)request->subject.size, (const char *)request->subject.data);
	}
	registry_candidate_release(&candidate);
	return status;
}

/* ---- Deleting ---- */

static bool refers_to(const struct registry_schema *schema, struct bytes subject, uint32_t version)
{
	for (size_t i = 0; i < schema->reference_count; i++) {
		if (schema->references[i].version == version &&
			bytes_equal(schema->references[i].subject, subject)) {
			return true;
		}
	}
	return false;
}

static bool is_referred_to(
	const struct registry_snapshot *snapshot, struct bytes name, uint32_t version)
{
	for (size_t i = 0; i < snapshot->subject_count; i++) {
		const struct registry_subject *subject = snapshot->subjects[i];
		for (size_t j = 0; j < subject->version_count; j++) {
			if (subject->versions[j].state == REGISTRY_VERSION_LIVE &&
				refers_to(subject->versions[j].schema, name, version)) {
				return true;
			}
		}
	}
	return false;
}

/* May this version be deleted the way that is asked for? */
static int check_delete(const struct registry *registry, const struct registry_request *request,
	const struct registry_version *version, struct error *err)
{
	const bool is_deleted = version->state == REGISTRY_VERSION_DELETED;
	if (request->permanently && !is_deleted) {
		return error_fail(err, ANNALS_E_CONFLICT,
			"version %u of '%.*s' is not deleted: delete it first, then permanently",
			version->version, (int)request->subject.size,
			(const char *)request->subject.data);
	}
	if (!request->permanently && is_deleted) {
		return error_fail(err, ANNALS_E_NOT_FOUND,
			"version %u of '%.*s' is deleted already", version->version,
			(int)request->subject.size, (const char *)request->subject.data);
	}
	if (is_referred_to(registry->current, request->subject, version->version)) {
		return error_fail(err, ANNALS_E_CONFLICT,
			"other schemas refer to version %u of '%.*s'", version->version,
			(int)request->subject.size, (const char *)request->subject.data);
	}
	return 0;
}

/* Which versions go: the one that is named, or all that can. */
static int choose_versions(struct registry *registry, const struct registry_subject *subject,
	struct registry_request *request, struct error *err)
{
	const bool one = request->operation == REGISTRY_DELETE_VERSION;
	int status = 0;
	request->versions = calloc(subject->version_count + 1, sizeof(*request->versions));
	if (request->versions == NULL) {
		return no_memory(err);
	}
	for (size_t i = 0; i < subject->version_count && status == 0; i++) {
		const struct registry_version *version = &subject->versions[i];
		if (one ? version->version != request->version
			: !request->permanently && version->state == REGISTRY_VERSION_DELETED) {
			continue;
		}
		status = check_delete(registry, request, version, err);
		request->versions[request->version_count++] = version->version;
	}
	if (status == 0 && request->version_count == 0) {
		return one ? error_fail(err, ANNALS_E_UNKNOWN_SCHEMA, "'%.*s' has no version %u",
				     (int)request->subject.size,
				     (const char *)request->subject.data, request->version)
			   : error_fail(err, ANNALS_E_NOT_FOUND, "'%.*s' is deleted already",
				     (int)request->subject.size,
				     (const char *)request->subject.data);
	}
	return status;
}

static int run_delete(
	struct registry *registry, struct registry_request *request, struct error *err)
{
	const struct registry_subject *from = subject_of(registry, request);
	struct registry_commit commit = {0};
	int status = check_writable(registry, from, err);
	if (status == 0 && (from == NULL || from->version_count == 0)) {
		status = unknown_subject(request, err);
	}
	if (status == 0) {
		status = choose_versions(registry, from, request, err);
	}
	if (status != 0) {
		request->version_count = 0;
		return status;
	}
	struct registry_subject *subject = registry_subject_copy(from, request->subject, 0, 0);
	if (subject == NULL) {
		return no_memory(err);
	}
	struct registry_version *versions = registry_subject_versions(subject);
	size_t kept = 0;
	size_t next = 0;
	for (size_t i = 0; i < subject->version_count; i++) {
		const bool goes = next < request->version_count &&
				  request->versions[next] == versions[i].version;
		next += goes;
		if (goes && request->permanently) {
			continue;
		}
		versions[kept] = versions[i];
		versions[kept].state = goes ? REGISTRY_VERSION_DELETED : versions[i].state;
		kept++;
	}
	subject->version_count = kept;
	return replace(registry, subject, &commit, err);
}

/* ---- Settings and readers ---- */

static int configure_all(
	struct registry *registry, const struct registry_request *request, struct error *err)
{
	struct registry_snapshot *next = registry_snapshot_next(registry, registry->current, NULL);
	if (next == NULL) {
		return no_memory(err);
	}
	if (request->sets_level) {
		next->level = request->level == REGISTRY_LEVEL_INHERITED ? REGISTRY_LEVEL_BACKWARD
									 : request->level;
	}
	if (request->sets_mode) {
		next->mode = request->mode == REGISTRY_MODE_INHERITED ? REGISTRY_MODE_READWRITE
								      : request->mode;
	}
	const struct registry_commit commit = {
		.has_global = true, .level = next->level, .mode = next->mode};
	const int status = registry_commit(registry, &commit, err);
	if (status != 0) {
		registry_snapshot_unref(next);
		return status;
	}
	registry_publish(registry, next);
	return 0;
}

static int run_configure(
	struct registry *registry, const struct registry_request *request, struct error *err)
{
	struct registry_commit commit = {0};
	const struct registry_candidate nothing = {.is_known = true};
	if (request->subject.size == 0) {
		return configure_all(registry, request, err);
	}
	const struct registry_subject *from = subject_of(registry, request);
	int status = from == NULL ? check_limits(registry, NULL, &nothing, err) : 0;
	if (status != 0) {
		return status;
	}
	struct registry_subject *subject = registry_subject_copy(from, request->subject, 0, 0);
	if (subject == NULL) {
		return no_memory(err);
	}
	subject->level = request->sets_level ? request->level : subject->level;
	subject->mode = request->sets_mode ? request->mode : subject->mode;
	return replace(registry, subject, &commit, err);
}

static size_t find_reader(const struct registry_subject *subject, struct bytes group)
{
	size_t at = 0;
	while (at < subject->reader_count && !bytes_equal(subject->readers[at].group, group)) {
		at++;
	}
	return at;
}

static int check_reader_request(const struct registry_subject *subject,
	const struct registry_request *request, struct error *err)
{
	size_t size = 0;
	int status = group_name_check(request->group, err);
	for (size_t i = 0; i < request->field_count; i++) {
		size += 4 + request->fields[i].size;
	}
	if (status == 0 && (request->field_count > REGISTRY_READER_FIELDS_MAX ||
				   size > REGISTRY_READER_BYTES_MAX)) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"a reader declares at most %u fields in %u bytes",
			REGISTRY_READER_FIELDS_MAX, REGISTRY_READER_BYTES_MAX);
	}
	if (status == 0 && request->version != 0 &&
		registry_version(subject, request->version) == NULL) {
		return error_fail(err, ANNALS_E_UNKNOWN_SCHEMA, "the subject has no version %u",
			request->version);
	}
	if (status == 0 && find_reader(subject, request->group) == REGISTRY_READERS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT,
			"the subject has %u readers: that is the limit", REGISTRY_READERS_MAX);
	}
	return status;
}

static int run_reader(
	struct registry *registry, const struct registry_request *request, struct error *err)
{
	const struct registry_subject *from = subject_of(registry, request);
	const bool puts = request->operation == REGISTRY_READER_PUT;
	if (from == NULL || from->version_count == 0) {
		return unknown_subject(request, err);
	}
	const size_t at = find_reader(from, request->group);
	if (!puts && at == from->reader_count) {
		return error_fail(err, ANNALS_E_NOT_FOUND, "no such reader is declared");
	}
	int status = puts ? check_reader_request(from, request, err) : 0;
	if (status != 0) {
		return status;
	}
	struct registry_subject *subject = registry_subject_copy(from, request->subject, 0, 1);
	if (subject == NULL) {
		return no_memory(err);
	}
	struct registry_commit commit = {
		.reader_subject = request->subject, .reader_group = request->group};
	if (!puts) {
		registry_subject_remove_reader(subject, at);
		return replace(registry, subject, &commit, err);
	}
	if (registry_subject_set_reader(subject, at, request->group, request->version,
		    request->fields, request->field_count) != 0) {
		registry_subject_unref(subject);
		return no_memory(err);
	}
	subject->reader_count += at == subject->reader_count;
	commit.reader = &subject->readers[at];
	return replace(registry, subject, &commit, err);
}

int registry_run(struct registry *registry, struct registry_request *request, struct error *err)
{
	int status = 0;
	if (request->operation != REGISTRY_CONFIGURE || request->subject.size > 0) {
		status = check_name(request->subject, err);
	}
	if (status != 0) {
		return status;
	}
	switch (request->operation) {
	case REGISTRY_REGISTER:
		return run_register(registry, request, err);
	case REGISTRY_CHECK:
	case REGISTRY_CHECK_DATA:
		return run_check(registry, request, err);
	case REGISTRY_LOOKUP:
		return run_lookup(registry, request, err);
	case REGISTRY_DELETE_VERSION:
	case REGISTRY_DELETE_SUBJECT:
		return run_delete(registry, request, err);
	case REGISTRY_CONFIGURE:
		return run_configure(registry, request, err);
	case REGISTRY_READER_PUT:
	case REGISTRY_READER_DELETE:
		return run_reader(registry, request, err);
	case REGISTRY_OPERATIONS:
		break;
	}
	return error_fail(err, ANNALS_E_INTERNAL, "unknown operation of the schema registry");
}
