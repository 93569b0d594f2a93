/* Appends to several topics on their way into one request. */
#ifndef ANNALS_CLIENT_TRANSACT_H
#define ANNALS_CLIENT_TRANSACT_H

#include "append.h"

#include "wire.pb-c.h"

struct transact {
	const struct annals_topic_append *given; /* borrowed */
	size_t count;
	struct append *appends;        /* one each */
	ProtobufCBinaryData *controls; /* their AppendRequests */
	struct buf body;               /* all bodies */
};
/* Chooses partitions and encodes everything. `transact` is zeros before and to be released whatever
 * is returned. ANNALS_E_LIMIT, ANNALS_E_INVALID, and what append_make() returns. */
int transact_make(struct transact *transact, struct annals_client *client,
	const struct annals_topic_append *given, size_t count, enum annals_durability durability,
	uint64_t deadline_ns, struct annals_error *error) ANNALS_MUST_CHECK;
/* Gives every event its place from the AppendResponses; ret_receipt may be NULL.
 * ANNALS_E_MALFORMED. */
int transact_place(const struct transact *transact, const ProtobufCBinaryData *answers,
	size_t answer_count, struct annals_receipt *ret_receipt) ANNALS_MUST_CHECK;
void transact_release(struct transact *transact);
/* Milliseconds until then, 0 when it has passed. */
int left_ms(uint64_t deadline_ns);

#endif
