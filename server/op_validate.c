#include "op_validate.h"

#include "server.h"
#include <annals/cloudevents.h>
#include <annals/extract_event.h>
#include <annals/validate.h>

/* Whole or not at all: a sentence must stay UTF-8. */
static struct bytes shown(struct bytes text)
{
	return text.size <= 80 ? text : bytes_text("...");
}

static int validate_event(
	const struct registry_snapshot *schemas, const struct record *record, struct error *err)
{
	const struct registry_version *version =
		registry_find(schemas, record->type, record->schema_version);
	const struct bytes type = shown(record->type), content = shown(record->datacontenttype);

	if (version == NULL && record->schema_version != 0) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"there is no version %u of a schema for the type '%.*s'",
			record->schema_version, (int)type.size, (const char *)type.data);
	}
	if (version == NULL) {
		return error_fail(err, ANNALS_E_VALIDATION,
			"there is no schema for the type '%.*s'", (int)type.size,
			type.size > 0 ? (const char *)type.data : "");
	}
	if (!record->has_data) {
		return 0;
	}
	if (!media_type_is_protobuf(record->datacontenttype)) {
		return error_fail(err, ANNALS_E_VALIDATION, "the data is '%.*s', not protobuf",
			(int)content.size, (const char *)content.data);
	}
	const int status = validate_message(version->message, record->data, NULL, NULL, err);
	return status == 0 && extract_wanted(version->message)
		       ? extract_event_check(version->message, record, err)
		       : status;
}

static void refuse(struct op_append *append, size_t part, uint32_t event, const struct error *why)
{
	append->refused_partition = append->request.parts[part].partition;
	append->refused_event = event;
	append->request.refusal = error_fail(&append->op.error, ANNALS_E_VALIDATION,
		"event %u of the batch for partition %u: %s", event, append->refused_partition,
		why->text);
	/* A sentence that was cut ends with a whole character. */
	char *text = append->op.error.text;
	size_t size = strlen(text);
	if (size + 1 == sizeof(append->op.error.text)) {
		while (size > 0 && (text[size - 1] & 0x80) != 0) {
			text[--size] = 0;
		}
	}
	append->request.refusal_text = text;
}

void op_validate_part(struct op_append *append, size_t part, struct bytes body)
{
	struct loop *loop = append->op.loop;
	const enum validation mode = append->op.topic->config.validation;
	const struct registry_snapshot *schemas =
		registry_view_get(loop->server->registry, &loop->schemas);
	struct bytes encoded;
	size_t cursor = 0;

	for (uint32_t i = 0; append->request.refusal == 0; i++) {
		struct record record;
		struct error why;
		if (batch_next_event(body, &cursor, &encoded) != 1 ||
			record_decode_trusted(encoded, &record) != 0) {
			break; /* the end: it was checked before */
		}
		why.text[0] = 0;
		if (validate_event(schemas, &record, &why) == 0) {
			continue;
		}
		counter_add(&loop->counters.invalid_events[mode == VALIDATION_ENFORCE], 1);
		if (mode == VALIDATION_ENFORCE) {
			refuse(append, part, i, &why);
		}
	}
}
