#include "op_webhook.h"
#include "ops_internal.h"
#include "server.h"

struct op_webhook *op_webhook_new(struct loop *loop)
{
	return op_new(loop, OP_WEBHOOK, sizeof(struct op_webhook));
}

int op_webhook_start(struct op_webhook *webhook)
{
	struct op *op = &webhook->op;
	op_prepare(op, &webhook->request.base, STORE_OPERATIONS);
	const int status = webhooks_try(op->loop->server->webhooks, &webhook->request, &op->error);
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->outstanding++;
	return op_pending(op);
}

static void webhook_returned(struct op *op, struct store_request *request)
{
	op_complete(op, op_take_error(op, request));
}

const struct op_class op_class_webhook = {
	.name = "webhook",
	.size_bytes = sizeof(struct op_webhook),
	.returned = webhook_returned,
};
