#include "http_text.h"
#include "proto_http.h"
#include <annals/clock.h>
#include <annals/parse.h>
#include <stdio.h>
#include <time.h>

static const char *reason_phrase(int http_status)
{
	static const struct {
		int status;
		const char *phrase;
	} phrases[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"},
		{304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"},
		{403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
		{406, "Not Acceptable"}, {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"},
		{412, "Precondition Failed"}, {413, "Content Too Large"}, {414, "URI Too Long"},
		{415, "Unsupported Media Type"}, {416, "Range Not Satisfiable"},
		{422, "Unprocessable Content"}, {428, "Precondition Required"},
		{429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"}, {501, "Not Implemented"},
		{503, "Service Unavailable"}, {507, "Insufficient Storage"}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(phrases); i++) {
		if (phrases[i].status == http_status) {
			return phrases[i].phrase;
		}
	}
	return "Unknown";
}

/* IMF-fixdate of RFC 9110, section 5.6.7: always in English. */
static void format_date(char out[32])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const time_t now = (time_t)(clock_wall_us() / 1000000);
	struct tm tm;
	gmtime_r(&now, &tm);
	snprintf(out, 32, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * (tm.tm_wday % 7),
		(unsigned)tm.tm_mday % 100, months + 3 * (tm.tm_mon % 12),
		((unsigned)tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
		(unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

void http_begin(struct http_request *request, int http_status, const char *content_type)
{
	char date[32];
	struct buf *out = &request->out;
	if (http_body_is_unwanted(request)) {
		request->close = true;
	}
	format_date(date);
	buf_reset(out);
	if (buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", http_status,
		    reason_phrase(http_status), date) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
		return;
	}
	if (content_type != NULL) {
		http_header(request, "Content-Type", "%s", content_type);
	}
	if (request->close) {
		http_header(request, "Connection", "close");
	} else if (request->http10) {
		http_header(request, "Connection", "keep-alive");
	}
	if (http_status >= 100 && http_status < 600) {
		counter_add(&http_loop(request)->counters.http_responses[http_status / 100], 1);
	}
}

void http_header(struct http_request *request, const char *name, const char *format, ...)
{
	struct buf *out = &request->out;
	va_list args;
	va_start(args, format);
	const bool failed = buf_printf(out, "%s: ", name) != 0 ||
			    buf_vprintf(out, format, args) != 0 || buf_add(out, "\r\n", 2) != 0;
	va_end(args);
	if (failed) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
}

static void send_head(struct http_request *request)
{
	if (buf_add(&request->out, "\r\n", 2) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
		return;
	}
	request->started = true;
	request_write(&request->base, request->out.data, request->out.size);
}

void http_send(struct http_request *request, struct buf *body)
{
	/* 204 and 304 have no body and no length (RFC 9110, section 8.6). */
	const bool no_body = body == NULL && request->out.size > 12 &&
			     (memcmp(request->out.data + 9, "204", 3) == 0 ||
				     memcmp(request->out.data + 9, "304", 3) == 0);
	if (!no_body) {
		http_header(request, "Content-Length", "%zu", body != NULL ? body->size : 0);
	}
	send_head(request);
	if (body != NULL) {
		if (!request->head_only && body->size > 0) {
			request_write_buf(&request->base, body);
		}
		buf_release(body);
	}
	http_end(request);
}

bool http_begin_stream(struct http_request *request)
{
	request->chunked = !request->http10;
	if (request->chunked) {
		http_header(request, "Transfer-Encoding", "chunked");
	} else {
		/* HTTP/1.0 knows the end of such an answer by the end of the connection. */
		request->close = true;
	}
	send_head(request);
	if (request->head_only) {
		http_end(request);
		return false;
	}
	return true;
}

void http_write(struct http_request *request, struct buf *data)
{
	if (data->size == 0) {
		return;
	}
	if (!request->chunked) {
		request_write_buf(&request->base, data);
		return;
	}
	char size_line[24];
	const int size = snprintf(size_line, sizeof(size_line), "%zx\r\n", data->size);
	request_write(&request->base, size_line, (size_t)size);
	request_write_buf(&request->base, data);
	request_write(&request->base, "\r\n", 2);
}

void http_finish(struct http_request *request)
{
	if (request->chunked) {
		request_write(&request->base, "0\r\n\r\n", 5);
	}
	http_end(request);
}

/* ---- Problems ---- */

void http_problem_open(struct json_writer *writer, struct buf *body, int status, const char *text,
	const struct op_detail *detail)
{
	http_problem_open_as(writer, body, status, annals_status_http(status), text, detail);
}

void http_problem_open_as(struct json_writer *writer, struct buf *body, int status, int http_status,
	const char *text, const struct op_detail *detail)
{
	char type[80];
	snprintf(type, sizeof(type), "urn:annals:problem:%s", annals_status_name(status));
	json_writer_init(writer, body);
	json_begin_object(writer);
	json_member_cstring(writer, "type", type);
	json_member_cstring(writer, "title", annals_status_text(status));
	json_member_u64(writer, "status", (uint64_t)http_status);
	json_member_cstring(
		writer, "detail", text != NULL && *text != 0 ? text : annals_status_text(status));
	if (detail == NULL) {
		return;
	}
	if (detail->topic[0] != 0) {
		json_member_cstring(writer, "topic", detail->topic);
	}
	if (detail->has_partition) {
		json_member_u64(writer, "partition", detail->partition);
	}
	if (detail->has_offset) {
		json_member_u64(writer, "offset", detail->offset);
	}
	if (detail->has_range) {
		json_member_u64(writer, "firstAvailable", detail->first_offset);
		json_member_u64(writer, "endOffset", detail->end_offset);
	}
	if (detail->has_conflict && detail->is_query) {
		json_member_u64(writer, "item", detail->condition_index);
		json_member_u64(writer, "position", detail->position);
	} else if (detail->has_conflict) {
		json_member_u64(writer, "condition", detail->condition_index);
		json_member_bool(writer, "streamExists", detail->stream_exists);
		if (detail->stream_exists) {
			json_member_u64(writer, "currentVersion", detail->version);
		}
	}
	if (detail->has_event_index) {
		json_member_u64(writer, "event", detail->event_index);
	}
	if (detail->limit_name != NULL) {
		json_member_cstring(writer, "limitName", detail->limit_name);
		json_member_u64(writer, "limit", detail->limit);
	}
	if (annals_status_retryable(status)) {
		json_member_u64(writer, "retryAfterMs", op_retry_after_ms(status));
	}
}

void http_problem_send(struct http_request *request, int status, struct buf *body)
{
	const uint64_t retry_after_ms = op_retry_after_ms(status);
	if (request->started) {
		buf_release(body);
		http_abort(request);
		return;
	}
	if (status < 0 && -status < COUNTERS_STATUSES) {
		counter_add(&http_loop(request)->counters.failures[-status], 1);
	}
	if (buf_add_byte(body, '\n') != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	http_begin(request,
		request->problem_http_status != 0 ? request->problem_http_status
						  : annals_status_http(status),
		"application/problem+json");
	if (retry_after_ms > 0) {
		http_header(request, "Retry-After", "%llu",
			(unsigned long long)(retry_after_ms + 999) / 1000);
	}
	http_send(request, body);
}

void http_problem(
	struct http_request *request, int status, const char *text, const struct op_detail *detail)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	http_problem_open(&writer, &body, status, text, detail);
	json_end_object(&writer);
	http_problem_send(request, status, &body);
}

size_t http_refusal(uint8_t *out, size_t room)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	int head, status = ANNALS_E_OVERLOADED;
	size_t size = 0;

	http_problem_open_as(&writer, &body, status, 503,
		"the server has as many connections as connections-max allows", NULL);
	json_end_object(&writer);
	head = snprintf((char *)out, room,
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
		"Content-Length: %zu\r\nRetry-After: %llu\r\nConnection: close\r\n\r\n",
		body.size, (unsigned long long)(op_retry_after_ms(status) + 999) / 1000);
	if (json_writer_status(&writer) == 0 && head > 0 && (size_t)head + body.size <= room) {
		memcpy(out + head, body.data, body.size);
		size = (size_t)head + body.size;
	}
	buf_release(&body);
	return size;
}

void http_op_problem(struct http_request *request, const struct op *op)
{
	/* The operation goes with the request: what is said comes first. */
	const struct error error = op->error;
	const struct op_detail detail = op->detail;
	http_problem(request, op->status, error.text, &detail);
}

/* ---- What routes ask of a request ---- */

bool http_param(struct http_request *request, const char *name, struct bytes *ret)
{
	struct error err = {0};
	struct bytes value = {NULL, 0};
	const int found = http_query_get(request->query, name, &request->texts, &value, &err);
	if (found < 0) {
		http_problem(request, found, err.text, NULL);
		return false;
	}
	*ret = found == 1 ? value : bytes_of(NULL, 0);
	return true;
}

bool http_param_u64(struct http_request *request, const char *name, uint64_t initial, uint64_t min,
	uint64_t max, uint64_t *ret)
{
	struct bytes text;
	uint64_t value = initial;
	if (!http_param(request, name, &text)) {
		return false;
	}
	if (text.data != NULL && (parse_u64(text, &value) != 0 || value < min || value > max)) {
		char problem[160];
		snprintf(problem, sizeof(problem), "parameter '%s' is no number from %llu to %llu",
			name, (unsigned long long)min, (unsigned long long)max);
		http_problem(request, ANNALS_E_INVALID, problem, NULL);
		return false;
	}
	*ret = value;
	return true;
}

bool http_path_number(struct http_request *request, unsigned index, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	if (parse_u64(request->params[index], &value) != 0 || value > max) {
		char problem[128];
		snprintf(problem, sizeof(problem), "'%.*s' in the path is no number",
			(int)ANNALS_MIN(request->params[index].size, 64),
			(const char *)request->params[index].data);
		http_problem(request, ANNALS_E_NOT_FOUND, problem, NULL);
		return false;
	}
	*ret = value;
	return true;
}

struct topic *http_topic(struct http_request *request, unsigned index)
{
	struct error err = {0};
	struct op_detail detail = {0};
	struct topic *topic =
		op_topic_find(http_loop(request), request->params[index], 0, &err, &detail);
	if (topic == NULL) {
		http_problem(request, err.code, err.text, &detail);
	}
	return topic;
}

int http_choose(struct http_request *request, const char *const *types, size_t count)
{
	struct http_head head;
	http_head_again(request, &head);
	const int choice = http_accept(http_head_value(&head, "Accept"), types, count);
	if (choice < 0) {
		ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
		int status = buf_add_text(&text, "nothing in the Accept header fits; there is");
		for (size_t i = 0; i < count && status == 0; i++) {
			status = buf_printf(&text, "%s %s", i == 0 ? "" : ",", types[i]);
		}
		http_problem(request, ANNALS_E_NOT_ACCEPTABLE, status == 0 ? buf_text(&text) : NULL,
			NULL);
	}
	return choice;
}
