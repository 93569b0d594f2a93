/* A candidate against the events that are stored. */
#include "registry_internal.h"

#include <annals/batch.h>
#include <annals/validate.h>
#include <stdio.h>

#define PAGE_BYTES (1u << 20)

struct scanning {
	struct registry_request *request;
	const struct descriptor_message *message;
	struct bytes type;
	struct buf plain;
};

static int add_problem(
	struct scanning *scanning, const char *rule, uint64_t offset, const char *sentence)
{
	const struct registry_problem problem = {.kind = REGISTRY_PROBLEM_DATA,
		.rule = rule,
		.breaks = COMPAT_BACKWARD,
		.path = bytes_text(scanning->message->full_name),
		.sentence = bytes_text(sentence),
		.partition = scanning->request->partition,
		.offset = offset};
	return registry_problem_add(scanning->request, &problem);
}

/* Events of other types, and those that say they are JSON or text, are passed over. */
static bool is_meant(const struct scanning *scanning, const struct record *record)
{
	const struct bytes type = record->datacontenttype;
	return bytes_equal(record->type, scanning->type) &&
	       (type.size == 0 || memmem(type.data, type.size, "proto", 5) != NULL ||
		       bytes_is(type, "application/octet-stream"));
}

static int check_event(struct scanning *scanning, const struct record *record, uint64_t offset)
{
	struct validate_result result = {0};
	struct error error = {0};
	char sentence[100];
	if (!is_meant(scanning, record)) {
		return 0;
	}
	scanning->request->events_read++;
	if (validate_message(scanning->message, record->data, NULL, &result, &error) != 0) {
		scanning->request->events_failed++;
		return add_problem(scanning, "fails", offset, error.text);
	}
	if (result.unknown_fields == 0 && result.unknown_enums == 0) {
		return 0;
	}
	scanning->request->events_losing++;
	(void)snprintf(sentence, sizeof(sentence),
		"%u fields and %u enum values are not in the schema", result.unknown_fields,
		result.unknown_enums);
	return add_problem(scanning, "loses-fields", offset, sentence);
}

static int check_batch(struct scanning *scanning, const struct batch *batch)
{
	struct registry_request *request = scanning->request;
	struct bytes body, event;
	size_t cursor = 0;
	uint64_t offset = batch->stamp.base_offset;
	int more;
	buf_reset(&scanning->plain);
	int status = batch_plain_body(batch, &scanning->plain, &body);
	while (status == 0 && (more = batch_next_event(body, &cursor, &event)) != 0) {
		struct record record;
		if (more < 0 || record_decode_trusted(event, &record) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		if (offset >= request->offset && request->events_max > 0) {
			request->events_max--;
			status = check_event(scanning, &record, offset);
			request->next_offset = offset + 1;
		}
		offset++;
	}
	return status;
}

static int check_page(struct scanning *scanning, struct bytes page)
{
	int status = 0;
	while (page.size > 0 && status == 0 && scanning->request->events_max > 0) {
		struct batch batch;
		if (batch_view(page, &batch) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		if (batch.stamp.kind == BATCH_DATA) {
			status = check_batch(scanning, &batch);
		}
		page = bytes_of(page.data + batch.stored.size, page.size - batch.stored.size);
	}
	return status;
}

int registry_check_data(struct registry *registry, const struct registry_schema *candidate,
	struct registry_request *request, struct error *err)
{
	struct scanning scanning = {
		.request = request, .message = registry_main_message(candidate, request->subject)};
	struct read_request read = {.base.operation = STORE_READ,
		.topic_id = request->topic_id,
		.partition = request->partition,
		.offset = request->offset,
		.bytes_max = PAGE_BYTES};
	int status = 0;
	if (scanning.message == NULL) {
		return error_fail(err, ANNALS_E_VALIDATION, "the schema has no message");
	}
	scanning.type = request->event_type.size > 0 ? request->event_type
						     : bytes_text(scanning.message->full_name);
	request->events_max = request->events_max == 0
				      ? REGISTRY_DATA_EVENTS_MAX
				      : ANNALS_MIN(request->events_max, REGISTRY_DATA_EVENTS_MAX);
	request->next_offset = request->offset;
	while (status == 0 && request->events_max > 0) {
		list_init(&read.base.node);
		buf_reset(&read.batches);
		(void)store_read(registry->store, &read.base, 0);
		request->end_offset = read.end_offset;
		status = read.base.status;
		if (status != 0) {
			(void)error_fail(err, status, "%s", read.base.error.text);
			break;
		}
		if (read.batches.size == 0) {
			break;
		}
		status = check_page(&scanning, buf_bytes(&read.batches));
		if (request->events_max > 0) {
			request->next_offset = read.next_offset;
		}
		read.offset = read.next_offset;
		if (status != 0) {
			(void)error_fail(err, status, "%s", annals_status_text(status));
		}
	}
	request->is_compatible = request->events_failed == 0 && request->events_losing == 0;
	buf_release(&read.batches);
	buf_release(&scanning.plain);
	return status;
}
