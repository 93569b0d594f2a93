#include "ops_internal.h"

#include <annals/fault.h>

struct op_rows *op_rows_new(struct loop *loop)
{
	return op_new(loop, OP_ROWS, sizeof(struct op_rows));
}

int op_rows_start(struct op_rows *rows, bool deletes, bool must_be_absent)
{
	struct op *op = &rows->op;
	rows->change = (struct row_change){.key = buf_bytes(&rows->key),
		.value = deletes ? bytes_of(NULL, 0) : buf_bytes(&rows->value),
		.expect = must_be_absent ? ROW_EXPECT_ABSENT : ROW_EXPECT_VALUE,
		.expected_value = buf_bytes(&rows->expected)};
	op_prepare(op, &rows->request.base, STORE_ROWS);
	rows->request.changes = &rows->change;
	rows->request.change_count = 1;
	ANNALS_FAULT("rows.before_commit");
	const int status = store_submit(op->loop->store, &rows->request.base, &op->error);
	if (status != 0) {
		return op_done_at_once(op, status);
	}
	op->outstanding++;
	return op_pending(op);
}

static void rows_returned(struct op *op, struct store_request *request)
{
	op_complete(op, op_take_error(op, request));
}

static void rows_cleared(struct op *op)
{
	struct op_rows *rows = (struct op_rows *)op;
	buf_release(&rows->key);
	buf_release(&rows->value);
	buf_release(&rows->expected);
}

const struct op_class op_class_rows = {
	.name = "rows",
	.size_bytes = sizeof(struct op_rows),
	.returned = rows_returned,
	.clear = rows_cleared,
};
