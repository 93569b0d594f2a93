/* Events on their way into one request. */
#ifndef ANNALS_CLIENT_APPEND_H
#define ANNALS_CLIENT_APPEND_H

#include "io.h"

#include <annals/wire.h>

/* The events of one request, in the order of their partitions. */
struct append {
	uint32_t *partitions; /* of each event */
	uint32_t *order;      /* indexes of events, sorted by partition, stable */
	struct wire_append_batch *batches;
	size_t batch_count;
	struct buf body, control;
};
/* Chooses partitions (partition may be ANNALS_PARTITION_BY_KEY) and encodes the events into `body`
 * and `batches`. `append` is zeros before and to be released whatever is returned.
 * ANNALS_E_NO_MEMORY, ANNALS_E_TOO_LARGE, ANNALS_E_INVALID, and what describing a topic answers. */
int append_make(struct append *append, struct annals_client *client, const char *topic,
	uint32_t partition, const struct annals_event *events, size_t count, int timeout_ms,
	struct annals_error *error) ANNALS_MUST_CHECK;
/* Gives every event its offset: the runs come in the order of the batches. ANNALS_E_MALFORMED. */
int append_place(const struct append *append, const struct wire_append_response *response,
	size_t count, struct annals_placement *placements) ANNALS_MUST_CHECK;
void append_release(struct append *append);

#endif
