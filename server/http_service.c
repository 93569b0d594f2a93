/* What a server says about itself: the service document, health, metrics. */
#include "health.h"
#include "http_json.h"
#include "metrics.h"
#include "proto_http.h"
#include <annals/build.h>
#include <stdio.h>

static void write_limits(struct json_writer *writer, const struct options *options)
{
	size_t count;
	const struct option_def *defs = option_defs(&count);
	json_name(writer, "limits");
	json_begin_object(writer);
	for (size_t i = 0; i < count; i++) {
		if (!defs[i].is_limit) {
			continue;
		}
		const uint64_t value = option_number(options, &defs[i]);
		if (defs[i].type == OPTION_DURATION) {
			char name[80];
			snprintf(name, sizeof(name), "%s-ms", defs[i].name);
			json_member_u64(writer, name, value / 1000);
		} else {
			json_member_u64(writer, defs[i].name, value);
		}
	}
	json_end_object(writer);
}

static void write_links(struct json_writer *writer)
{
	static const struct {
		const char *name, *path;
	} links[] = {{"topics", "/v1/topics"}, {"groups", "/v1/groups"},
		{"webhooks", "/v1/webhooks"}, {"schemas", "/v1/schemas"}, {"live", "/livez"},
		{"ready", "/readyz"}, {"metrics", "/metrics"}, {"openapi", "/openapi.json"},
		{"asyncapi", "/asyncapi.json"}};
	json_name(writer, "links");
	json_begin_object(writer);
	for (size_t i = 0; i < ANNALS_COUNT_OF(links); i++) {
		json_member_cstring(writer, links[i].name, links[i].path);
	}
	json_end_object(writer);
}

void http_get_service(struct http_request *request)
{
	const struct loop *loop = http_loop(request);
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "name", "annals");
	json_member_cstring(&writer, "version", ANNALS_VERSION);
	json_member_cstring(&writer, "store", loop->server->uuid);
	http_json_time(&writer, "started", loop->server->started_us);
	json_name(&writer, "protocols");
	json_begin_object(&writer);
	json_member_u64(&writer, "http", loop->server->http_port);
	json_member_u64(&writer, "binary", loop->server->binary_port);
	json_end_object(&writer);
	json_name(&writer, "durability");
	json_begin_array(&writer);
	json_write_text(&writer, bytes_text("fsync"));
	json_write_text(&writer, bytes_text("os"));
	json_end_array(&writer);
	write_limits(&writer, loop->options);
	write_links(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

static void send_text(
	struct http_request *request, int http_status, const char *type, struct buf *body)
{
	http_begin(request, http_status, type);
	http_header(request, "Cache-Control", "no-store");
	http_send(request, body);
}

void http_get_live(struct http_request *request)
{
	struct buf body = BUF_INIT;
	if (buf_add_text(&body, "ok\n") != 0) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	send_text(request, 200, "text/plain; charset=utf-8", &body);
}

void http_get_ready(struct http_request *request)
{
	struct bytes verbose, exclude;
	struct buf body = BUF_INIT;
	struct buf name = BUF_INIT;
	if (!http_param(request, "verbose", &verbose) ||
		!http_param(request, "exclude", &exclude)) {
		return;
	}
	const bool excludes = exclude.size > 0 && buf_add(&name, exclude.data, exclude.size) == 0;
	const bool ready = health_ready(http_loop(request)->server,
		excludes ? buf_text(&name) : NULL, verbose.data != NULL ? &body : NULL);
	buf_release(&name);
	if (buf_add_text(&body, ready ? "ok\n" : "not ready\n") != 0) {
		buf_release(&body);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	send_text(request, ready ? 200 : 503, "text/plain; charset=utf-8", &body);
}

void http_get_metrics(struct http_request *request)
{
	struct buf body = BUF_INIT;
	if (metrics_write(http_loop(request)->server, &body) != 0) {
		buf_release(&body);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	send_text(request, 200, METRICS_CONTENT_TYPE, &body);
}
