#include "control.h"

char *control_text(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}

static int pack(const ProtobufCMessage *message, struct buf *out, struct annals_error *error)
{
	*out = BUF_INIT;
	if (buf_reserve(out, protobuf_c_message_get_packed_size(message) + 1) != ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	out->size = protobuf_c_message_pack(message, out->data);
	return ANNALS_OK;
}

int control_call_data(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer, int timeout_ms,
	ProtobufCMessage **ret, struct buf *ret_data, struct annals_error *error)
{
	struct buf control;
	struct buf result ANNALS_CLEANUP(buf_release) = BUF_INIT;
	int status = pack(request, &control, error);
	if (status == ANNALS_OK) {
		status = request_call_data(
			client, operation, &control, NULL, timeout_ms, &result, ret_data, error);
		buf_release(&control);
	}
	if (status != ANNALS_OK) {
		return status;
	}
	*ret = protobuf_c_message_unpack(answer, NULL, result.size, result.data);
	return *ret ? ANNALS_OK
		    : client_error(error, ANNALS_E_MALFORMED, "the server's answer is malformed");
}

int control_call(struct annals_client *client, enum frame_operation operation,
	const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer, int timeout_ms,
	ProtobufCMessage **ret, struct annals_error *error)
{
	return control_call_data(client, operation, request, answer, timeout_ms, ret, NULL, error);
}
