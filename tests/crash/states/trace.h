/*
 * The trace: what a program did to the files below one directory, in the order in which it
 * happened, with what it promised in between. One file, written by record.c, read by image.c; both
 * run on the same machine, so numbers are in its byte order.
 *
 * A file is known by a number that is given when it is first seen and never again; the directory
 * that is watched is number 1.
 */
#ifndef ANNALS_TEST_TRACE_H
#define ANNALS_TEST_TRACE_H

#include <stdint.h>

#define TRACE_ROOT 1u
#define TRACE_NAME_MAX 64

enum trace_type {
	TRACE_LIFE = 1,   /* a process begins; its numbers are those of the one before */
	TRACE_MKDIR,      /* file: the directory; other: its parent; data: its name */
	TRACE_CREATE,     /* file, other: directory, data: name */
	TRACE_RENAME,     /* file: from directory, other: to directory, data: both names, each with
			     its NUL */
	TRACE_UNLINK,     /* other: directory, data: name */
	TRACE_TRUNCATE,   /* file, offset: the new size */
	TRACE_ALLOCATE,   /* file, offset: the size is at least this afterwards */
	TRACE_WRITE,      /* file, offset, data */
	TRACE_ZERO,       /* file, offset, length: a write of zeros */
	TRACE_SYNC,       /* file: every write before is durable, and the size; of a directory: its
			     names */
	TRACE_SYNC_RANGE, /* file, offset, length: the writes before into this range are durable:
			     what a write through O_DSYNC does for itself */
	TRACE_MARK,       /* data: a struct mark */
};

struct trace_record {
	uint32_t type;
	uint32_t file, other;
	uint32_t data_bytes; /* follow the record */
	uint64_t offset, length;
};

/* What the workload says about itself. */
enum mark_type {
	MARK_APPEND = 1,     /* submitted: request, topic, count parts */
	MARK_APPEND_DONE,    /* the same, with offsets and positions */
	MARK_APPEND_REFUSED, /* nothing happened */
	MARK_SEEN,           /* one part: a reader was given it */
	MARK_FIRST,          /* partition, value: the first offset a reader was told */
	MARK_TOPIC_CREATE,   /* request, name, value: partitions */
	MARK_TOPIC_CREATED,  /* request, topic, name */
	MARK_TOPIC_DELETE,   /* topic */
	MARK_TOPIC_DELETED,  /* topic */
	MARK_TRIM,           /* topic, partition, value: the first offset asked for */
	MARK_COMMIT,         /* topic, partition, value: group offset; name: group */
	MARK_COMMITTED,      /* the same */
	MARK_ROWS,           /* value: what all rows of the workload are to say */
	MARK_ROWS_DONE,      /* the same */
};

#define MARK_PARTS_MAX 4u

struct mark_part {
	uint32_t partition, count;
	uint64_t hash; /* of the body */
	uint64_t offset, position;
};

struct mark {
	uint32_t type;
	uint32_t topic, partition;
	uint32_t part_count;
	uint64_t request; /* unique over all lives */
	uint64_t value;
	char name[24];
	struct mark_part parts[MARK_PARTS_MAX];
};

#endif
