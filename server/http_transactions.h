/* What transactions of one topic and of several share: reading their JSON. Loop thread only. */
#ifndef SERVER_HTTP_TRANSACTIONS_H
#define SERVER_HTTP_TRANSACTIONS_H

#include "http_append.h"
#include <annals/json.h>

/* The members of the body, or of one of its "appends", not looked into yet; absent: raw is empty.
 */
struct http_members {
	struct json_value topic, events, conditions, query, durability, appends;
};
/* of_append: one of several, which has no durability and no appends of its own.
 * ANNALS_E_MALFORMED, ANNALS_E_INVALID. */
int http_members_read(struct bytes body, bool of_append, struct http_members *ret,
	struct error *err) ANNALS_MUST_CHECK;

/* What an append will be told, kept until then. */
struct http_conditions;
/* NULL without memory. */
struct http_conditions *http_conditions_new(void);
void http_conditions_free(struct http_conditions *conditions);
/* ANNALS_E_MALFORMED, ANNALS_E_INVALID, ANNALS_E_LIMIT, ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY. */
int http_conditions_read(struct http_conditions *conditions, const struct http_members *members,
	struct error *err) ANNALS_MUST_CHECK;
int http_conditions_add(
	const struct http_conditions *conditions, struct op_append *op) ANNALS_MUST_CHECK;

/* A reference to the topic, or NULL with err. */
struct topic *http_members_topic(
	struct http_request *request, const struct http_members *members, struct error *err);
/* The events go into the batcher; *ret_index is the one that was refused. */
int http_members_events(struct http_batcher *batcher, const struct http_members *members,
	uint64_t *ret_index, struct error *err) ANNALS_MUST_CHECK;
int http_members_durability(const struct http_members *members, enum durability *ret,
	struct error *err) ANNALS_MUST_CHECK;

/* {"appends": [...]}: several topics (http_several.c). */
void http_post_several(struct http_request *request, const struct http_members *members);

#endif
