#include "http_confluent.h"
#include "http_schemas.h"
#include "http_text.h"
#include "http_webhooks.h"
#include "proto_http.h"
#include <annals/cloudevents.h>
#include <stdio.h>

#define TOPIC "/v1/topics/{topic}"
#define PARTITION TOPIC "/partitions/{partition}"
#define STREAM TOPIC "/streams/{key}"
#define GROUP "/v1/groups/{group}"
#define WEBHOOK "/v1/webhooks/{webhook}"
#define SCHEMA "/v1/schemas/{subject}"
#define REGISTRY "/schema-registry"
#define SUBJECT REGISTRY "/subjects/{subject}"

static const struct http_route routes[] = {
	{"GET", "/", HTTP_NO_BODY, http_get_service, "what this server is, its limits and links"},
	{"GET", "/livez", HTTP_NO_BODY, http_get_live, "the process is alive"},
	{"GET", "/healthz", HTTP_NO_BODY, http_get_live, "the process is alive"},
	{"GET", "/readyz", HTTP_NO_BODY, http_get_ready,
		"ready to take appends; ?verbose lists the checks, ?exclude= skips one"},
	{"GET", "/metrics", HTTP_NO_BODY, http_get_metrics,
		"metrics in the Prometheus text format"},
	{"GET", "/openapi.json", HTTP_NO_BODY, http_get_openapi, "this document"},
	{"GET", "/asyncapi.json", HTTP_NO_BODY, http_get_asyncapi,
		"topics and the messages of the schema registry as AsyncAPI 3.0"},
	{"GET", "/v1/topics", HTTP_NO_BODY, http_list_topics, "all topics; ?prefix="},
	{"GET", TOPIC, HTTP_NO_BODY, http_get_topic, "one topic with its partitions"},
	{"PUT", TOPIC, HTTP_JSON_BODY, http_put_topic,
		"create a topic, or find it as it was asked for"},
	{"PATCH", TOPIC, HTTP_JSON_BODY, http_patch_topic, "change the settings that are given"},
	{"DELETE", TOPIC, HTTP_NO_BODY, http_delete_topic,
		"delete a topic with its events and its groups' offsets"},
	{"GET", TOPIC "/events", HTTP_NO_BODY, http_get_events,
		"events of all partitions in the order of positions; live with Accept: "
		"text/event-stream"},
	{"POST", TOPIC "/events", HTTP_OWN_BODY, http_post_events,
		"append events; the key chooses the partition"},
	{"GET", STREAM, HTTP_NO_BODY, http_get_stream,
		"a stream as it is now: its newest and first kept version; ?key64= names any key"},
	{"POST", STREAM, HTTP_OWN_BODY, http_post_stream,
		"append to a stream; If-Match, If-None-Match: * or Annals-Expected-Version say "
		"what it must be"},
	{"GET", STREAM "/events", HTTP_NO_BODY, http_get_stream_events,
		"events of a stream from ?version=, with ?backwards=true from the newest"},
	{"GET", TOPIC "/query", HTTP_NO_BODY, http_get_query,
		"events with any ?type= and every ?tag=, by position, from ?after= on"},
	{"POST", TOPIC "/query", HTTP_JSON_BODY, http_post_query,
		"events that match any item of a query"},
	{"POST", "/v1/transactions", HTTP_OWN_BODY, http_post_transaction,
		"append events under conditions on streams and over a query, all or nothing"},
	{"GET", PARTITION "/events", HTTP_NO_BODY, http_get_partition_events,
		"events of a partition from an offset, with long poll; ?backwards=true newest "
		"first; filtered by ?type=, ?typePrefix=, ?subject=, ?key=, ?tag="},
	{"POST", PARTITION "/events", HTTP_OWN_BODY, http_post_partition_events,
		"append events to this partition"},
	{"GET", PARTITION "/events/{offset}", HTTP_NO_BODY, http_get_event, "one event"},
	{"GET", "/v1/groups", HTTP_NO_BODY, http_list_groups, "groups that have committed offsets"},
	{"PUT", GROUP, HTTP_JSON_BODY, http_put_group,
		"create a group, or change its settings; by event (a work queue) or by offset"},
	{"GET", GROUP, HTTP_NO_BODY, http_get_group, "a group's settings, lag and members"},
	{"DELETE", GROUP, HTTP_NO_BODY, http_delete_group,
		"forget a group with its offsets, leases and parked events"},
	{"POST", GROUP "/poll", HTTP_JSON_BODY, http_post_poll,
		"lease events of a group by event, with long poll"},
	{"POST", GROUP "/acknowledge", HTTP_JSON_BODY, http_post_acknowledge,
		"the events of these leases are handled"},
	{"POST", GROUP "/refuse", HTTP_JSON_BODY, http_post_refuse,
		"deliver the events of these leases again later, or park them"},
	{"POST", GROUP "/extend", HTTP_JSON_BODY, http_post_extend, "keep leases for longer"},
	{"POST", GROUP "/transactions", HTTP_JSON_BODY, http_post_group_transaction,
		"acknowledge, append and keep a checkpoint in one commit"},
	{"GET", GROUP "/checkpoints/{checkpoint}", HTTP_NO_BODY, http_get_checkpoint,
		"a checkpoint that a transaction kept"},
	{"POST", GROUP "/seek", HTTP_JSON_BODY, http_post_seek,
		"move a group to an offset or a time; ends its leases"},
	{"GET", GROUP "/parked", HTTP_NO_BODY, http_get_parked,
		"parked events with their reasons; ?topic=, ?after=, ?limit="},
	{"POST", GROUP "/parked/replay", HTTP_JSON_BODY, http_post_parked_replay,
		"deliver parked events again, with fresh attempts"},
	{"POST", GROUP "/parked/drop", HTTP_JSON_BODY, http_post_parked_drop,
		"give parked events up"},
	{"GET", GROUP "/events", HTTP_NO_BODY, http_get_group_events,
		"lease events of a group by event and have them pushed, with Accept: "
		"text/event-stream; ?member=, ?max=, ?leaseMs="},
	{"GET", GROUP "/events/{topic}/{partition}/{offset}", HTTP_NO_BODY, http_get_group_event,
		"what a group did with one event: every attempt"},
	{"POST", GROUP "/members", HTTP_JSON_BODY, http_post_members,
		"join a group by offset: partitions and a generation"},
	{"POST", GROUP "/members/{member}/heartbeat", HTTP_NO_BODY, http_post_heartbeat,
		"stay a member and learn what is assigned"},
	{"DELETE", GROUP "/members/{member}", HTTP_NO_BODY, http_delete_member,
		"leave; by event: give back the member's leases"},
	{"GET", GROUP "/offsets", HTTP_NO_BODY, http_get_offsets,
		"a group's committed offsets and lag"},
	{"PUT", GROUP "/offsets", HTTP_JSON_BODY, http_put_offsets, "commit offsets, all or none"},
	{"GET", GROUP "/offsets/{topic}/{partition}", HTTP_NO_BODY, http_get_offset,
		"one committed offset and its lag"},
	{"PUT", GROUP "/offsets/{topic}/{partition}", HTTP_JSON_BODY, http_put_offset,
		"commit one offset"},
	{"GET", "/v1/webhooks", HTTP_NO_BODY, http_list_webhooks,
		"all webhooks with their states, without their secrets; ?limit=, ?after="},
	{"PUT", WEBHOOK, HTTP_JSON_BODY, http_put_webhook,
		"create a webhook, or replace its settings: events are POSTed to its URL"},
	{"GET", WEBHOOK, HTTP_NO_BODY, http_get_webhook,
		"a webhook's settings, state and figures, without its secrets"},
	{"DELETE", WEBHOOK, HTTP_NO_BODY, http_delete_webhook,
		"delete a webhook and the group of its own"},
	{"POST", WEBHOOK "/resume", HTTP_NO_BODY, http_post_webhook_resume,
		"deliver again after the receiver was gone or the webhook paused; ask for consent "
		"at once"},
	{"POST", WEBHOOK "/test", HTTP_NO_BODY, http_post_webhook_test,
		"send the receiver an event of type annals.webhook.test and say what it answered"},
	{"POST", WEBHOOK "/pause", HTTP_NO_BODY, http_post_webhook_pause,
		"deliver nothing until it is resumed; its place is kept"},
	{"GET", "/v1/schemas", HTTP_NO_BODY, http_list_schemas,
		"all subjects of the schema registry; ?prefix=, ?deleted=true"},
	{"GET", SCHEMA, HTTP_NO_BODY, http_get_schema,
		"a subject's versions, settings and declared readers"},
	{"DELETE", SCHEMA, HTTP_NO_BODY, http_delete_schema,
		"delete all versions; then ?permanent=true"},
	{"POST", SCHEMA "/versions", HTTP_OWN_BODY, http_post_schema,
		"register a version: .proto text, a FileDescriptorSet, or JSON with either; "
		"?file=, "
		"?readers=refuse"},
	{"GET", SCHEMA "/versions/{version}", HTTP_NO_BODY, http_get_schema_version,
		"a version by its number, or latest; ?format=set, proto or jsonschema"},
	{"DELETE", SCHEMA "/versions/{version}", HTTP_NO_BODY, http_delete_schema_version,
		"delete a version; then ?permanent=true"},
	{"POST", SCHEMA "/check", HTTP_OWN_BODY, http_post_schema_check,
		"what registering would say: every difference and whom it breaks; ?level=, "
		"?version="},
	{"POST", SCHEMA "/check-data", HTTP_OWN_BODY, http_post_schema_check_data,
		"stored events that a schema, or ?version=, would fail on or lose fields of; "
		"?topic=, ?partition=, ?offset=, ?limit=, ?type="},
	{"GET", SCHEMA "/config", HTTP_NO_BODY, http_get_schema_config,
		"the compatibility level and mode in force for a subject"},
	{"PUT", SCHEMA "/config", HTTP_JSON_BODY, http_put_schema_config,
		"set a subject's compatibility level or mode"},
	{"PUT", SCHEMA "/readers/{group}", HTTP_JSON_BODY, http_put_schema_reader,
		"declare which version and fields a group reads"},
	{"DELETE", SCHEMA "/readers/{group}", HTTP_NO_BODY, http_delete_schema_reader,
		"take a declaration back"},
	{"GET", "/v1/schema-config", HTTP_NO_BODY, http_get_schema_config,
		"the compatibility level and mode of subjects without their own"},
	{"PUT", "/v1/schema-config", HTTP_JSON_BODY, http_put_schema_config,
		"set the level or mode of subjects without their own"},
	{"GET", "/v1/schema-ids/{id}", HTTP_NO_BODY, http_get_schema_id,
		"a schema by its id; ?format=set, proto or jsonschema"},
	{"GET", REGISTRY, HTTP_NO_BODY, confluent_get_root,
		"Confluent's interface of the schema registry: it is there"},
	{"GET", REGISTRY "/", HTTP_NO_BODY, confluent_get_root, "the same"},
	{"GET", REGISTRY "/subjects", HTTP_NO_BODY, confluent_get_subjects,
		"names of subjects; ?deleted=true, ?deletedOnly=true, ?subjectPrefix="},
	{"POST", SUBJECT, HTTP_OWN_BODY, confluent_post_subject,
		"the version that a schema is of a subject"},
	{"DELETE", SUBJECT, HTTP_NO_BODY, confluent_delete_subject,
		"delete a subject; then ?permanent=true"},
	{"GET", SUBJECT "/versions", HTTP_NO_BODY, confluent_get_versions, "numbers of versions"},
	{"POST", SUBJECT "/versions", HTTP_OWN_BODY, confluent_post_version,
		"register a schema: text, or a FileDescriptorProto as base64"},
	{"GET", SUBJECT "/versions/{version}", HTTP_NO_BODY, confluent_get_version,
		"a version; ?format=serialized"},
	{"DELETE", SUBJECT "/versions/{version}", HTTP_NO_BODY, confluent_delete_version,
		"delete a version; then ?permanent=true"},
	{"GET", SUBJECT "/versions/{version}/schema", HTTP_NO_BODY, confluent_get_version_schema,
		"the schema alone"},
	{"GET", SUBJECT "/versions/{version}/referencedby", HTTP_NO_BODY,
		confluent_get_referenced_by, "ids of schemas that refer to a version"},
	{"GET", REGISTRY "/schemas/types", HTTP_NO_BODY, confluent_get_types, "[\"PROTOBUF\"]"},
	{"GET", REGISTRY "/schemas/ids/{id}", HTTP_NO_BODY, confluent_get_id,
		"a schema by its id; ?format=serialized"},
	{"GET", REGISTRY "/schemas/ids/{id}/schema", HTTP_NO_BODY, confluent_get_id_schema,
		"the schema alone"},
	{"GET", REGISTRY "/schemas/ids/{id}/subjects", HTTP_NO_BODY, confluent_get_id_subjects,
		"subjects that have a schema"},
	{"GET", REGISTRY "/schemas/ids/{id}/versions", HTTP_NO_BODY, confluent_get_id_versions,
		"versions that are a schema"},
	{"POST", REGISTRY "/compatibility/subjects/{subject}/versions", HTTP_OWN_BODY,
		confluent_post_compatibility, "is a schema compatible by the level? ?verbose=true"},
	{"POST", REGISTRY "/compatibility/subjects/{subject}/versions/{version}", HTTP_OWN_BODY,
		confluent_post_compatibility,
		"is a schema compatible with this version? ?verbose=true"},
	{"GET", REGISTRY "/config", HTTP_NO_BODY, confluent_get_config,
		"the level of subjects without their own"},
	{"PUT", REGISTRY "/config", HTTP_JSON_BODY, confluent_put_config,
		"the level of subjects without their own"},
	{"DELETE", REGISTRY "/config", HTTP_NO_BODY, confluent_delete_config,
		"the level of subjects without their own"},
	{"GET", REGISTRY "/config/{subject}", HTTP_NO_BODY, confluent_get_config,
		"a subject's level; ?defaultToGlobal=true"},
	{"PUT", REGISTRY "/config/{subject}", HTTP_JSON_BODY, confluent_put_config,
		"a subject's level; ?defaultToGlobal=true"},
	{"DELETE", REGISTRY "/config/{subject}", HTTP_NO_BODY, confluent_delete_config,
		"a subject's level; ?defaultToGlobal=true"},
	{"GET", REGISTRY "/mode", HTTP_NO_BODY, confluent_get_mode,
		"the mode of subjects without their own"},
	{"PUT", REGISTRY "/mode", HTTP_JSON_BODY, confluent_put_mode,
		"the mode of subjects without their own"},
	{"DELETE", REGISTRY "/mode", HTTP_NO_BODY, confluent_delete_mode,
		"the mode of subjects without their own"},
	{"GET", REGISTRY "/mode/{subject}", HTTP_NO_BODY, confluent_get_mode,
		"a subject's mode; ?defaultToGlobal=true"},
	{"PUT", REGISTRY "/mode/{subject}", HTTP_JSON_BODY, confluent_put_mode,
		"a subject's mode; ?defaultToGlobal=true"},
	{"DELETE", REGISTRY "/mode/{subject}", HTTP_NO_BODY, confluent_delete_mode,
		"a subject's mode; ?defaultToGlobal=true"},
};

