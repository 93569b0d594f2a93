#include "ops_internal.h"

struct op_producer *op_producer_new(struct loop *loop)
{
	return op_new(loop, OP_PRODUCER_OPEN, sizeof(struct op_producer));
}

int op_producer_start(struct op_producer *producer, struct bytes name)
{
	struct op *op = &producer->op;
	int status = name.size == 0 ? 0 : group_name_check(name, &op->error);

	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op_prepare(op, &producer->request.base, STORE_PRODUCER_OPEN);
	if (name.size > 0) {
		memcpy(producer->request.name, name.data, name.size);
	}
	status = store_submit(op->loop->store, &producer->request.base, &op->error);
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->outstanding++;
	return op_pending(op);
}

static void producer_returned(struct op *op, struct store_request *request)
{
	op_complete(op, op_take_error(op, request));
}

const struct op_class op_class_producer = {
	.name = "producer-open",
	.size_bytes = sizeof(struct op_producer),
	.returned = producer_returned,
};
