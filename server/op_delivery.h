/*
 * Operations on consumer groups that the server keeps: one structure for all of them, whose request
 * says which (annals/delivery.h has the rules). Loop thread only; the life of an operation is that
 * of ops.h.
 */
#ifndef SERVER_OP_DELIVERY_H
#define SERVER_OP_DELIVERY_H

#include "ops.h"
#include <annals/delivery.h>

struct op_delivery {
	struct op op;
	/* Input and results: the member that belongs to the operation. */
	union {
		struct delivery_request delivery;
		struct group_put_request put;
		struct group_describe_request describe;
		struct poll_request poll;
		struct settle_request settle;
		struct transact_request transact;
		struct checkpoint_request checkpoint;
		struct seek_request seek;
		struct parked_request parked;
		struct explain_request explain;
		struct member_request member;
	} request;
	/* Owned, released with the operation: what requests borrow. */
	struct settle_entry *entries;
	size_t entry_count, entry_capacity;
	struct buf texts;
	struct op_append *append; /* of a DELIVERY_TRANSACT, prepared */
};
struct op_delivery *op_delivery_new(struct loop *loop, enum delivery_operation operation);
/* One more lease for a settle or a transact. ANNALS_E_LIMIT (SETTLE_ENTRIES_MAX), NO_MEMORY. */
int op_delivery_add_lease(
	struct op_delivery *op, const struct settle_entry *entry) ANNALS_MUST_CHECK;
int op_delivery_start(struct op_delivery *op, struct bytes group);

#endif
