/* What the kinds of clients share: each is a loop on a thread of its own. */
#ifndef CLIENT_TORTURE_CLIENTS_H
#define CLIENT_TORTURE_CLIENTS_H

#include "torture_state.h"

/* Waits while the clients are not to work; false: the end. Call it between operations only. */
bool worker_gate(struct worker *worker) ANNALS_MUST_CHECK;
/* The head of a record, with the time of now. */
struct history_op worker_begin(
	const struct worker *worker, enum history_kind kind, uint64_t number);

/* The loop of a conditional writer. */
void writer_run(struct worker *worker);
/* The loop of a member of a group by event. */
void member_run(struct worker *worker);

#endif
