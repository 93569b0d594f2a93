#include "http_json.h"
#include <annals/parse.h>

void http_json_time(struct json_writer *writer, const char *name, uint64_t time_us)
{
	char text[32];
	const size_t size = format_rfc3339_ns(text, (int64_t)(time_us * 1000));
	json_member_text(writer, name, bytes_of(text, size));
}

void http_json_send(struct http_request *request, int http_status, struct json_writer *writer)
{
	struct buf *body = writer->out;
	if (json_writer_status(writer) != 0 || buf_add_byte(body, '\n') != 0) {
		buf_release(body);
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	http_begin(request, http_status, "application/json");
	if (request->etag[0] != 0) {
		http_header(request, "ETag", "%s", request->etag);
	}
	http_send(request, body);
}
