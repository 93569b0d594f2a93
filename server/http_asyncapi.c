/*
 * GET /asyncapi.json: AsyncAPI 3.0 (asyncapi.com/docs/reference/specification/v3.0.0), made from
 * the topics and the latest versions in the schema registry. A topic is a channel; its messages are
 * the subjects that name it, "<topic>-value" and "<topic>-<type>", or any event when there are
 * none. The messages of all subjects are under components.
 */
#include "http_json.h"
#include "http_schemas.h"
#include <annals/build.h>
#include <annals/jsonschema.h>
#include <stdio.h>
#include <stdlib.h>

#define DOCUMENT_BYTES_MAX (8u << 20)
#define KEY_BYTES_MAX (DESCRIPTOR_NAME_BYTES_MAX + 16u)

/* "quake.Event-2": letters, digits, '.', '_', '-' as names of components must be. */
static void message_key(char out[KEY_BYTES_MAX], const struct registry_version *version)
{
	(void)snprintf(
		out, KEY_BYTES_MAX, "%s-%u", version->message->full_name, version->schema->id);
}

static void write_ref(struct json_writer *writer, const char *where, const char *name)
{
	char text[KEY_BYTES_MAX + 64 + TOPIC_NAME_MAX];
	(void)snprintf(text, sizeof(text), "#/%s/%s", where, name);
	json_begin_object(writer);
	json_member_cstring(writer, "$ref", text);
	json_end_object(writer);
}

