/*
 * The recorder: interposes the calls with which LMDB and the journal change files, and writes what
 * they did into a trace. As a library before libc (linked first, or LD_PRELOAD).
 *
 * One mutex is held around each call and its record, so the trace has one order and every call in
 * it is over before the next begins. A sync therefore covers exactly what stands before it.
 *
 * What it cannot describe (a writable shared mapping of a watched file, a name that came by link())
 * ends the process with a sentence: a hole in the trace would be a test that passes. LMDB's lock
 * file is left out: it is written through a map, and LMDB makes it anew.
 */
#ifndef ANNALS_TEST_RECORD_H
#define ANNALS_TEST_RECORD_H

#include "trace.h"

#include <stddef.h>
#include <sys/types.h>

#define RECORD_API __attribute__((visibility("default")))

/* Watches everything below dir (absolute, without a slash at the end) and appends to the trace.
 * What is in dir already must be what the trace says. Exits on errors. */
RECORD_API void record_start(const char *dir, const char *trace_path);
/* A mark, ordered with the calls. */
RECORD_API void record_mark(const struct mark *mark);
/* The n-th pwritev from now on fails with this errno instead of being made; 0 = none. */
RECORD_API void record_fail_write(unsigned n, int errno_value);
/* The process ends (_exit) with the n-th record from now on, between two calls: what kill -9 does,
 * at a place that can be chosen. */
RECORD_API void record_end_after(unsigned n);

/*
 * The other use: no trace, only who was changed. fn is called after every call that changed bytes
 * or the size of a file, from any thread, with what fstat() says about it; size -1: all of it.
 */
RECORD_API void record_watch(void (*fn)(dev_t dev, ino_t ino, uint64_t offset, int64_t size));

#endif
