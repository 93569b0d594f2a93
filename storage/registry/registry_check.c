/* A candidate against versions and against declared readers. */
#include "registry_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define READER_PATH_MAX 32u /* fields in one declared path */

int registry_problem_add(struct registry_request *request, const struct registry_problem *problem)
{
	const size_t size = problem->path.size + problem->sentence.size + problem->group.size;
	if (request->problem_count == REGISTRY_PROBLEMS_MAX) {
		request->problems_truncated = true;
		return 0;
	}
	if ((request->problem_count & (request->problem_count - 1)) == 0) {
		const size_t capacity =
			request->problem_count == 0 ? 1 : 2 * request->problem_count;
		struct registry_problem *larger =
			realloc(request->problems, capacity * sizeof(*larger));
		if (larger == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		request->problems = larger;
	}
	uint8_t *memory = malloc(size + 1);
	if (memory == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	struct registry_problem *copy = &request->problems[request->problem_count++];
	*copy = *problem;
	copy->memory = memory;
	copy->path.data = memory;
	if (problem->path.size > 0) {
		memcpy(memory, problem->path.data, problem->path.size);
	}
	memory += problem->path.size;
	copy->sentence.data = memory;
	if (problem->sentence.size > 0) {
		memcpy(memory, problem->sentence.data, problem->sentence.size);
	}
	memory += problem->sentence.size;
	copy->group.data = memory;
	if (problem->group.size > 0) {
		memcpy(memory, problem->group.data, problem->group.size);
	}
	return 0;
}

/* ---- Versions ---- */

/* A subject that names its message is about that one, any other about the whole file. */
static int compare(struct bytes subject, const struct registry_schema *old_schema,
	const struct registry_schema *new_schema, struct compat_report *ret, struct error *err)
{
	const struct descriptor_message *old_type = registry_named_message(old_schema, subject);
	const struct descriptor_message *new_type = registry_named_message(new_schema, subject);
	return old_type != NULL && new_type != NULL
		       ? compat_compare_messages(old_type, new_type, ret, err)
		       : compat_compare_files(old_schema->file, new_schema->file, ret, err);
}

/* Adds those findings that break one of the modes, or all others. */
static int add_findings(struct registry_request *request, const struct compat_report *report,
	uint32_t version, unsigned modes, bool breaking)
{
	int status = 0;
	for (size_t i = 0; i < report->count && status == 0; i++) {
		const struct compat_finding *finding = &report->findings[i];
		if (((finding->breaks & modes) != 0) != breaking) {
			continue;
		}
		const struct registry_problem problem = {.kind = REGISTRY_PROBLEM_RULE,
			.version = version,
			.rule = compat_rule_name(finding->rule),
			.breaks = finding->breaks,
			.path = bytes_text(finding->path),
			.sentence = bytes_text(finding->sentence)};
		status = registry_problem_add(request, &problem);
	}
	request->problems_truncated |= report->truncated;
	return status;
}

static int check_version(const struct registry_version *version, unsigned modes,
	const struct registry_schema *candidate, struct registry_request *request,
	struct error *err)
{
	struct compat_report report = {0};
	int status = compare(request->subject, version->schema, candidate, &report, err);
	if (status == 0) {
		request->is_compatible &= (report.breaks & modes) == 0;
		status = add_findings(request, &report, version->version, modes, true);
	}
	compat_report_release(&report);
	return status;
}

/* What differs from the newest version and breaks nothing that matters here. */
static int add_remarks(const struct registry_version *version, unsigned modes,
	const struct registry_schema *candidate, struct registry_request *request,
	struct error *err)
{
	struct compat_report report = {0};
	int status = compare(request->subject, version->schema, candidate, &report, err);
	if (status == 0) {
		status = add_findings(request, &report, version->version, modes, false);
	}
	compat_report_release(&report);
	return status;
}

static int check_versions(const struct registry_subject *subject, unsigned modes, bool all,
	const struct registry_schema *candidate, struct registry_request *request,
	struct error *err)
{
	int status = 0;
	const struct registry_version *last = subject->latest;
	if (request->operation == REGISTRY_CHECK && request->version != 0) {
		last = registry_version(subject, request->version);
		if (last == NULL || last->state != REGISTRY_VERSION_LIVE) {
			return error_fail(err, ANNALS_E_UNKNOWN_SCHEMA,
				"the subject has no version %u", request->version);
		}
		all = false;
	}
	if (last == NULL) {
		return 0;
	}
	for (size_t i = subject->version_count; i-- > 0 && status == 0;) {
		const struct registry_version *version = &subject->versions[i];
		if (version->state == REGISTRY_VERSION_LIVE && (all || version == last)) {
			status = check_version(version, modes, candidate, request, err);
		}
	}
	return status != 0 ? status : add_remarks(last, modes, candidate, request, err);
}

/* ---- Readers ---- */

/* The fields that a declared path goes through; 0 when the message has no such path. */
static size_t resolve(const struct descriptor_message *message, struct bytes path,
	const struct descriptor_field **ret_fields)
{
	size_t count = 0;
	while (message != NULL && count < READER_PATH_MAX) {
		const uint8_t *dot = path.size > 0 ? memchr(path.data, '.', path.size) : NULL;
		const size_t size = dot != NULL ? (size_t)(dot - path.data) : path.size;
		const struct bytes name = bytes_of(path.data, size);
		const struct descriptor_field *field = descriptor_field_by_name(message, name);
		if (field == NULL) {
			field = descriptor_field_by_json_name(message, name);
		}
		if (field == NULL) {
			return 0;
		}
		ret_fields[count++] = field;
		if (dot == NULL) {
			return count;
		}
		path = bytes_of(dot + 1, path.size - size - 1);
		message = field->map ? field->message->fields[1].message : field->message;
	}
	return 0;
}

/* The first field of the path that the message has not; NULL when it has all, by number. */
static const struct descriptor_field *missing(const struct descriptor_message *message,
	const struct descriptor_field *const *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct descriptor_field *field =
			message == NULL ? NULL
					: descriptor_field_by_number(message, fields[i]->number);
		if (field == NULL) {
			return fields[i];
		}
		message = field->map ? field->message->fields[1].message : field->message;
	}
	return NULL;
}

static bool concerns(const struct compat_finding *finding,
	const struct descriptor_field *const *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(finding->path, fields[i]->full_name) == 0 ||
			(fields[i]->enumeration != NULL &&
				strcmp(finding->path, fields[i]->enumeration->full_name) == 0)) {
			return true;
		}
	}
	return false;
}

