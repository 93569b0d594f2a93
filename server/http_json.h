/* JSON answers. Loop thread only. */
#ifndef SERVER_HTTP_JSON_H
#define SERVER_HTTP_JSON_H

#include "proto_http.h"

/* "name":"2018-01-31T01:49:59.65Z" from microseconds since 1970. */
void http_json_time(struct json_writer *writer, const char *name, uint64_t time_us);
/* Ends the request with what was written, as application/json and with a line's end for terminals;
 * 503 when memory ran out. The writer's buffer is taken. */
void http_json_send(struct http_request *request, int http_status, struct json_writer *writer);

#endif
