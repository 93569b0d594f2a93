/*
 * Histories: what clients of an event store did and what they saw, in a compact binary form that
 * annals-check judges. Nothing in it is tied to one server: any program that appends and reads can
 * record one.
 *
 * THE FORMAT, version 2. A history is a sequence of blocks and has no header of its own, so files
 * can be written by many recorders at once (one O_APPEND write per block) and joined with cat. All
 * fixed numbers are little-endian; varints are protobuf's; a signed varint is zigzag.
 *
 *   block   0  u32  magic 0x48484e41 ("ANHH")
 *           4  u16  version, 2 (1 is read as well: it has fewer bits in its masks)
 *           6  u16  0
 *           8  u64  recorder: a random number, one per struct history_writer
 *          16  u64  base time, nanoseconds: what the records' times are relative to
 *          24  u32  sequence: 0, 1, 2 ... per recorder; a missing one is a lost block
 *          28  u32  records in the block
 *          32  u32  bytes of the records, at most HISTORY_BLOCK_BYTES_MAX
 *          36  u32  CRC32C of the records
 *          40  u32  0
 *          44  u32  CRC32C of bytes 0 to 43
 *          48       records
 *   record  u8 kind (enum history_kind), varint bytes that follow, then
 *           varint client, number, attempt; u8 outcome; varint op mask (HISTORY_OP_*);
 *           signed varint invoke time - base; varint return time - invoke time;
 *           by mask: producer (varint id, epoch, sequence), group (varint group, generation),
 *           text (varint size, bytes), status (varint, the absolute value of the code);
 *           varint parts, then the parts
 *   part    varint mask (HISTORY_PART_*), varint topic, varint partition + 1 (0: not known);
 *           by mask, in the order of the constants: u64 stream, varint offset, count, version,
 *           expected, start, end, delivery; last `count` values of 8 bytes if HISTORY_PART_VALUES
 *
 * A block that is cut off at the end of the file (its recorder died) is left out and reported;
 * anything else that does not fit is an error that names the byte. Records of unknown kinds and
 * mask bits that this version does not know are errors: a checker must not skip what it cannot
 * judge. Whoever changes the format raises the version and keeps reading the old one.
 *
 * WHAT TO RECORD. One record per operation, written when it has returned, with the monotonic clock
 * (shared by all processes of a machine) read before the request is sent and after the answer is
 * there. `client` is a number of its own for everything that works one operation after another.
 * Records of one client must be in its order. An operation that may be running when its recorder is
 * killed must be written before it begins, as UNKNOWN, and again with its result, as one more
 * attempt.
 *
 * A value stands for one event: 64 bits that are different for every event ever submitted to the
 * topic, and that the reader computes again from all bytes it got (history_value()).
 */
#ifndef CLIENT_HISTORY_H
#define CLIENT_HISTORY_H

#include <annals/buf.h>
#include <annals/error.h>
#include <pthread.h>
#include <stdio.h>

#define HISTORY_VERSION 2
#define HISTORY_VERSION_MIN 1
#define HISTORY_BLOCK_HEADER_BYTES 48u
#define HISTORY_BLOCK_BYTES_MAX (16u << 20)
#define HISTORY_PARTS_MAX 65536u
#define HISTORY_FILE_BYTES_MAX (UINT64_C(32) << 30)
#define HISTORY_NO_PARTITION UINT32_MAX

enum history_kind {
	/* Part: one per run of events for one partition and stream. `number` is the request; a
	 * retry has the same number and a higher attempt. */
	HISTORY_APPEND = 1,
	/* Part: one per run of events seen, offsets rising, also when reading backward. `number` is
	 * the reader's session: within it each read goes on where the last one ended, unless
	 * HISTORY_OP_SEEK. The `end` of a part says that the partition ended there at some moment
	 * of the operation; `start`, the first offset kept. A part with `stream` and `version`
	 * in place of `offset` is a run of a stream. */
	HISTORY_READ = 2,
	/* Part: the group's committed offset of a partition, the next one to read. With RESET also
	 * what a group by event was made to go to. */
	HISTORY_COMMIT = 3,
	/* As COMMIT; a part without an offset: nothing is committed. */
	HISTORY_FETCH = 4,
	/* Group by event. Part: one run of events handed out; `delivery` counts from 1. */
	HISTORY_DELIVER = 5,
	HISTORY_ACKNOWLEDGE = 6,
	HISTORY_REFUSE = 7,
	/* The events were seen to be parked. */
	HISTORY_PARK = 8,
	/* Part: the client asked for everything below `offset` to be removed. */
	HISTORY_TRIM = 9,
	/* Names topic parts[0].topic in `text`; parts[0].count partitions. `attempt` 1: its events
	 * are only removed by TRIM, it began empty in this history. */
	HISTORY_TOPIC = 10,
	/* Something was done to the server: `text` says what. */
	HISTORY_SERVER = 11,
};
#define HISTORY_KIND_LAST HISTORY_SERVER

enum history_outcome {
	HISTORY_DONE = 0,
	HISTORY_CONFLICT = 1, /* a condition did not hold; nothing was done */
	HISTORY_REFUSED = 2,  /* nothing was done */
	HISTORY_UNKNOWN = 3,  /* it may have been done, or may still be */
};

