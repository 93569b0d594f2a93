/* GET /openapi.json: OpenAPI 3.1, made from the route table so that no route can be missing.
 * docs/http.md has the details. */
#include "http_json.h"
#include "http_text.h"
#include "proto_http.h"
#include <annals/build.h>
#include <ctype.h>

/* Answers with events: their data can be shown as JSON. */
static bool shows_events(const struct http_route *route)
{
	static const char *const reads[] = {
		"/events", "/events/{offset}", "/query", "/poll", "/parked"};
	const size_t size = strlen(route->path);
	const bool posts = strcmp(route->method, "POST") == 0;
	if ((!posts && strcmp(route->method, "GET") != 0) ||
		strncmp(route->path, "/v1/groups/{group}/events/", 26) == 0) {
		return false;
	}
	for (size_t i = posts ? 2 : 0; i < ANNALS_COUNT_OF(reads); i++) {
		const size_t end = strlen(reads[i]);
		if (size > end && strcmp(route->path + size - end, reads[i]) == 0) {
			return true;
		}
	}
	return false;
}

static void write_data_parameters(struct json_writer *writer)
{
	json_begin_object(writer);
	json_member_cstring(writer, "name", "data");
	json_member_cstring(writer, "in", "query");
	json_member_cstring(writer, "description",
		"json: protobuf data as JSON, by the schema of the event's type");
	json_name(writer, "schema");
	json_begin_object(writer);
	json_name(writer, "enum");
	json_begin_array(writer);
	json_write_text(writer, bytes_text("stored"));
	json_write_text(writer, bytes_text("json"));
	json_end_array(writer);
	json_member_cstring(writer, "default", "stored");
	json_end_object(writer);
	json_end_object(writer);
	json_begin_object(writer);
	json_member_cstring(writer, "name", "schemaVersion");
	json_member_cstring(writer, "in", "query");
	json_member_cstring(writer, "description",
		"with data=json: the version of the type's schema to show events as");
	json_name(writer, "schema");
	json_begin_object(writer);
	json_member_cstring(writer, "type", "integer");
	json_member_u64(writer, "minimum", 0);
	json_member_u64(writer, "maximum", UINT32_MAX);
	json_end_object(writer);
	json_end_object(writer);
}

static void write_parameters(struct json_writer *writer, const struct http_route *route)
{
	const char *path = route->path;
	size_t cursor = 0;
	struct bytes segment;
	json_name(writer, "parameters");
	json_begin_array(writer);
	while (http_path_next(bytes_text(path), &cursor, &segment) == 1) {
		if (segment.size < 2 || segment.data[0] != '{') {
			continue;
		}
		const struct bytes name = bytes_of(segment.data + 1, segment.size - 2);
		const bool number = bytes_is(name, "partition") || bytes_is(name, "offset") ||
				    bytes_is(name, "id");
		json_begin_object(writer);
		json_member_text(writer, "name", name);
		json_member_cstring(writer, "in", "path");
		json_member_bool(writer, "required", true);
		json_name(writer, "schema");
		json_begin_object(writer);
		json_member_cstring(writer, "type", number ? "integer" : "string");
		json_end_object(writer);
		json_end_object(writer);
	}
	if (shows_events(route)) {
		write_data_parameters(writer);
	}
	json_end_array(writer);
}

static void write_content(struct json_writer *writer, const char *const *types, size_t count)
{
	json_name(writer, "content");
	json_begin_object(writer);
	for (size_t i = 0; i < count; i++) {
		json_name(writer, types[i]);
		json_begin_object(writer);
		json_end_object(writer);
	}
	json_end_object(writer);
}

static void write_body(struct json_writer *writer, enum http_body_use body, const char *path)
{
	static const char *const json[] = {"application/json"};
	static const char *const events[] = {"application/cloudevents+json",
		"application/cloudevents-batch+json", "application/x-ndjson",
		"application/x-protobuf", "*/*"};
	static const char *const schemas[] = {
		"text/plain", "application/x-protobuf", "application/json"};
	static const char *const confluent[] = {
		"application/vnd.schemaregistry.v1+json", "application/json"};
	if (body == HTTP_NO_BODY) {
		return;
	}
	json_name(writer, "requestBody");
	json_begin_object(writer);
	json_member_bool(writer, "required", true);
	if (strncmp(path, "/schema-registry", 16) == 0) {
		write_content(writer, confluent, ANNALS_COUNT_OF(confluent));
	} else if (strncmp(path, "/v1/schemas/", 12) == 0 && body == HTTP_OWN_BODY) {
		write_content(writer, schemas, ANNALS_COUNT_OF(schemas));
	} else if (body == HTTP_JSON_BODY) {
		write_content(writer, json, ANNALS_COUNT_OF(json));
	} else {
		write_content(writer, events, ANNALS_COUNT_OF(events));
	}
	json_end_object(writer);
}

static void write_operation(struct json_writer *writer, const struct http_route *route)
{
	static const char *const problem[] = {"application/problem+json"};
	char method[16] = "";
	for (size_t i = 0; i + 1 < sizeof(method) && route->method[i] != 0; i++) {
		method[i] = (char)tolower((unsigned char)route->method[i]);
	}
	json_name(writer, method);
	json_begin_object(writer);
	json_member_cstring(writer, "summary", route->summary);
	write_parameters(writer, route);
	write_body(writer, route->body, route->path);
	json_name(writer, "responses");
	json_begin_object(writer);
	json_name(writer, "2XX");
	json_begin_object(writer);
	json_member_cstring(writer, "description", "done");
	json_end_object(writer);
	json_name(writer, "default");
	json_begin_object(writer);
	json_member_cstring(writer, "description", "a problem document (RFC 9457)");
	write_content(writer, problem, 1);
	json_end_object(writer);
	json_end_object(writer);
	json_end_object(writer);
}

void http_get_openapi(struct http_request *request)
{
	size_t count;
	const struct http_route *routes = http_routes(&count);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "openapi", "3.1.0");
	json_name(&writer, "info");
	json_begin_object(&writer);
	json_member_cstring(&writer, "title", "Annals");
	json_member_cstring(&writer, "version", ANNALS_VERSION);
	json_end_object(&writer);
	json_name(&writer, "paths");
	json_begin_object(&writer);
	/* Routes of one path stand together in the table. */
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || strcmp(routes[i].path, routes[i - 1].path) != 0) {
			json_name(&writer, routes[i].path);
			json_begin_object(&writer);
		}
		write_operation(&writer, &routes[i]);
		if (i + 1 == count || strcmp(routes[i].path, routes[i + 1].path) != 0) {
			json_end_object(&writer);
		}
	}
	json_end_object(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}
