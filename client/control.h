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

#endif