/* The first subject, in the order of names, that is not below "<topic>-". */
static size_t first_subject(const struct registry_snapshot *now, struct bytes prefix)
{
	size_t low = 0;
	size_t high = now->subject_count;
	while (low < high) {
		const size_t middle = (low + high) / 2;
		const struct bytes name = now->subjects[middle]->name;
		const int order =
			memcmp(name.data, prefix.data, ANNALS_MIN(name.size, prefix.size));
		if (order < 0 || (order == 0 && name.size < prefix.size)) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

/* Is this subject, whose name begins with the prefix, one of the topic's? */
static bool is_about(const struct registry_subject *subject, size_t prefix_size)
{
	const struct bytes rest =
		bytes_of(subject->name.data + prefix_size, subject->name.size - prefix_size);
	return subject->latest != NULL && subject->latest->message != NULL &&
	       (bytes_is(rest, "value") || bytes_is(rest, subject->latest->message->full_name));
}

static void write_channel(
	struct json_writer *writer, const struct registry_snapshot *now, const struct topic *topic)
{
	char key[KEY_BYTES_MAX], text[TOPIC_NAME_MAX + 8];
	size_t count = 0;
	(void)snprintf(text, sizeof(text), "%s-value", topic->name);
	const struct registry_subject *value = registry_subject(now, bytes_text(text));
	const struct bytes prefix = bytes_of(text, strlen(topic->name) + 1);
	json_name(writer, topic->name);
	json_begin_object(writer);
	json_member_cstring(writer, "address", topic->name);
	json_name(writer, "messages");
	json_begin_object(writer);
	for (size_t i = first_subject(now, prefix); i < now->subject_count; i++) {
		const struct bytes name = now->subjects[i]->name;
		if (name.size < prefix.size ||
			!bytes_equal(bytes_of(name.data, prefix.size), prefix)) {
			break;
		}
		if (!is_about(now->subjects[i], prefix.size)) {
			continue;
		}
		/* Both subjects of a topic may mean the same message. */
		const struct registry_version *latest = now->subjects[i]->latest;
		if (now->subjects[i] != value && value != NULL && value->latest != NULL &&
			value->latest->schema == latest->schema &&
			value->latest->message == latest->message) {
			continue;
		}
		message_key(key, latest);
		json_name(writer, key);
		write_ref(writer, "components/messages", key);
		count++;
	}
	if (count == 0) {
		json_name(writer, "event");
		write_ref(writer, "components/messages", "event");
	}
	json_end_object(writer);
	json_end_object(writer);
}

static void write_operation(struct json_writer *writer, const struct topic *topic, const char *verb,
	const char *action, const char *method)
{
	char name[TOPIC_NAME_MAX + 16];
	(void)snprintf(name, sizeof(name), "%s.%s", verb, topic->name);
	json_name(writer, name);
	json_begin_object(writer);
	json_member_cstring(writer, "action", action);
	json_name(writer, "channel");
	write_ref(writer, "channels", topic->name);
	json_name(writer, "bindings");
	json_begin_object(writer);
	json_name(writer, "http");
	json_begin_object(writer);
	json_member_cstring(writer, "method", method);
	json_end_object(writer);
	json_end_object(writer);
	json_end_object(writer);
}

static int write_topics(
	struct json_writer *writer, struct store *store, const struct registry_snapshot *now)
{
	struct topic **topics;
	size_t count;
	const int status = store_topic_list(store, &topics, &count);
	if (status != 0) {
		return status;
	}
	json_name(writer, "channels");
	json_begin_object(writer);
	for (size_t i = 0; i < count; i++) {
		write_channel(writer, now, topics[i]);
	}
	json_end_object(writer);
	json_name(writer, "operations");
	json_begin_object(writer);
	for (size_t i = 0; i < count; i++) {
		write_operation(writer, topics[i], "append", "receive", "POST");
		write_operation(writer, topics[i], "read", "send", "GET");
		topic_unref(topics[i]);
	}
	json_end_object(writer);
	free(topics);
	return 0;
}

/* ---- Components ---- */

/* The versions to describe: the latest ones, each schema and message once. */
static size_t choose(
	const struct registry_snapshot *now, const struct registry_version **ret_versions)
{
	size_t count = 0;
	for (size_t i = 0; i < now->subject_count; i++) {
		const struct registry_version *latest = now->subjects[i]->latest;
		if (latest != NULL && latest->message != NULL) {
			ret_versions[count++] = latest;
		}
	}
	return count;
}

static int compare(const void *left, const void *right)
{
	const struct registry_version *a = *(const struct registry_version *const *)left;
	const struct registry_version *b = *(const struct registry_version *const *)right;
	if (a->schema->id != b->schema->id) {
		return a->schema->id < b->schema->id ? -1 : 1;
	}
	return strcmp(a->message->full_name, b->message->full_name);
}

static void write_message(struct json_writer *writer, const struct registry_version *version)
{
	char key[KEY_BYTES_MAX];
	message_key(key, version);
	json_name(writer, key);
	json_begin_object(writer);
	json_member_cstring(writer, "name", version->message->full_name);
	json_member_cstring(writer, "contentType", "application/json");
	json_name(writer, "payload");
	write_ref(writer, "components/schemas", key);
	json_member_u64(writer, "x-schema-id", version->schema->id);
	json_end_object(writer);
}

/* The message's JSON, with the definitions it needs inside. */
static int write_payload(
	struct json_writer *writer, const struct registry_version *version, struct error *err)
{
	char key[KEY_BYTES_MAX], prefix[KEY_BYTES_MAX + 64];
	message_key(key, version);
	(void)snprintf(prefix, sizeof(prefix), "#/components/schemas/%s/definitions/", key);
	json_name(writer, key);
	json_begin_object(writer);
	json_name(writer, "allOf");
	json_begin_array(writer);
	char inner[KEY_BYTES_MAX + 64];
	(void)snprintf(inner, sizeof(inner), "components/schemas/%s/definitions", key);
	write_ref(writer, inner, version->message->full_name);
	json_end_array(writer);
	json_name(writer, "definitions");
	json_begin_object(writer);
	const size_t used = writer->out->size;
	const int status = used >= DOCUMENT_BYTES_MAX
				   ? ANNALS_E_TOO_LARGE
				   : jsonschema_write_definitions(writer, &version->message, 1,
					     prefix, DOCUMENT_BYTES_MAX - used, err);
	json_end_object(writer);
	json_end_object(writer);
	return status;
}

static void write_any_event(struct json_writer *writer)
{
	json_name(writer, "event");
	json_begin_object(writer);
	json_member_cstring(writer, "name", "event");
	json_member_cstring(writer, "title", "any CloudEvent");
	json_member_cstring(writer, "contentType", "application/cloudevents+json");
	json_end_object(writer);
}

static int write_components(
	struct json_writer *writer, const struct registry_snapshot *now, struct error *err)
{
	const struct registry_version **versions =
		calloc(now->subject_count + 1, sizeof(const struct registry_version *));
	int status = 0;
	if (versions == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	const size_t count = choose(now, versions);
	qsort(versions, count, sizeof(versions[0]), compare);
	json_name(writer, "components");
	json_begin_object(writer);
	json_name(writer, "messages");
	json_begin_object(writer);
	write_any_event(writer);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || compare(&versions[i - 1], &versions[i]) != 0) {
			write_message(writer, versions[i]);
		}
	}
	json_end_object(writer);
	json_name(writer, "schemas");
	json_begin_object(writer);
	for (size_t i = 0; i < count && status == 0; i++) {
		if (i == 0 || compare(&versions[i - 1], &versions[i]) != 0) {
			status = write_payload(writer, versions[i], err);
		}
	}
	json_end_object(writer);
	json_end_object(writer);
	free(versions);
	return status;
}

void http_get_asyncapi(struct http_request *request)
{
	const struct registry_snapshot *now = http_schemas_now(request);
	struct error err = {0};
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "asyncapi", "3.0.0");
	json_name(&writer, "info");
	json_begin_object(&writer);
	json_member_cstring(&writer, "title", "Annals");
	json_member_cstring(&writer, "version", ANNALS_VERSION);
	json_end_object(&writer);
	json_member_cstring(&writer, "defaultContentType", "application/cloudevents+json");
	int status = write_topics(&writer, http_loop(request)->store, now);
	if (status == 0) {
		status = write_components(&writer, now, &err);
	}
	json_end_object(&writer);
	if (status != 0) {
		buf_release(&body);
		http_problem(request, status, err.text, NULL);
		return;
	}
	http_json_send(request, 200, &writer);
}
