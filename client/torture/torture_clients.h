/* What the kinds of clients share: each is a loop on a thread of its own. */
#ifndef CLIENT_TORTURE_CLIENTS_H
#define CLIENT_TORTURE_CLIENTS_H

#include "torture_state.h"

/* Waits while the clients are not to work; false: the end. Call it between operations only. */
bool worker_gate(struct worker *worker) ANNALS_MUST_CHECK;
/* The head of a record, with the time of now. */
struct history_op worker_begin(
	const struct worker *worker, enum history_kind kind, uint64_t number);

/* The run is over: for loops within an operation. */
bool worker_is_stopping(struct worker *worker) ANNALS_MUST_CHECK;
/* Where the partitions of a topic (0, TORTURE_SECOND) begin and end, with a record. The error is
 * annals_topic_describe()'s. */
int torture_describe(struct worker *worker, uint32_t topic, uint64_t *ret_first, uint64_t *ret_ends,
	int timeout_ms) ANNALS_MUST_CHECK;
/* The value of an event from its JSON (NUL-terminated, alone); false when its data is neither text
 * nor base64. The buffers are reused. */
bool torture_json_value(
	const char *json, struct buf *data, struct buf *scratch, uint64_t *ret) ANNALS_MUST_CHECK;

/* The loop of a conditional writer. */
void writer_run(struct worker *worker);
/* The loop of a member of a group by event. */
void member_run(struct worker *worker);
/* Of a named producer that is fenced by its successors. */
void sequencer_run(struct worker *worker);
/* Of a reader of pages backwards and of filtered ones. */
void browser_run(struct worker *worker);
/* Of one that appends to two topics at once, and events that are due later. */
void mixer_run(struct worker *worker);
/* Of a member of a group that acknowledges and appends in one commit. */
void handler_run(struct worker *worker);
/* Of the one who registers schemas and changes a webhook. */
void registrar_run(struct worker *worker);
/* Of the one who makes, fills and deletes other topics. */
void gardener_run(struct worker *worker);

#endif
