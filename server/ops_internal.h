/* What the op_*.c files share. Loop thread. */
#ifndef SERVER_OPS_INTERNAL_H
#define SERVER_OPS_INTERNAL_H

#include "ops.h"

/* One row for each kind. */
struct op_class {
	const char *name;
	size_t size_bytes; /* of the structure; 0: the kind is a plain function */
	/* Storage gave one of its requests back; op->outstanding is counted down already. */
	void (*returned)(struct op *op, struct store_request *request);
	/* Takes back from storage what can be taken back (counting op->outstanding down), stops
	 * timers. May be NULL. */
	void (*cancel)(struct op *op);
	/* Releases what the structure holds. May be NULL. */
	void (*clear)(struct op *op);
	/* The server drains: stop waiting. May be NULL. */
	void (*drain)(struct op *op);
};
extern const struct op_class op_class_append, op_class_read, op_class_find_time, op_class_tail,
	op_class_topic_create, op_class_topic_update, op_class_topic_delete, op_class_offset_commit,
	op_class_group_delete, op_class_delivery, op_class_producer, op_class_stream_read,
	op_class_query, op_class_schema, op_class_rows, op_class_webhook;

/* Copies of texts that a request borrows; they go with the operation. */
struct op_texts {
	struct op_texts *next;
	uint8_t bytes[];
};
/* ANNALS_E_NO_MEMORY. */
int op_texts_copy(struct op_texts **list, struct bytes text, struct bytes *ret) ANNALS_MUST_CHECK;
/* A whole query, its items malloc'ed. ANNALS_E_INVALID, ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY. */
int op_texts_copy_query(struct op_texts **list, const struct query_condition *query,
	struct query_condition *ret, struct query_item **ret_items,
	struct error *err) ANNALS_MUST_CHECK;
void op_texts_free(struct op_texts *list);

/* Memory for an operation of this kind: struct op initialised, the rest up to `zero_bytes` zeroed.
 * NULL when memory ran out. */
void *op_new(struct loop *loop, enum op_kind kind, size_t zero_bytes);
/* A start function ends at once: counts it, keeps the status. Returns OP_DONE. */
int op_done_at_once(struct op *op, int status);
/* A start function goes on asynchronously. Returns OP_PENDING. */
int op_pending(struct op *op);
/* A pending operation ends: counts it and calls done(). The operation may be gone afterwards. */
void op_complete(struct op *op, int status);
/* Sets up a storage request of this operation. */
void op_prepare(struct op *op, struct store_request *request, enum store_operation operation);
/* For the loop: a request came back. */
void op_returned(struct store_request *request);
/* Keeps status and text of a storage request that came back failed, naming what the operation was
 * about. */
int op_take_error(struct op *op, const struct store_request *request);
/* Topic by name or id into op->topic, or the error with its detail. */
int op_resolve_topic(struct op *op, struct bytes name, uint32_t topic_id);
/* op_delay.c: the events of an append, all due later, as a request to the schedule.
 * ANNALS_E_INVALID, ANNALS_E_VALIDATION (what the append was refused for), ANNALS_E_LIMIT,
 * ANNALS_E_NO_MEMORY. */
int op_append_read_delayed(struct op_append *append) ANNALS_MUST_CHECK;
void op_delayed_free(struct schedule_request *delayed);
/* Decompresses the batches whose codec is not in `codecs`. ANNALS_E_NO_MEMORY,
 * ANNALS_E_CORRUPT_DATA. */
int op_transcode(struct loop *loop, struct buf *batches, uint32_t codecs) ANNALS_MUST_CHECK;

#endif
