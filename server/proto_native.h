/* The binary protocol's glue, shared by the proto_native*.c files. Loop thread. docs/protocol.md is
 * the contract. */
#ifndef SERVER_PROTO_NATIVE_H
#define SERVER_PROTO_NATIVE_H

#include "net/conn.h"
#include "ops.h"
#include "wire.pb-c.h"
#include <annals/schemas.h>

/* Room for control messages beside the largest request. */
#define NATIVE_CONTROL_BYTES_MAX (1u << 20)

struct native_conn {
	bool greeted;
	struct list_node subscriptions;
	unsigned subscription_count;
	uint64_t last_subscription;
};

struct native_request {
	struct request base;
	uint32_t correlation;
	uint8_t operation;
	struct op *op; /* NULL when none is pending */
};

struct native_handler {
	const char *name;
	void (*handle)(struct native_request *request, const struct frame *frame);
	bool takes_data;
};

/* Starts a control message in loop->reply, behind the place of the frame header. */
struct buf *native_reply(struct native_request *request);
/* Answers with the control message in loop->reply and, unless NULL, data, whose memory is taken.
 * Ends the request. */
void native_answer(struct native_request *request, struct buf *data);
/* The same with a protobuf-c message. */
void native_answer_message(struct native_request *request, const ProtobufCMessage *message);
/* Answers with an Error. detail may be NULL. Ends the request. */
void native_fail(struct native_request *request, int status, const char *text,
	const struct op_detail *detail);
/* The operation ended: answers with its error. Releases it. */
void native_fail_op(struct native_request *request, struct op *op);
/* Unpacks the control message into loop->arena, or answers with an error and returns NULL. */
void *native_unpack(struct native_request *request, const struct frame *frame,
	const ProtobufCMessageDescriptor *descriptor);
/* Fills an Error message that borrows from its arguments. */
void native_fill_error(
	Annals__V1__Error *error, int status, const char *text, const struct op_detail *detail);
/* The largest frame that is taken. */
size_t native_frame_bytes_max(const struct loop *loop);

/* Handlers. */
void native_append(struct native_request *request, const struct frame *frame);
/* Reads an AppendRequest (the frame's control and data) into a fresh operation. The topic is
 * borrowed from the frame. op.status and op.error when it fails. */
int native_append_read(struct native_request *request, struct op_append *append,
	const struct frame *frame, struct bytes *ret_topic) ANNALS_MUST_CHECK;
/* Adds the AppendResponse of one that succeeded. ANNALS_E_NO_MEMORY. */
int native_append_encode(struct buf *out, const struct op_append *append) ANNALS_MUST_CHECK;
void native_fetch(struct native_request *request, const struct frame *frame);
/* proto_native_several.c */
void native_transact(struct native_request *request, const struct frame *frame);
/* Reads and prepares the AppendRequests (1 to APPEND_TOPICS_MAX) whose bodies are the data one
 * after the other. The loop's arena is used anew. *ret: the first one, which the others joined;
 * op_release() releases all. *ret_detail is written on failure. ANNALS_E_LIMIT, ANNALS_E_MALFORMED,
 * and the errors of an append. */
int native_appends_read(struct native_request *request, const ProtobufCBinaryData *appends,
	size_t count, struct bytes data, struct op_append **ret, struct error *err,
	struct op_detail *ret_detail) ANNALS_MUST_CHECK;
/* The AppendResponses of those that succeeded: messages end to end in a buffer, and where each
 * lies. ret has room for APPEND_TOPICS_MAX. ANNALS_E_NO_MEMORY. */
int native_appends_encode(const struct op_append *first, struct buf *out, ProtobufCBinaryData *ret,
	size_t *ret_count) ANNALS_MUST_CHECK;
/* proto_native_streams.c */
void native_producer_open(struct native_request *request, const struct frame *frame);
void native_stream_read(struct native_request *request, const struct frame *frame);
void native_query(struct native_request *request, const struct frame *frame);
/* The conditions and the idempotency key of an append; op.status and op.error when it fails. */
int native_append_conditions(struct native_request *request, struct op_append *append,
	const struct frame *frame) ANNALS_MUST_CHECK;
/* An idempotency key for a request with this control and data; operation is part of its scope. Also
 * in op.status and op.error. ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY. */
int native_append_receipt(struct op_append *append, const char *operation,
	const ProtobufCBinaryData *key, const struct frame *frame) ANNALS_MUST_CHECK;
void native_offset_for_time(struct native_request *request, const struct frame *frame);
void native_topic_create(struct native_request *request, const struct frame *frame);
void native_topic_list(struct native_request *request, const struct frame *frame);
void native_topic_describe(struct native_request *request, const struct frame *frame);
void native_topic_update(struct native_request *request, const struct frame *frame);
void native_topic_delete(struct native_request *request, const struct frame *frame);
void native_subscribe(struct native_request *request, const struct frame *frame);
void native_credit(struct native_request *request, const struct frame *frame);
void native_unsubscribe(struct native_request *request, const struct frame *frame);
void native_offset_commit(struct native_request *request, const struct frame *frame);
void native_offset_fetch(struct native_request *request, const struct frame *frame);
void native_group_list(struct native_request *request, const struct frame *frame);
/* proto_native_groups.c */
void native_group_put(struct native_request *request, const struct frame *frame);
void native_group_delete(struct native_request *request, const struct frame *frame);
void native_group_describe(struct native_request *request, const struct frame *frame);
void native_group_poll(struct native_request *request, const struct frame *frame);
void native_group_settle(struct native_request *request, const struct frame *frame);
void native_group_seek(struct native_request *request, const struct frame *frame);
void native_group_parked(struct native_request *request, const struct frame *frame);
/* proto_native_members.c */
void native_group_join(struct native_request *request, const struct frame *frame);
void native_group_heartbeat(struct native_request *request, const struct frame *frame);
void native_group_leave(struct native_request *request, const struct frame *frame);
/* proto_native_transact.c */
void native_group_transact(struct native_request *request, const struct frame *frame);
void native_group_checkpoint(struct native_request *request, const struct frame *frame);
void native_group_explain(struct native_request *request, const struct frame *frame);

/* Subscriptions of a connection: go on pushing; drop them all. */
void native_pump_all(struct conn *conn);
void native_drop_subscriptions(struct conn *conn);

/* ---- Filters (proto_native_hot.c) ---- */

/* Copies what a message asks for; *ret is NULL when it asks for nothing, else for free().
 * ANNALS_E_LIMIT (tags), ANNALS_E_NO_MEMORY. */
int native_filter_read(const Annals__V1__EventFilter *message, struct event_filter **ret,
	struct error *err) ANNALS_MUST_CHECK;

#endif
