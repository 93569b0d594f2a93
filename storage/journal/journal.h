/*
 * The journal: one ordered sequence of blocks. For people who write a journal or the shard above
 * it; everyone else uses <annals/storage.h>.
 *
 * A journal sees bytes and numbers and nothing else: group commit, queues, idempotency and watches
 * live above it. Writing has two steps, because an append with durability `os` is answered between
 * them: write_block() hands a block to the operating system (or the network), sync() makes all
 * written ones durable. Blocks are numbered 1, 2, 3, ... by the journal (another implementation may
 * leave gaps). read_block() sees written blocks, synced or not; the shard above does not show them
 * before the sync.
 *
 * After JOURNAL_UNKNOWN from either step nothing may be written any more: the wrapper refuses with
 * JOURNAL_UNKNOWN until the journal was closed and opened again. A failed sync is never retried.
 */
#ifndef ANNALS_JOURNAL_H
#define ANNALS_JOURNAL_H

#include <annals/buf.h>
#include <annals/error.h>
#include <stdbool.h>

struct journal;

enum journal_result { /* an enum of its own, so that the compiler checks the writer's switch */
	JOURNAL_OK = 0,
	JOURNAL_CONFLICT = -1, /* the last block is not `prev`; nothing was written; somebody else
				  appends here */
	JOURNAL_UNKNOWN =
		-2, /* the block may or may not be there; only reopening and reading can tell */
	JOURNAL_FULL = -3,    /* no space; nothing was written; reading and trimming still work */
	JOURNAL_CORRUPT = -4, /* stored bytes fail their checks; a block that is merely absent is
				 not corrupt */
	JOURNAL_FAILED =
		-5, /* could not even try: no memory, directory missing, not ours; see the error */
};

enum journal_caps {
	JOURNAL_CAP_REMOTE = 1 << 0,   /* calls take network time; UNKNOWN is an ordinary result */
	JOURNAL_CAP_SHARED = 1 << 1,   /* others may append; CONFLICT is an ordinary result */
	JOURNAL_CAP_VOLATILE = 1 << 2, /* nothing survives close */
};

struct journal_options {
	const char *dir;        /* exists; the journal's alone */
	uint64_t segment_bytes; /* file: size of a segment */
	uint8_t store_uuid[16]; /* written into every segment; another store's segments are refused
				 */
	bool read_only;         /* verify: creates and repairs nothing, write calls fail */
};

struct journal_stats {
	uint64_t segments, bytes, first_block, last_block;
};

struct journal_ops {
	const char *name; /* "file": the value users write in the options */
	unsigned caps;    /* enum journal_caps */
	/*
	 * Opens or creates. Finds the last block that continues the chain; what is after it must be
	 * a torn tail: a *valid* later block of this store behind a gap is JOURNAL_CORRUPT, not
	 * skipped. What was read has been synced when open returns. Sets *ret and the fields of
	 * struct journal on OK only; otherwise fills err.
	 */
	enum journal_result (*open)(
		const struct journal_options *options, struct journal **ret, struct error *err);
	/*
	 * Writes one block after number `prev`, the last the caller knows (0: none yet). Writer
	 * thread only. The bytes are the caller's again on return, whatever the result.
	 * JOURNAL_FULL leaves the journal as it was.
	 */
	enum journal_result (*write_block)(struct journal *journal, uint64_t prev,
		struct bytes block, uint64_t *ret_number, struct error *err);
	/* Makes every written block durable. Writer thread only. */
	enum journal_result (*sync)(struct journal *journal, struct error *err);
	/*
	 * Reads the first block numbered `from` or above into out (replacing what was there), its
	 * CRC and number checked. Any thread; blocks below a concurrent trim may be gone. At the
	 * end: OK and *ret_number = 0.
	 */
	enum journal_result (*read_block)(struct journal *journal, uint64_t from, struct buf *out,
		uint64_t *ret_number, struct error *err);
	/* May forget blocks below `keep`, never the last one. Settler thread only; concurrent with
	 * the writer. Idempotent. */
	enum journal_result (*trim)(struct journal *journal, uint64_t keep, struct error *err);
	void (*stats)(struct journal *journal, struct journal_stats *ret); /* any thread */
	void (*close)(struct journal *journal);
};

/* First member of each journal's struct. */
struct journal {
	const struct journal_ops *ops;
	uint64_t first_block; /* as open found them: 0 and 0 when empty */
	uint64_t last_block;
	bool failed; /* the wrapper's: UNKNOWN was returned */
};

/* Checked wrappers: they assert arguments and order, pass the fault points, and remember UNKNOWN.
 */
enum journal_result journal_open(const char *name, const struct journal_options *options,
	struct journal **ret, struct error *err) ANNALS_MUST_CHECK;
enum journal_result journal_write_block(struct journal *journal, uint64_t prev, struct bytes block,
	uint64_t *ret_number, struct error *err) ANNALS_MUST_CHECK;
enum journal_result journal_sync(struct journal *journal, struct error *err) ANNALS_MUST_CHECK;
enum journal_result journal_read_block(struct journal *journal, uint64_t from, struct buf *out,
	uint64_t *ret_number, struct error *err) ANNALS_MUST_CHECK;
enum journal_result journal_trim(
	struct journal *journal, uint64_t keep, struct error *err) ANNALS_MUST_CHECK;
void journal_stats(struct journal *journal, struct journal_stats *ret);
void journal_close(struct journal *journal); /* NULL is a no-op */

extern const struct journal_ops journal_file_ops;
extern const struct journal_ops journal_memory_ops;
/* A decorator over another journal for tests: see journal_fault.c. */
extern const struct journal_ops journal_fault_ops;
/* All by name, ended by NULL. */
extern const struct journal_ops *const journal_implementations[];
/* Simulation: one more, of the caller's own; NULL takes it back. Set it before journals are opened.
 */
void journal_set_simulated(const struct journal_ops *ops);

#endif
