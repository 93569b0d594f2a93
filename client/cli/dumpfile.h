/*
 * Files of `annals dump` and `annals load`.
 *
 * Binary, little-endian: "ANNALDMP", format u32 = 1, partitions u32; then for each event: CRC32C
 * u32 of everything behind it, event bytes u32, partition u32, zero u32, offset u64, the event
 * (annals.v1.Event). To change it raise the format. NDJSON: what `annals read` prints; kafka-style
 * headers and tags have no place in it. A file that ends in the middle of an event (the dump was
 * interrupted) is valid up to there.
 */
#ifndef ANNALS_CLI_DUMPFILE_H
#define ANNALS_CLI_DUMPFILE_H

#include "cli.h"

#include <annals/cloudevents.h>

struct dumpfile {
	FILE *file;
	const char *name;
	bool binary;
	uint32_t partitions; /* binary: of the header */
	uint64_t bytes;      /* up to the end of the last whole event */
	uint64_t line;
	struct buf content;
	char *text;
	size_t text_capacity;
	struct cloudevent parsed;
	struct event_room room;
};

/* Opens for reading, learns the format. CLI_OK or an exit code after a message. */
int dumpfile_open(struct dumpfile *dump, const char *name);
/* The next event with partition and offset: 1, 0 at the end or where the file is cut, or a negative
 * status after a message. The event borrows until the next call. */
int dumpfile_next(struct dumpfile *dump, struct annals_event *ret);
void dumpfile_close(struct dumpfile *dump);
/* Writing. 0, ANNALS_E_IO, ANNALS_E_NO_MEMORY. */
int dumpfile_write_header(FILE *file, uint32_t partitions) ANNALS_MUST_CHECK;
int dumpfile_write(FILE *file, const struct annals_event *event) ANNALS_MUST_CHECK;

#endif
