/* From what a request brings to a linked schema. */
#include "registry_internal.h"

#include <annals/clock.h>
#include <stdlib.h>

#define DEFAULT_FILE "schema.proto"

struct making {
	struct registry *registry;
	struct registry_request *request;
	const struct registry_snapshot *snapshot;
	struct bytes file; /* main */
	struct buf file_copy;
	struct buf imports;
	struct buf set;
	struct descriptor_pool *pool;
};

/* ---- References ---- */

static const struct registry_schema *referenced(
	const struct making *making, const struct registry_reference *reference)
{
	const struct registry_subject *subject =
		registry_subject(making->snapshot, reference->subject);
	const struct registry_version *version =
		subject == NULL ? NULL : registry_version(subject, reference->version);
	return version != NULL && version->state == REGISTRY_VERSION_LIVE ? version->schema : NULL;
}

/* Adds the files of a referenced schema, its main file under the name of the import. */
static int add_import(struct making *making, const struct registry_reference *reference,
	const struct registry_schema *schema)
{
	struct bytes file;
	size_t cursor = 0;
	int more, status = 0;
	while (status == 0 && (more = registry_set_next(schema->set, &cursor, &file)) != 0) {
		struct bytes name;
		if (more < 0 || registry_file_name(file, &name) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		const bool is_main = bytes_is(name, schema->file->name);
		const struct bytes as = is_main ? reference->name : name;
		const int has = registry_set_has(buf_bytes(&making->imports), as);
		if (has == 0) {
			status = registry_set_add(&making->imports, file,
				is_main ? reference->name : bytes_of(NULL, 0));
		}
		status = has < 0 ? has : status;
		if (making->imports.size > DESCRIPTOR_SET_BYTES_MAX) {
			return ANNALS_E_TOO_LARGE;
		}
	}
	return status;
}

static int add_imports(struct making *making, struct error *err)
{
	const struct registry_request *request = making->request;
	if (request->reference_count > REGISTRY_REFERENCES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE, "a schema has at most %u references",
			REGISTRY_REFERENCES_MAX);
	}
	for (size_t i = 0; i < request->reference_count; i++) {
		const struct registry_reference *reference = &request->references[i];
		const struct registry_schema *schema = referenced(making, reference);
		if (schema == NULL) {
			return error_fail(err, ANNALS_E_UNKNOWN_SCHEMA,
				"no version %u of the subject '%.*s', which is referred to as "
				"'%.*s'",
				reference->version, (int)ANNALS_MIN(reference->subject.size, 80),
				(const char *)reference->subject.data,
				(int)ANNALS_MIN(reference->name.size, 80),
				(const char *)reference->name.data);
		}
		const int status = add_import(making, reference, schema);
		if (status != 0) {
			return error_fail(err, status, "the imports of a schema: %s",
				annals_status_text(status));
		}
	}
	return 0;
}

/* ---- The candidate's own files ---- */

static int malformed(struct error *err)
{
	return error_fail(err, ANNALS_E_MALFORMED, "the schema is no encoded file descriptor");
}

static int add_files(struct making *making, struct bytes set, struct error *err)
{
	struct bytes file, name = {NULL, 0};
	size_t cursor = 0;
	int more;
	while ((more = registry_set_next(set, &cursor, &file)) == 1) {
		if (registry_file_name(file, &name) != 0) {
			return malformed(err);
		}
		const int status = registry_set_add(&making->set, file, bytes_of(NULL, 0));
		if (status != 0) {
			return error_fail(err, status, "%s", annals_status_text(status));
		}
	}
	if (more < 0) {
		return malformed(err);
	}
	if (making->file.size == 0 && name.size > 0) {
		const int status = buf_add(&making->file_copy, name.data, name.size);
		if (status != 0) {
			return error_fail(err, status, "%s", annals_status_text(status));
		}
		making->file = buf_bytes(&making->file_copy);
	}
	/* What is referred to and not in the set already. */
	cursor = 0;
	while (registry_set_next(buf_bytes(&making->imports), &cursor, &file) == 1) {
		int status = registry_file_name(file, &name);
		const int has = registry_set_has(buf_bytes(&making->set), name);
		if (status == 0 && has == 0) {
			status = registry_set_add(&making->set, file, bytes_of(NULL, 0));
		}
		if (status != 0 || has < 0) {
			return malformed(err);
		}
	}
	return 0;
}

static int compile(struct making *making, struct error *err)
{
	const struct registry_options *options = &making->registry->options;
	struct registry_request *request = making->request;
	if (options->compile == NULL) {
		return error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION,
			"schemas come as descriptors here: there is no compiler");
	}
	const struct registry_source source = {
		making->file, request->schema, buf_bytes(&making->imports)};
	ANNALS_CLEANUP(buf_release) struct buf set = BUF_INIT;
	int status = options->compile(options->arg, &source, &set, &request->output, err);
	return status != 0 ? status : add_files(making, buf_bytes(&set), err);
}

static int gather(struct making *making, struct error *err)
{
	const struct registry_request *request = making->request;
	ANNALS_CLEANUP(buf_release) struct buf one = BUF_INIT;
	struct bytes name;
	int status;
	switch (request->form) {
	case REGISTRY_FORM_TEXT:
		return compile(making, err);
	case REGISTRY_FORM_FILE:
		if (registry_file_name(request->schema, &name) != 0) {
			return malformed(err);
		}
		status = registry_set_add(&one, request->schema,
			name.size == 0 ? bytes_text(DEFAULT_FILE) : bytes_of(NULL, 0));
		if (name.size == 0 && making->file.size == 0) {
			making->file = bytes_text(DEFAULT_FILE);
		}
		return status != 0 ? error_fail(err, status, "%s", annals_status_text(status))
				   : add_files(making, buf_bytes(&one), err);
	case REGISTRY_FORM_SET:
		return add_files(making, request->schema, err);
	}
	return error_fail(err, ANNALS_E_INVALID, "unknown form of a schema");
}

