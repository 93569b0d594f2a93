/* Conditions and queries as messages. */
#ifndef ANNALS_CLIENT_CONDITIONS_H
#define ANNALS_CLIENT_CONDITIONS_H

#include "io.h"

#include "wire.pb-c.h"

/* Appends the fields of AppendRequest that hold the conditions; messages can be concatenated.
 * ANNALS_E_NO_MEMORY. */
int conditions_encode(const struct annals_conditions *conditions, struct buf *out);

/* A QueryCondition that borrows from the query; release it. ANNALS_E_NO_MEMORY. */
struct query_message {
	Annals__V1__QueryCondition condition;
	Annals__V1__QueryItem *items;
	Annals__V1__QueryItem **item_pointers;
	char **terms; /* of all items, NUL-terminated copies */
	size_t term_count;
};
int query_message_init(struct query_message *message, const struct annals_query *query);
void query_message_release(struct query_message *message);

#endif
