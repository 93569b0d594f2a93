/*
 * Validation of an append's events by the schemas of their types, in topics that ask for it
 * (enum validation). Loop thread; no lock, and no allocation but what the registry's view needs
 * when the registry changed.
 *
 * An event's schema is the registry's version `schema_version` (0: the latest) of the subject that
 * has the event's type as its name. What is wrong: no such schema; a content type that is not
 * protobuf's (none, one with "proto" in it, or application/octet-stream); data that
 * validate_message() refuses; a key, subject or time that is not what the data say by the schema's
 * options (extract.h), or a tag "name:value" of theirs that the event lacks: stored bodies are the
 * producer's, so nothing can be put right here, in either protocol. Events without data are right,
 * and fields that the schema does not know are as in any protobuf reader.
 */
#ifndef SERVER_OP_VALIDATE_H
#define SERVER_OP_VALIDATE_H

#include "ops.h"

/*
 * Looks at a checked part's events; body is plain. With VALIDATION_WARN counts what is wrong. With
 * VALIDATION_ENFORCE the first event that is wrong makes the append's request.refusal, with the
 * sentence in op.error: "event 3 of the batch for partition 0: 'origin.depth', byte 118: ...".
 */
void op_validate_part(struct op_append *append, size_t part, struct bytes body);

#endif