enum {
	HISTORY_OP_PRODUCER = 1 << 0, /* producer_id, producer_epoch, producer_sequence */
	HISTORY_OP_GROUP = 1 << 1,    /* group, generation */
	HISTORY_OP_TEXT = 1 << 2,
	HISTORY_OP_STATUS = 1 << 3,
	HISTORY_OP_IDEMPOTENT = 1 << 4, /* APPEND: the server must store it at most once */
	HISTORY_OP_OS = 1 << 5,         /* APPEND: acknowledged before the flush */
	HISTORY_OP_SEEK = 1 << 6,       /* READ: does not go on where the session was */
	HISTORY_OP_RESET = 1 << 7,      /* COMMIT: may go back, on purpose */
	HISTORY_OP_BACKWARD = 1 << 8,   /* READ: the session goes towards lower offsets */
	/* ACKNOWLEDGE and APPEND of one client and one number: one commit, both or nothing. */
	HISTORY_OP_TRANSACTION = 1 << 9,
	/* APPEND: stored only when it is due; the part's `start` says when, on the records' clock.
	 * DONE: it was taken, and will be stored. */
	HISTORY_OP_DELAYED = 1 << 10,
};
#define HISTORY_OP_KNOWN ((1 << 11) - 1)

enum {
	HISTORY_PART_STREAM = 1 << 0, /* of which stream: a hash of the key */
	HISTORY_PART_OFFSET = 1 << 1, /* APPEND: of the first event, when DONE */
	HISTORY_PART_COUNT = 1 << 2,  /* 1 when absent, if there are values; else 0 */
	HISTORY_PART_VERSION =
		1 << 3, /* of the first event; in a CONFLICT: the next version found */
	HISTORY_PART_EXPECTED = 1 << 4, /* condition: the stream's next version */
	HISTORY_PART_START = 1 << 5,
	HISTORY_PART_END = 1 << 6,
	HISTORY_PART_DELIVERY = 1 << 7,
	HISTORY_PART_VALUES = 1 << 8,
	HISTORY_PART_EXISTS = 1 << 9,    /* condition: the stream has events */
	HISTORY_PART_REPLAYED = 1 << 10, /* APPEND: answered from an earlier attempt */
	HISTORY_PART_HOLE = 1 << 11,     /* READ: these offsets are unreadable by design */
};
#define HISTORY_PART_KNOWN ((1 << 12) - 1)

struct history_part {
	uint32_t mask;
	uint32_t topic, partition;
	uint32_t count;
	uint64_t stream, offset, version, expected, start, end, delivery;
	const uint8_t *values; /* 8 * count bytes, little-endian; borrowed */
};

struct history_op {
	enum history_kind kind;
	enum history_outcome outcome;
	uint32_t mask;
	uint32_t client, attempt;
	uint64_t number;
	uint64_t invoke_ns, return_ns;
	uint64_t producer_id, producer_epoch, producer_sequence;
	uint64_t group, generation;
	int status;        /* negative enum annals_status, or 0 */
	struct bytes text; /* borrowed */
	const struct history_part *parts;
	uint32_t part_count;
};

/* The value of an event from its bytes: SipHash-1-3 (Aumasson and Bernstein, 2012) under a fixed
 * key, so that recorders agree. Pure. */
uint64_t history_value(const void *data, size_t size);
/* The value that stands for a stream's key; the same function. */
static inline uint64_t history_stream(const void *key, size_t size)
{
	return history_value(key, size);
}

/* ------------------------------------------------------------------ writing */

/* One recorder. Any thread may write; a mutex inside keeps records whole. */
struct history_writer {
	pthread_mutex_t mutex;
	int fd; /* opened with O_APPEND by the caller, who closes it */
	uint64_t recorder, base_ns;
	uint32_t sequence, records;
	struct buf buf;
	uint64_t bytes_written, records_written;
};
/* Draws the recorder's number. The descriptor stays the caller's. */
void history_writer_init(struct history_writer *writer, int fd);
/* Drops what was not flushed. */
void history_writer_release(struct history_writer *writer);
/* Adds one record; a full block is written out. ANNALS_E_INVALID (more than HISTORY_PARTS_MAX
 * parts, return before invoke, a record larger than a block), ANNALS_E_NO_MEMORY, ANNALS_E_IO. */
int history_write(struct history_writer *writer, const struct history_op *op,
	struct error *err) ANNALS_MUST_CHECK;
/* Writes out what is waiting. ANNALS_E_IO: the history is incomplete and no use any more. */
int history_flush(struct history_writer *writer, struct error *err) ANNALS_MUST_CHECK;

/* ------------------------------------------------------------------ reading */

struct history_stats {
	uint64_t blocks, records, bytes;
	uint64_t cut_bytes; /* of a last block that is not whole */
};
/* Called for each record, in the order of the file; the op and its parts live until it returns, the
 * values and texts as long as the bytes. A negative result ends the reading and is returned. */
typedef int history_op_fn(void *arg, const struct history_op *op, struct error *err);

/*
 * Reads every record of a history in memory. ANNALS_E_CORRUPT_DATA with the byte and what is wrong
 * there, ANNALS_E_FORMAT_NEWER, ANNALS_E_NO_MEMORY, or what the function returned.
 */
int history_read(struct bytes history, history_op_fn *function, void *arg,
	struct history_stats *ret_stats, struct error *err) ANNALS_MUST_CHECK;
/* Reads a file into memory; free *ret_data with free(). ANNALS_E_NOT_FOUND, ANNALS_E_IO,
 * ANNALS_E_TOO_LARGE (HISTORY_FILE_BYTES_MAX), ANNALS_E_NO_MEMORY. */
int history_load(const char *path, uint8_t **ret_data, size_t *ret_size,
	struct error *err) ANNALS_MUST_CHECK;

#endif
