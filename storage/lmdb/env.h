/*
 * The LMDB environment of a shard: opening, tables, snapshots, space.
 *
 * One thread writes (the settler; recovery before threads start). Any thread reads through a
 * snapshot, which it must end within one slice of work: a snapshot that stays open makes the file
 * grow for ever. Flags: MDB_NOTLS; never MDB_WRITEMAP, never MDB_NOSYNC.
 */
#ifndef ANNALS_STORAGE_ENV_H
#define ANNALS_STORAGE_ENV_H

#include <annals/error.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ENV_PAGE_BYTES 4096u
#define ENV_READERS_MAX 1024u
/* A map that does not fit the address space is tried smaller, but not below this. */
#define ENV_MAP_BYTES_LEAST ((uint64_t)1 << 30)

enum table {
	TABLE_META,
	TABLE_TOPICS,
	TABLE_PARTITIONS,
	TABLE_LOG,
	TABLE_OFFSETS,
	TABLE_DELETING,
	TABLE_ROWS,
	TABLE_INDEX,
	TABLE_COUNT
};

/* A read transaction with a cursor for each table, reset between uses. */
struct snapshot {
	struct snapshot *next;
	MDB_txn *txn;
	MDB_cursor *cursors[TABLE_COUNT]; /* opened at first use */
	bool cursor_is_current[TABLE_COUNT];
	_Atomic uint64_t since_ns; /* when it was begun; 0 while idle */
};

struct env {
	MDB_env *mdb;
	MDB_dbi tables[TABLE_COUNT];
	pthread_mutex_t pool_mutex;
	struct snapshot *idle;
	struct snapshot *all[ENV_READERS_MAX];
	_Atomic uint32_t all_count;
	/* Opened beside `mdb` when it gave up, for reading only: see env_snapshot_begin(). Set
	 * once, under pool_mutex. */
	_Atomic(MDB_env *) second;
	char *dir;
	uint64_t map_bytes;
	uint64_t reserved_bytes; /* the file is allocated up to here; settler only */
};

/*
 * Opens or creates the environment in `dir`, which exists, and syncs the directory. read_only:
 * creates nothing (verify). ANNALS_E_IO, ANNALS_E_NO_MEMORY, ANNALS_E_CORRUPT_DATA (not an LMDB
 * file).
 */
int env_open(struct env *env, const char *dir, uint64_t map_bytes, bool read_only,
	struct error *err) ANNALS_MUST_CHECK;
void env_close(struct env *env);
/* Who is told before LMDB would abort() because its own structure is impossible; must not return.
 */
void env_on_damage(struct env *env, void (*damaged)(const char *what));

/*
 * Begins a snapshot. End it with env_snapshot_end() in the same slice of work. ANNALS_E_IO,
 * ANNALS_E_NO_MEMORY. Any thread.
 *
 * When LMDB could not write its meta page it refuses everything in this process from then on
 * (MDB_PANIC), reads too. What the last good commit left is intact, for LMDB writes no page of it
 * again; so the file is opened a second time, for reading only and without LMDB's locks, and
 * snapshots begin there. That is safe because nobody writes any more: env_begin() goes on failing
 * until the store is opened again. LMDB's rule against opening a file twice is about its lock
 * file, which the second opening leaves alone. struct store_map does not know the second map:
 * damage in it is told from others by LMDB's code alone.
 */
int env_snapshot_begin(struct env *env, struct snapshot **ret, struct error *err) ANNALS_MUST_CHECK;
void env_snapshot_end(struct env *env, struct snapshot *snapshot);
/* The snapshot's cursor on a table. */
int env_snapshot_cursor(struct env *env, struct snapshot *snapshot, enum table table,
	MDB_cursor **ret, struct error *err) ANNALS_MUST_CHECK;
uint64_t env_oldest_reader_ns(struct env *env, uint64_t now_ns);

/* A write transaction; the settler's thread only. env_commit() returns when LMDB has synced. Both
 * end the transaction. */
int env_begin(struct env *env, MDB_txn **ret, struct error *err) ANNALS_MUST_CHECK;
int env_commit(MDB_txn *txn, struct error *err) ANNALS_MUST_CHECK;

/*
 * Makes sure that a commit which writes about so many bytes cannot run out of disk: allocates past
 * LMDB's last page. ANNALS_E_STORAGE_FULL when there is no space (nothing happened), ANNALS_E_IO.
 * LMDB itself would report a full disk as an I/O error in mid-commit.
 */
int env_reserve(struct env *env, uint64_t bytes, struct error *err) ANNALS_MUST_CHECK;
/* Bytes of the map that are used, and pages of them that are free again. */
int env_usage(
	struct env *env, uint64_t *ret_used_bytes, uint64_t *ret_free_pages) ANNALS_MUST_CHECK;

/* Turns an LMDB code into ours, with its text. */
int env_error(int code, struct error *err, const char *what);

#endif
