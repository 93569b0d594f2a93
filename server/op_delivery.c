#include "op_delivery.h"
#include "ops_internal.h"
#include "server.h"
#include <stdlib.h>

struct op_delivery *op_delivery_new(struct loop *loop, enum delivery_operation operation)
{
	struct op_delivery *op = op_new(loop, OP_DELIVERY, sizeof(*op));
	if (op != NULL) {
		op->request.delivery.operation = operation;
	}
	return op;
}

int op_delivery_add_lease(struct op_delivery *op, const struct settle_entry *entry)
{
	if (op->entry_count == SETTLE_ENTRIES_MAX) {
		return op_fail(&op->op, ANNALS_E_LIMIT, "a request names at most %u leases",
			SETTLE_ENTRIES_MAX);
	}
	if (op->entry_count == op->entry_capacity) {
		size_t capacity = op->entry_capacity == 0 ? 16 : op->entry_capacity * 2;
		struct settle_entry *larger = realloc(op->entries, capacity * sizeof(*larger));
		if (larger == NULL) {
			return op_fail(&op->op, ANNALS_E_NO_MEMORY, "out of memory");
		}
		op->entries = larger;
		op->entry_capacity = capacity;
	}
	op->entries[op->entry_count++] = *entry;
	return 0;
}

int op_delivery_start(struct op_delivery *op, struct bytes group)
{
	struct delivery_request *request = &op->request.delivery;
	const enum delivery_operation operation = request->operation;
	int status = 0;
	if (operation != DELIVERY_GROUP_LIST) {
		status = group_name_check(group, &op->op.error);
	}
	if (status != 0) {
		return op_done_at_once(&op->op, status);
	}
	if (group.size > 0) {
		memcpy(request->group, group.data, group.size);
	}
	if (operation == DELIVERY_SETTLE) {
		op->request.settle.entries = op->entries;
		op->request.settle.entry_count = op->entry_count;
	} else if (operation == DELIVERY_TRANSACT) {
		op->request.transact.entries = op->entries;
		op->request.transact.entry_count = op->entry_count;
		op->request.transact.append = op->append == NULL ? NULL : &op->append->request;
	}
	op_prepare(&op->op, &request->base, STORE_OPERATIONS);
	status = delivery_submit(op->op.loop->server->delivery, request, &op->op.error);
	if (status != 0) {
		return op_done_at_once(&op->op, status);
	}
	op->op.outstanding++;
	if (operation == DELIVERY_POLL) {
		list_add_tail(&op->op.loop->waiting, &op->op.waiting_node);
	}
	return op_pending(&op->op);
}

static void delivery_returned(struct op *op, struct store_request *request)
{
	list_remove(&op->waiting_node);
	op_complete(op, op_take_error(op, request));
}

static void delivery_cancelled(struct op *op)
{
	struct op_delivery *delivery = (struct op_delivery *)op;
	if (delivery->request.delivery.operation == DELIVERY_POLL && op->outstanding > 0 &&
		delivery_cancel(op->loop->server->delivery, &delivery->request.delivery)) {
		op->outstanding--;
	}
}

/* A poll that waits ends with nothing. */
static void delivery_drained(struct op *op)
{
	struct op_delivery *delivery = (struct op_delivery *)op;
	if (op->outstanding > 0 &&
		delivery_cancel(op->loop->server->delivery, &delivery->request.delivery)) {
		op->outstanding--;
		op_complete(op, 0);
	}
}

static void delivery_cleared(struct op *op)
{
	struct op_delivery *delivery = (struct op_delivery *)op;
	switch (delivery->request.delivery.operation) {
	case DELIVERY_POLL:
		poll_request_release(&delivery->request.poll);
		break;
	case DELIVERY_GROUP_DESCRIBE:
	case DELIVERY_GROUP_LIST:
	case DELIVERY_GROUP_DELETE:
		group_describe_release(&delivery->request.describe);
		break;
	case DELIVERY_PARKED_LIST:
	case DELIVERY_PARKED_REPLAY:
	case DELIVERY_PARKED_DROP:
		parked_request_release(&delivery->request.parked);
		break;
	case DELIVERY_JOIN:
	case DELIVERY_HEARTBEAT:
	case DELIVERY_LEAVE:
		member_request_release(&delivery->request.member);
		break;
	case DELIVERY_CHECKPOINT_GET:
		buf_release(&delivery->request.checkpoint.value);
		break;
	default:
		break;
	}
	free(delivery->entries);
	buf_release(&delivery->texts);
	op_release(delivery->append == NULL ? NULL : &delivery->append->op);
}

const struct op_class op_class_delivery = {
	.name = "delivery",
	.size_bytes = sizeof(struct op_delivery),
	.returned = delivery_returned,
	.cancel = delivery_cancelled,
	.clear = delivery_cleared,
	.drain = delivery_drained,
};
