/* The operation that tries a webhook. Loop thread only; the life of an operation is that of ops.h.
 */
#ifndef SERVER_OP_WEBHOOK_H
#define SERVER_OP_WEBHOOK_H

#include "ops.h"
#include "webhooks/sender.h"

struct op_webhook {
	struct op op;
	struct webhook_trial request; /* name: input; results */
};
struct op_webhook *op_webhook_new(struct loop *loop);
int op_webhook_start(struct op_webhook *webhook);

#endif
