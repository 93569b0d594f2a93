#include "op_schema.h"
#include "ops_internal.h"
#include "server.h"
#include <stdlib.h>

struct op_schema *op_schema_new(struct loop *loop, enum registry_operation operation)
{
	struct op_schema *op = op_new(loop, OP_SCHEMA, sizeof(*op));
	if (op != NULL) {
		op->request.operation = operation;
		op->request.level = REGISTRY_LEVEL_INHERITED;
		op->request.mode = REGISTRY_MODE_INHERITED;
	}
	return op;
}

int op_schema_text(struct op_schema *op, struct bytes text, struct bytes *ret)
{
	if (text.size == 0) {
		*ret = bytes_of(NULL, 0);
		return 0;
	}
	return op_texts_copy(&op->texts, text, ret);
}

int op_schema_start(struct op_schema *op)
{
	op_prepare(&op->op, &op->request.base, STORE_OPERATIONS);
	const int status =
		registry_submit(op->op.loop->server->registry, &op->request, &op->op.error);
	if (status != 0) {
		return op_done_at_once(&op->op, status);
	}
	op->op.outstanding++;
	return op_pending(&op->op);
}

static void schema_returned(struct op *op, struct store_request *request)
{
	op_complete(op, op_take_error(op, request));
}

static void schema_cleared(struct op *op)
{
	struct op_schema *schema = (struct op_schema *)op;
	registry_request_release(&schema->request);
	op_texts_free(schema->texts);
	buf_release(&schema->body);
	buf_release(&schema->decoded);
	free(schema->references);
	free(schema->fields);
}

const struct op_class op_class_schema = {
	.name = "schema",
	.size_bytes = sizeof(struct op_schema),
	.returned = schema_returned,
	.clear = schema_cleared,
};
