/* What the routes of consumer groups share. Loop thread only. */
#ifndef SERVER_HTTP_DELIVERY_H
#define SERVER_HTTP_DELIVERY_H

#include "http_fields.h"
#include "http_json.h"
#include "http_typed.h"
#include "op_delivery.h"
#include "proto_http.h"

/* An operation of this request, whose done sends a problem or calls `answer`; NULL after a problem.
 */
struct op_delivery *http_delivery_new(struct http_request *request,
	enum delivery_operation operation, void (*answer)(struct http_request *request));
/* Starts it for the group in the path. */
void http_delivery_start(struct http_request *request);
static inline struct op_delivery *http_delivery_op(struct http_request *request)
{
	return (struct op_delivery *)request->op;
}
/* A topic's id by name. ANNALS_E_INVALID, ANNALS_E_UNKNOWN_TOPIC. */
int http_delivery_topic(struct http_request *request, struct bytes name, uint32_t *ret,
	struct error *err) ANNALS_MUST_CHECK;
/* "topic":name, or null when it was deleted. */
void http_delivery_write_topic(
	struct http_request *request, struct json_writer *writer, uint32_t topic_id);
/* One event as a CloudEvent, as the value of `name`; typed: how its data is shown, NULL: as it is
 * stored. */
void http_delivery_write_event(struct http_request *request, struct json_writer *writer,
	const char *name, struct bytes encoded, const struct delivered_event *place,
	struct http_typed_reader *typed);
/*
 * How data is shown: ?data= and ?schemaVersion=. Checked when the request begins, so that nothing
 * is leased for an answer that cannot be given, and read for the answer, when a problem is want of
 * memory. False: a problem was sent.
 */
bool http_delivery_check_data(struct http_request *request) ANNALS_MUST_CHECK;
bool http_delivery_read_data(struct http_request *request, struct http_typed_reader *typed,
	bool *ret_as_json) ANNALS_MUST_CHECK;
/* One event of a poll's answer with its lease, as an object. */
void http_delivery_write_delivered(struct http_request *request, struct json_writer *writer,
	const struct poll_request *poll, const struct delivered_event *event,
	struct http_typed_reader *typed);
/* Copies a text into a field of `size` bytes. ANNALS_E_INVALID with its name when it is too long.
 */
int http_delivery_copy(const char *name, struct bytes text, char *ret, size_t size,
	struct error *err) ANNALS_MUST_CHECK;
/* Adds the leases of an array of their texts, "topic id.partition.offset.lease". */
int http_delivery_read_leases(struct op_delivery *op, const struct json_value *leases,
	struct error *err) ANNALS_MUST_CHECK;
void http_delivery_write_lease(struct json_writer *writer, const char *name, uint32_t topic_id,
	uint32_t partition, uint64_t offset, uint64_t lease);

#endif
