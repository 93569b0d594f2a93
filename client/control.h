/* Calls whose messages go through protobuf-c: everything but appends and pushes. */
#ifndef ANNALS_CLIENT_CONTROL_H
#define ANNALS_CLIENT_CONTROL_H

#include "io.h"

#include "wire.pb-c.h"

/* protobuf-c wants writable texts and does not write. NULL becomes "". */
char *control_text(const char *text);
/*
 * Packs the request, calls, and unpacks the answer; free *ret with
 * protobuf_c_message_free_unpacked(). The errors of request_call(), and ANNALS_E_MALFORMED when the
 * answer cannot be read.
 */
int control_call(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer, int timeout_ms,
	ProtobufCMessage **ret, struct annals_error *error) ANNALS_MUST_CHECK;
/* The same for answers with data. */
int control_call_data(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer, int timeout_ms,
	ProtobufCMessage **ret, struct buf *ret_data, struct annals_error *error) ANNALS_MUST_CHECK;
/* Room for so many events, zeroed, which may borrow from the data, whose memory the page takes.
 * ANNALS_E_NO_MEMORY: the page is as it was, for annals_page_release(). */
int page_fill(struct annals_page *page, size_t count, struct buf *data,
	struct annals_error *error) ANNALS_MUST_CHECK;

#endif
