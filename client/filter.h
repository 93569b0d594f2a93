/* The public filter as the one that events are tried with, and as a message. Pure. */
#ifndef ANNALS_CLIENT_FILTER_H
#define ANNALS_CLIENT_FILTER_H

#include "wire.pb-c.h"
#include <annals/client.h>
#include <annals/filter.h>

/* Texts are borrowed; NULL is the filter that lets everything pass. ANNALS_E_LIMIT: too many tags.
 */
int filter_read(const struct annals_filter *from, struct event_filter *ret,
	struct annals_error *error) ANNALS_MUST_CHECK;
/* Texts stay the filter's, each with a zero byte behind it; tags: room for EVENT_FILTER_TAGS_MAX.
 */
void filter_message(
	const struct event_filter *filter, Annals__V1__EventFilter *message, char **tags);

#endif