const struct http_route *http_routes(size_t *ret_count)
{
	*ret_count = ANNALS_COUNT_OF(routes);
	return routes;
}

/* Compares segment by segment; the raw segments that stand for braces go to params. */
static bool path_matches(struct bytes path, const char *pattern, struct bytes *params)
{
	const struct bytes wanted = bytes_text(pattern);
	size_t path_cursor = 0;
	size_t wanted_cursor = 0;
	unsigned count = 0;
	for (;;) {
		struct bytes have, want;
		const int more = http_path_next(path, &path_cursor, &have);
		if (more != http_path_next(wanted, &wanted_cursor, &want)) {
			return false;
		}
		if (more == 0) {
			return true;
		}
		if (want.size > 0 && want.data[0] == '{') {
			if (have.size == 0) {
				return false;
			}
			params[count++] = have;
		} else if (!bytes_equal(have, want)) {
			return false;
		}
	}
}

static bool decode_params(struct http_request *request, const struct bytes *raw)
{
	for (unsigned i = 0; i < HTTP_PARAMS_MAX && raw[i].data != NULL; i++) {
		const size_t start = request->texts.size;
		if (http_percent_decode(raw[i], &request->texts) != 0) {
			http_problem(request, ANNALS_E_MALFORMED,
				"the path holds an invalid percent-encoding", NULL);
			return false;
		}
		request->params[i] =
			bytes_of(request->texts.data + start, request->texts.size - start);
	}
	return true;
}

