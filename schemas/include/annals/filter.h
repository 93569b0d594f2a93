/* Which events a reader wants: the same meaning in every protocol, in the server and in clients. */
#ifndef ANNALS_FILTER_H
#define ANNALS_FILTER_H

#include <annals/schemas.h>

#define EVENT_FILTER_TAGS_MAX 32u

/* Everything that is given must hold. Texts are borrowed. Zeroed memory lets everything pass. */
struct event_filter {
	struct bytes type, type_prefix, subject, key; /* data NULL: any */
	struct bytes tags[EVENT_FILTER_TAGS_MAX];     /* each must be there */
	size_t tag_count;
};

/* A copy with its texts, a zero byte behind each, in one piece of memory, for free(). NULL without
 * memory. */
struct event_filter *event_filter_copy(const struct event_filter *filter);
bool event_filter_is_empty(const struct event_filter *filter);
/* Does a decoded event pass? */
bool event_filter_takes(const struct event_filter *filter, const struct record *record);
/* The same for an encoded event that was checked when it was appended. */
bool event_filter_passes(const struct event_filter *filter, struct bytes encoded);
/*
 * Takes the batches out of which no event passes; those that stay are whole and in order. Holes and
 * control records go. scratch is for bodies that are compressed. ANNALS_E_CORRUPT_DATA,
 * ANNALS_E_NO_MEMORY: the batches are as they were, or some of those to go are gone.
 */
int event_filter_batches(const struct event_filter *filter, struct buf *batches,
	struct buf *scratch) ANNALS_MUST_CHECK;

#endif