/* ---- Linking ---- */

/* The main file: the one asked for, else the one that declares the subject's message, else the last
 * one given. */
static int choose_file(struct making *making, struct error *err)
{
	const struct registry_request *request = making->request;
	const struct descriptor_message *message =
		request->file.size > 0
			? NULL
			: descriptor_pool_find_message(making->pool, request->subject);
	if (message != NULL) {
		making->file = bytes_text(message->file->name);
	}
	if (making->file.size == 0) {
		return error_fail(
			err, ANNALS_E_VALIDATION, "the schema has no file, or one without a name");
	}
	if (descriptor_pool_find_file(making->pool, making->file) == NULL) {
		return error_fail(err, ANNALS_E_INVALID, "the schema has no file '%.*s'",
			(int)ANNALS_MIN(making->file.size, 100), (const char *)making->file.data);
	}
	return 0;
}

/* The set again, as it is kept: in the order of imports, without what is built in. */
static int normalise(struct making *making, struct error *err)
{
	int status = 0;
	/* The name may lie in the set. */
	making->file = bytes_text(descriptor_pool_find_file(making->pool, making->file)->name);
	buf_reset(&making->set);
	for (size_t i = 0; i < descriptor_pool_file_count(making->pool) && status == 0; i++) {
		status = registry_set_add(&making->set,
			descriptor_pool_file(making->pool, i)->encoded, bytes_of(NULL, 0));
	}
	return status == 0 ? 0 : error_fail(err, status, "%s", annals_status_text(status));
}

static struct registry_schema *find_known(
	const struct registry *registry, const struct registry_parts *parts)
{
	for (size_t i = 0; i < registry->schema_count; i++) {
		if (registry_schema_is(registry->schemas[i], parts)) {
			return registry->schemas[i];
		}
	}
	return NULL;
}

static void parts_of(const struct making *making, struct registry_parts *ret)
{
	const struct registry_request *request = making->request;
	const bool is_text = request->form == REGISTRY_FORM_TEXT;
	*ret = (struct registry_parts){.file = making->file,
		.text = is_text ? request->schema : bytes_of(NULL, 0),
		.set = buf_bytes(&making->set),
		.references = request->references,
		.reference_count = request->reference_count,
		.registered_us = clock_wall_us()};
}

static int link_schema(
	struct making *making, struct registry_candidate *candidate, struct error *err)
{
	struct registry_parts parts;
	if (making->set.size == 0) {
		return error_fail(err, ANNALS_E_VALIDATION, "the schema has no file");
	}
	int status = descriptor_pool_build(
		making->registry->builtin, buf_bytes(&making->set), &making->pool, err);
	if (status == 0) {
		status = choose_file(making, err);
	}
	if (status == 0) {
		status = normalise(making, err);
	}
	if (status != 0) {
		return status;
	}
	parts_of(making, &parts);
	candidate->schema = find_known(making->registry, &parts);
	candidate->is_known = candidate->schema != NULL;
	if (candidate->is_known) {
		return 0;
	}
	struct buf copy = BUF_INIT;
	status = registry_parts_encode(&parts, &candidate->stored);
	if (status == 0 && candidate->stored.size > REGISTRY_SCHEMA_BYTES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"the schema takes %zu bytes, text, descriptors and references together; "
			"schema-bytes-max is %u",
			candidate->stored.size, REGISTRY_SCHEMA_BYTES_MAX);
	}
	if (status == 0) {
		status = buf_add(&copy, candidate->stored.data, candidate->stored.size);
	}
	if (status != 0) {
		buf_release(&copy);
		return error_fail(err, status, "no memory for a schema");
	}
	return registry_schema_new(making->registry->builtin,
		(uint32_t)making->registry->schema_count + 1, &copy, making->pool,
		&candidate->schema, err);
}

/* A text that is known needs no compiler. */
static bool is_known_text(struct making *making, struct registry_candidate *candidate)
{
	struct registry_parts parts;
	if (making->request->form != REGISTRY_FORM_TEXT) {
		return false;
	}
	parts_of(making, &parts);
	candidate->schema = find_known(making->registry, &parts);
	candidate->is_known = candidate->schema != NULL;
	return candidate->is_known;
}

int registry_candidate_make(struct registry *registry, struct registry_request *request,
	struct registry_candidate *ret, struct error *err)
{
	struct making making = {.registry = registry,
		.request = request,
		.snapshot = registry->current,
		.file = request->file};
	int status = 0;
	*ret = (struct registry_candidate){0};
	if (request->form == REGISTRY_FORM_TEXT && making.file.size == 0) {
		making.file = bytes_text(DEFAULT_FILE);
	}
	if (request->schema.size > DESCRIPTOR_SET_BYTES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"the schema has %zu bytes; the limit is %u", request->schema.size,
			DESCRIPTOR_SET_BYTES_MAX);
	}
	if (!is_known_text(&making, ret)) {
		status = add_imports(&making, err);
		status = status != 0 ? status : gather(&making, err);
		status = status != 0 ? status : link_schema(&making, ret, err);
	}
	descriptor_pool_unref(making.pool);
	buf_release(&making.file_copy);
	buf_release(&making.imports);
	buf_release(&making.set);
	if (status != 0) {
		registry_candidate_release(ret);
	}
	return status;
}

void registry_candidate_release(struct registry_candidate *candidate)
{
	if (!candidate->is_known) {
		registry_schema_free(candidate->schema);
	}
	buf_release(&candidate->stored);
	*candidate = (struct registry_candidate){0};
}