/* 405 and OPTIONS: which methods the path takes. */
static void send_allowed(struct http_request *request, const char *allowed)
{
	if (bytes_is(request->method, "OPTIONS")) {
		http_begin(request, 204, NULL);
		http_header(request, "Allow", "%s", allowed);
		http_send(request, NULL);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	char text[160];
	snprintf(text, sizeof(text), "this resource takes %s", allowed);
	http_problem_open(&writer, &body, ANNALS_E_METHOD_NOT_ALLOWED, text, NULL);
	json_end_object(&writer);
	counter_add(&http_loop(request)->counters.failures[-ANNALS_E_METHOD_NOT_ALLOWED], 1);
	http_begin(request, 405, "application/problem+json");
	http_header(request, "Allow", "%s", allowed);
	http_send(request, &body);
}

static void check_json_body(struct http_request *request)
{
	struct http_head head;
	http_head_again(request, &head);
	const struct bytes type = http_head_value(&head, "Content-Type");
	/* curl -d sends the form type unless told otherwise; a JSON text is recognised all the
	 * same. */
	if (type.size > 0 && !media_type_is_json(type) &&
		!media_type_is(type, "application/x-www-form-urlencoded")) {
		http_problem(request, ANNALS_E_UNSUPPORTED_MEDIA,
			"the content type of this request must be application/json", NULL);
		return;
	}
	http_collect(request, HTTP_JSON_BODY_BYTES_MAX, "json-body-bytes-max", request->route->run);
}

void http_dispatch(struct http_request *request)
{
	char allowed[64] = "";
	for (size_t i = 0; i < ANNALS_COUNT_OF(routes); i++) {
		struct bytes raw[HTTP_PARAMS_MAX] = {{NULL, 0}};
		if (!path_matches(request->path, routes[i].path, raw)) {
			continue;
		}
		const bool is_get = bytes_is(bytes_text(routes[i].method), "GET");
		if (!bytes_is(request->method, routes[i].method) &&
			!(is_get && request->head_only)) {
			const size_t used = strlen(allowed);
			snprintf(allowed + used, sizeof(allowed) - used, "%s%s%s",
				used > 0 ? ", " : "", routes[i].method, is_get ? ", HEAD" : "");
			continue;
		}
		request->route = &routes[i];
		if (!decode_params(request, raw)) {
			return;
		}
		if (routes[i].body == HTTP_JSON_BODY) {
			check_json_body(request);
		} else {
			routes[i].run(request);
		}
		return;
	}
	if (allowed[0] != 0) {
		send_allowed(request, allowed);
	} else {
		http_problem(request, ANNALS_E_NOT_FOUND, "there is no such resource", NULL);
	}
}
