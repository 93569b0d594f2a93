/*
 * The disk as a power cut may leave it. Reads a trace up to a point and knows there what is durable
 * and what is only pending; makes the images that are possible at that point, one after the other,
 * as real files.
 *
 * The model (what POSIX leaves open is taken at its worst):
 * - A write, truncation or allocation is pending until a sync of its file; one through O_DSYNC
 *   becomes durable by itself, without those before it.
 * - Of the pending ones any subset may be on the disk, each whole or any part of it cut at
 *   512-byte or page boundaries. A 512-byte sector is written whole or not at all.
 * - A size may be older than the bytes.
 * - A name (made, renamed, removed) is pending until a sync of its directory; of the pending ones
 *   any subset may be there, a rename whole or not at all.
 * A point is the moment before a sync completes. In between sets only grow, so every image of an
 * earlier moment is one of the next point's, judged there by no less that was promised.
 */
#ifndef ANNALS_TEST_IMAGE_H
#define ANNALS_TEST_IMAGE_H

#include "trace.h"

#include <stdbool.h>
#include <stddef.h>

struct image;

/* Maps the trace; images go to dir/store, which is made (dir exists, best on a memory file
 * system). Exits on errors. */
struct image *image_open(const char *trace_path, const char *dir);
void image_close(struct image *image);

/* Goes on to the next point; calls `mark` for every mark on the way. False at the end of the trace
 * (which is a point too: the first call after the last sync returns true once more). */
bool image_next(struct image *image, void (*mark)(void *arg, const struct mark *mark), void *arg);
/* Number of the current point, from 1, and the record it stands before. */
unsigned image_point(const struct image *image);
uint64_t image_record(const struct image *image);

/* How many states are counted out at this point; the last of them are drawn with `seed`. */
uint64_t image_states(const struct image *image);
/* Builds one of them, 0 <= state < image_states(). State 0 is only what is durable, state 1
 * everything. */
void image_build(struct image *image, uint64_t state, uint64_t seed);
/* What it is, for people. */
void image_describe(const struct image *image, char *out, size_t size);
/* Call before anything else touches the built files; says that they may change now, and removes
 * the names again after that. */
void image_begin_use(struct image *image);
void image_end_use(struct image *image);

#endif
