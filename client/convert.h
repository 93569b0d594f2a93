/* Events between the public structures and struct record. Pure. */
#ifndef ANNALS_CLIENT_CONVERT_H
#define ANNALS_CLIENT_CONVERT_H

#include <annals/batch.h>
#include <annals/client.h>
#include <annals/record.h>

/* A body may not exceed what the server takes in one request. */
#define BODY_BYTES_MAX BATCH_BODY_BYTES_MAX

/*
 * Appends the event to a batch body after checking every rule of record_decode(). id replaces the
 * event's id when the event has none (empty: leave it out). On failure the body is as it was.
 * ANNALS_E_VALIDATION, ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY.
 */
int event_encode(const struct annals_event *event, struct bytes id, struct buf *body,
	struct error *err) ANNALS_MUST_CHECK;
/* What was read. The result borrows from the record's bytes. */
void event_from_record(const struct record *record, struct annals_event *ret);

#endif
