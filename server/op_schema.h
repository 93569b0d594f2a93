/*
 * Operations on the schema registry (annals/registry.h has the rules). Loop thread only; the life
 * of an operation is that of ops.h.
 */
#ifndef SERVER_OP_SCHEMA_H
#define SERVER_OP_SCHEMA_H

#include "ops.h"
#include <annals/registry.h>

struct op_schema {
	struct op op;
	/* Input and results. What it borrows must lie in the members below, which go with the
	 * operation, since the registry may have the request longer than its connection lives. */
	struct registry_request request;
	struct op_texts *texts;
	struct buf body;
	struct buf decoded;
	struct registry_reference *references;
	struct bytes *fields;
};
struct op_schema *op_schema_new(struct loop *loop, enum registry_operation operation);
/* Copies a text for the request. ANNALS_E_NO_MEMORY. */
int op_schema_text(struct op_schema *op, struct bytes text, struct bytes *ret) ANNALS_MUST_CHECK;
int op_schema_start(struct op_schema *op);

#endif
