/* Appends to several topics in one commit, in the binary protocol. */
#include "proto_native.h"
#include <stdlib.h>

/* How much of the data belongs to an append. */
static int data_bytes(struct bytes control, uint64_t *ret, struct error *err)
{
	struct wire_append_request wire;
	struct wire_append_batch batch;
	size_t cursor = 0;
	int more, status = wire_append_request_decode(control, &wire, err);

	*ret = 0;
	if (status != 0) {
		return status;
	}
	while ((more = wire_append_next_batch(&wire, &cursor, &batch)) == 1) {
		*ret += batch.body_bytes;
	}
	return more < 0 ? error_fail(err, more, "the list of batches is malformed") : 0;
}

/* One of them, from its own control message and part of the data. */
static int prepare(
	struct native_request *request, struct op_append *append, const struct frame *frame)
{
	struct op *op = &append->op;
	struct bytes topic;
	int status = native_append_read(request, append, frame, &topic);

	status = status != 0 ? status : op_append_prepare(append, topic);
	if (status != 0 && op->error.text[0] == 0) {
		(void)error_fail(&op->error, status, "%s", annals_status_text(status));
	}
	return status;
}

static int read_one(struct native_request *request, struct bytes control, struct bytes *data,
	struct op_append **first, struct error *err, struct op_detail *ret_detail)
{
	struct frame inner = {.control = control};
	struct op_append *append;
	uint64_t bytes;
	int status = data_bytes(control, &bytes, err);

	if (status != 0) {
		return status;
	}
	if (bytes > data->size) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"it announces %llu bytes but only %zu are there", (unsigned long long)bytes,
			data->size);
	}
	append = op_append_new(request->base.conn->loop);
	if (append == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	inner.data = bytes_of(data->data, (size_t)bytes);
	*data = bytes_of(data->data + bytes, data->size - (size_t)bytes);
	status = prepare(request, append, &inner);
	if (status != 0) {
		*err = append->op.error;
		*ret_detail = append->op.detail;
		op_release(&append->op);
	} else if (*first == NULL) {
		*first = append;
	} else {
		op_append_join(*first, append);
	}
	return status;
}

int native_appends_read(struct native_request *request, const ProtobufCBinaryData *appends,
	size_t count, struct bytes data, struct op_append **ret, struct error *err,
	struct op_detail *ret_detail)
{
	ANNALS_CLEANUP(buf_release) struct buf copy = BUF_INIT; /* the arena is used anew */
	struct op_append *first = NULL;
	size_t sizes[APPEND_TOPICS_MAX], at = 0;
	int status = 0;

	if (count == 0) {
		return error_fail(err, ANNALS_E_INVALID, "there is no append");
	}
	if (count > APPEND_TOPICS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT, "a commit appends to at most %u topics",
			APPEND_TOPICS_MAX);
	}
	for (size_t i = 0; i < count && status == 0; i++) {
		sizes[i] = appends[i].len;
		status = buf_add(&copy, appends[i].data, appends[i].len);
	}
	if (status != 0) {
		return error_fail(err, status, "out of memory");
	}
	for (size_t i = 0; i < count && status == 0; at += sizes[i++]) {
		status = read_one(request, bytes_of(copy.data + at, sizes[i]), &data, &first, err,
			ret_detail);
		if (status != 0 && count > 1) {
			(void)error_wrap(err, "append %zu", i);
		}
	}
	if (status == 0 && data.size > 0) {
		status = error_fail(err, ANNALS_E_MALFORMED,
			"%zu bytes of data belong to no append", data.size);
	}
	if (status != 0) {
		op_release(first != NULL ? &first->op : NULL);
		return status;
	}
	*ret = first;
	return 0;
}

int native_appends_encode(
	const struct op_append *first, struct buf *out, ProtobufCBinaryData *ret, size_t *ret_count)
{
	size_t count = 0, at = 0;

	for (const struct op_append *append = first; append != NULL; append = append->next) {
		const size_t before = out->size;
		const int status = native_append_encode(out, append);
		if (status != 0) {
			return status;
		}
		ret[count++].len = out->size - before;
	}
	/* Only now does the buffer stay where it is. */
	for (size_t i = 0; i < count; at += ret[i++].len) {
		ret[i].data = out->data + at;
	}
	*ret_count = count;
	return 0;
}

/* ---- Transactions ---- */

static void transact_done(struct op *op)
{
	struct native_request *request = op->arg;
	Annals__V1__TransactResponse response;
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	ProtobufCBinaryData appends[APPEND_TOPICS_MAX];

	request->op = NULL;
	if (op->status != 0) {
		native_fail_op(request, op);
		return;
	}
	annals__v1__transact_response__init(&response);
	if (native_appends_encode(
		    (const struct op_append *)op, &text, appends, &response.n_append) != 0) {
		conn_close(request->base.conn, CONN_CLOSE_NO_MEMORY);
	}
	response.append = appends;
	op_release(op);
	native_answer_message(request, &response.base);
}

/* Every topic keeps a receipt of its part. */
static int add_receipts(struct op_append *first, const ProtobufCBinaryData *key,
	const struct frame *frame, struct error *err)
{
	int status = 0;

	for (struct op_append *append = first; append != NULL && status == 0;
		append = append->next) {
		if (append->request.receipt_key.size > 0) {
			return error_fail(err, ANNALS_E_INVALID,
				"the idempotency key is the transaction's, not an append's");
		}
		if (key->len > 0) {
			status = native_append_receipt(append, "transact", key, frame);
			*err = append->op.error;
		}
	}
	return status == 0 || err->text[0] != 0 ? status : error_fail(err, status, "out of memory");
}

void native_transact(struct native_request *request, const struct frame *frame)
{
	const Annals__V1__TransactRequest *message =
		native_unpack(request, frame, &annals__v1__transact_request__descriptor);
	ANNALS_CLEANUP(buf_release) struct buf key = BUF_INIT;
	ProtobufCBinaryData key_data;
	struct op_append *append = NULL;
	struct op_detail detail = {0};
	struct error err = {0};
	int status;

	if (message == NULL) {
		return;
	}
	status = buf_add(&key, message->idempotency_key.data, message->idempotency_key.len);
	key_data = (ProtobufCBinaryData){.len = key.size, .data = key.data};
	status = status != 0 ? error_fail(&err, status, "out of memory")
			     : native_appends_read(request, message->append, message->n_append,
				       frame->data, &append, &err, &detail);
	status = status != 0 ? status : add_receipts(append, &key_data, frame, &err);
	if (status != 0) {
		op_release(append != NULL ? &append->op : NULL);
		native_fail(request, status, err.text, &detail);
		return;
	}
	append->op.arg = request;
	append->op.done = transact_done;
	request->op = &append->op;
	if (op_append_submit(append) == OP_DONE) {
		transact_done(&append->op);
	}
}