struct reading {
	const struct registry_reader *reader;
	struct registry_request *request;
	const struct compat_report *report;
	uint32_t version;
	bool is_broken;
};

static int add_reader_problem(struct reading *reading, const char *rule, unsigned breaks,
	const char *path, const char *sentence)
{
	const struct registry_problem problem = {.kind = REGISTRY_PROBLEM_READER,
		.version = reading->version,
		.rule = rule,
		.breaks = breaks,
		.path = bytes_text(path),
		.sentence = bytes_text(sentence),
		.group = reading->reader->group};
	reading->is_broken = true;
	return registry_problem_add(reading->request, &problem);
}

/* fields NULL: the reader reads all of it. */
static int check_fields(
	struct reading *reading, const struct descriptor_field *const *fields, size_t count)
{
	int status = 0;
	for (size_t i = 0; i < reading->report->count && status == 0; i++) {
		const struct compat_finding *finding = &reading->report->findings[i];
		if ((finding->breaks & COMPAT_FORWARD) != 0 &&
			(fields == NULL || concerns(finding, fields, count))) {
			status = add_reader_problem(reading, compat_rule_name(finding->rule),
				finding->breaks, finding->path, finding->sentence);
		}
	}
	return status;
}

static int check_field_path(struct reading *reading, const struct descriptor_message *old_type,
	const struct descriptor_message *new_type, struct bytes path)
{
	const struct descriptor_field *fields[READER_PATH_MAX];
	const size_t count = resolve(old_type, path, fields);
	char sentence[160];
	if (count == 0) {
		return 0;
	}
	const struct descriptor_field *gone = missing(new_type, fields, count);
	if (gone != NULL) {
		(void)snprintf(sentence, sizeof(sentence), "the field %u, which is read, is gone",
			gone->number);
		return add_reader_problem(reading, compat_rule_name(COMPAT_FIELD_REMOVED),
			COMPAT_FORWARD, gone->full_name, sentence);
	}
	return check_fields(reading, fields, count);
}

static int check_reader(const struct registry_subject *subject,
	const struct registry_reader *reader, const struct registry_schema *candidate,
	struct registry_request *request, struct error *err)
{
	const struct registry_version *version = registry_version(subject, reader->version);
	const struct descriptor_message *new_type = registry_main_message(candidate, subject->name);
	struct compat_report report = {0};
	struct reading reading = {.reader = reader, .request = request, .report = &report};
	if (version == NULL || version->message == NULL) {
		return 0;
	}
	reading.version = version->version;
	if (new_type == NULL) {
		request->broken_readers++;
		return add_reader_problem(&reading, compat_rule_name(COMPAT_MESSAGE_REMOVED),
			COMPAT_FULL, version->message->full_name, "the message is gone");
	}
	int status = compat_compare_messages(version->message, new_type, &report, err);
	if (status == 0 && reader->field_count == 0) {
		status = check_fields(&reading, NULL, 0);
	}
	for (size_t i = 0; i < reader->field_count && status == 0; i++) {
		status = check_field_path(&reading, version->message, new_type, reader->fields[i]);
	}
	compat_report_release(&report);
	request->broken_readers += reading.is_broken;
	return status;
}

int registry_check(const struct registry_snapshot *snapshot, const struct registry_subject *subject,
	const struct registry_schema *candidate, struct registry_request *request,
	struct error *err)
{
	enum registry_level level = registry_level(snapshot, subject);
	int status = 0;
	if (request->operation == REGISTRY_CHECK && request->level != REGISTRY_LEVEL_INHERITED) {
		level = request->level;
	}
	request->is_compatible = true;
	request->broken_readers = 0;
	request->result_level = level;
	if (subject == NULL) {
		return 0;
	}
	status = check_versions(subject, registry_level_modes(level),
		registry_level_is_transitive(level), candidate, request, err);
	for (size_t i = 0; i < subject->reader_count && status == 0; i++) {
		status = check_reader(subject, &subject->readers[i], candidate, request, err);
	}
	return status;
}
