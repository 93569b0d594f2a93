#include "lmdb/env.h"

#include "lmdb/pages.h"

#include <annals/clock.h>
#include <annals/fault.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const table_names[TABLE_COUNT] = {
	[TABLE_META] = "meta",
	[TABLE_TOPICS] = "topics",
	[TABLE_PARTITIONS] = "partitions",
	[TABLE_LOG] = "log",
	[TABLE_OFFSETS] = "offsets",
	[TABLE_DELETING] = "deleting",
	[TABLE_ROWS] = "rows",
	[TABLE_INDEX] = "index",
};

/* The file grows in such steps, ahead of LMDB. */
#define RESERVE_STEP_BYTES (16u << 20)

int env_error(int code, struct error *err, const char *what)
{
	int status = ANNALS_E_IO;

	if (code == MDB_NOTFOUND) {
		status = ANNALS_E_NOT_FOUND;
	} else if (code == ENOMEM) {
		status = ANNALS_E_NO_MEMORY;
	} else if (code == MDB_MAP_FULL || code == ENOSPC) {
		status = ANNALS_E_STORAGE_FULL;
	} else if (code == MDB_INVALID || code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND ||
		   code == MDB_VERSION_MISMATCH) {
		status = ANNALS_E_CORRUPT_DATA;
	}
	return error_fail(err, status, "%s: %s", what, mdb_strerror(code));
}

static int sync_directory(const char *dir, struct error *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int status = 0;

	if (fd < 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot open '%s'", dir);
	}
	if (fsync(fd) != 0) {
		status = error_errno(err, ANNALS_E_IO, errno, "cannot sync '%s'", dir);
	}
	(void)close(fd);
	return status;
}

/* LMDB writes its lock file through a map: on a full disk a hole in it is a SIGBUS. */
static void allocate_lock_file(const char *dir)
{
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = dir_fd < 0 ? -1 : openat(dir_fd, "lock.mdb", O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd >= 0) {
		if (fstat(fd, &st) == 0 && st.st_size > 0) {
			(void)fallocate(fd, 0, 0, st.st_size);
		}
		(void)close(fd);
	}
	if (dir_fd >= 0) {
		(void)close(dir_fd);
	}
}

static int open_tables(MDB_env *mdb, MDB_dbi tables[TABLE_COUNT], bool read_only, struct error *err)
{
	MDB_txn *txn;
	int code = mdb_txn_begin(mdb, NULL, read_only ? MDB_RDONLY : 0, &txn);

	if (code != 0) {
		return env_error(code, err, "cannot begin the first transaction");
	}
	for (int i = 0; i < TABLE_COUNT && code == 0; i++) {
		code = mdb_dbi_open(txn, table_names[i], read_only ? 0 : MDB_CREATE, &tables[i]);
	}
	if (code != 0) {
		mdb_txn_abort(txn);
		return env_error(code, err, "cannot open the tables");
	}
	code = mdb_txn_commit(txn);
	return code == 0 ? 0 : env_error(code, err, "cannot commit the tables");
}

/*
 * LMDB writes the first two pages of a new file without syncing them, and a file that a power cut
 * left with one of them it never opens again. So it is made beside, synced and renamed.
 */
static int create_file(const char *dir, uint64_t map_bytes, struct error *err)
{
	char path[4096], beside[4096];
	struct stat st;
	MDB_env *mdb;
	int code;

	if ((size_t)snprintf(path, sizeof(path), "%s/data.mdb", dir) >= sizeof(path) ||
		(size_t)snprintf(beside, sizeof(beside), "%s/data.mdb.new", dir) >=
			sizeof(beside)) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	if (stat(path, &st) == 0) {
		return 0;
	}
	(void)unlink(beside);
	code = mdb_env_create(&mdb);
	if (code != 0) {
		return env_error(code, err, "cannot create LMDB");
	}
	code = mdb_env_set_mapsize(mdb, ANNALS_MIN(map_bytes, ENV_MAP_BYTES_LEAST));
	code = code != 0 ? code
			 : mdb_env_open(mdb, beside, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS, 0640);
	ANNALS_FAULT("lmdb.before_create");
	code = code != 0 ? code : mdb_env_sync(mdb, 1);
	mdb_env_close(mdb);
	if (code == 0 && rename(beside, path) != 0) {
		code = errno;
	}
	ANNALS_FAULT("lmdb.after_create");
	return code == 0 ? sync_directory(dir, err) : env_error(code, err, "cannot create LMDB");
}

static int open_map(MDB_env **ret, const char *dir, uint64_t map_bytes, unsigned flags)
{
	MDB_env *mdb;
	int code = mdb_env_create(&mdb);

	if (code != 0) {
		return code;
	}
	code = mdb_env_set_mapsize(mdb, map_bytes);
	code = code != 0 ? code : mdb_env_set_maxdbs(mdb, TABLE_COUNT);
	code = code != 0 ? code : mdb_env_set_maxreaders(mdb, ENV_READERS_MAX);
	code = code != 0 ? code : mdb_env_open(mdb, dir, MDB_NOTLS | flags, 0640);
	if (code != 0) {
		mdb_env_close(mdb);
		return code;
	}
	*ret = mdb;
	return 0;
}

/* Address space can be scarce (ulimit -v, sanitizers): a smaller map serves as well. */
static int open_any_map(MDB_env **ret, const char *dir, uint64_t map_bytes, unsigned flags)
{
	int code = open_map(ret, dir, map_bytes, flags);

	while (code == ENOMEM && map_bytes / 4 >= ENV_MAP_BYTES_LEAST) {
		map_bytes /= 4;
		code = open_map(ret, dir, map_bytes, flags);
	}
	return code;
}

static int check_pages(const char *dir, bool deep, struct error *err)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof(path), "%s/data.mdb", dir) >= sizeof(path)) {
		return error_fail(
			err, ANNALS_E_INVALID, "the path of the data directory is too long");
	}
	return pages_check(path, deep, NULL, err);
}

int env_open(
	struct env *env, const char *dir, uint64_t map_bytes, bool read_only, struct error *err)
{
	int code, status;

	memset(env, 0, sizeof(*env));
	status = read_only ? 0 : create_file(dir, map_bytes, err);
	status = status != 0 ? status : check_pages(dir, read_only, err);
	if (status != 0) {
		return status;
	}
	env->map_bytes = map_bytes;
	env->dir = strdup(dir);
	if (env->dir == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for LMDB");
	}
	(void)pthread_mutex_init(&env->pool_mutex, NULL);
	code = open_any_map(&env->mdb, dir, map_bytes, read_only ? MDB_RDONLY : 0);
	if (code != 0) {
		status = env_error(code, err, "cannot open LMDB");
		error_wrap(err, "%s", dir);
		env_close(env);
		return status;
	}
	if (!read_only) {
		allocate_lock_file(dir);
	}
	status = open_tables(env->mdb, env->tables, read_only, err);
	if (status == 0 && !read_only) {
		status = sync_directory(dir, err);
	}
	if (ANNALS_MUTATION("recycle_before_lmdb_sync")) {
		(void)mdb_env_set_flags(env->mdb, MDB_NOSYNC, 1);
	}
	if (status != 0) {
		env_close(env);
	}
	return status;
}

void env_close(struct env *env)
{
	free(env->dir);
	env->dir = NULL;
	if (env->mdb == NULL) {
		return;
	}
	for (uint32_t i = 0; i < env->all_count; i++) {
		struct snapshot *snapshot = env->all[i];
		for (int t = 0; t < TABLE_COUNT; t++) {
			if (snapshot->cursors[t] != NULL) {
				mdb_cursor_close(snapshot->cursors[t]);
			}
		}
		mdb_txn_abort(snapshot->txn);
		free(snapshot);
	}
	if (env->second != NULL) {
		mdb_env_close(env->second);
		env->second = NULL;
	}
	mdb_env_close(env->mdb);
	env->mdb = NULL;
	(void)pthread_mutex_destroy(&env->pool_mutex);
}

/* LMDB's own type says what it gives. */
static void tell_damage(MDB_env *mdb, const char *what)
{
	void (*damaged)(const char *what) = NULL;
	const void *context = mdb_env_get_userctx(mdb);

	memcpy(&damaged, &context, sizeof(damaged));
	damaged(what);
	abort();
}

/* Under pool_mutex. 0 or an LMDB code. */
static int open_second(struct env *env)
{
	MDB_dbi tables[TABLE_COUNT];
	MDB_env *second;
	int code = open_any_map(&second, env->dir, env->map_bytes, MDB_RDONLY | MDB_NOLOCK);

	if (code != 0) {
		return code;
	}
	(void)mdb_env_set_userctx(second, mdb_env_get_userctx(env->mdb));
	(void)mdb_env_set_assert(second, mdb_env_get_userctx(second) != NULL ? tell_damage : NULL);
	/* Handles are numbered as they are opened: here and there in the same order. */
	if (open_tables(second, tables, true, NULL) != 0 ||
		memcmp(tables, env->tables, sizeof(tables)) != 0) {
		mdb_env_close(second);
		return MDB_PANIC;
	}
	env->second = second;
	return 0;
}

/* A read transaction, in the second opening when the first one has given up. 0 or an LMDB code. */
static int begin_reading(struct env *env, MDB_txn **ret)
{
	int code = env->second != NULL ? MDB_PANIC : mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, ret);

	if (code != MDB_PANIC) {
		return code;
	}
	(void)pthread_mutex_lock(&env->pool_mutex);
	code = env->second == NULL ? open_second(env) : 0;
	(void)pthread_mutex_unlock(&env->pool_mutex);
	return code != 0 ? code : mdb_txn_begin(env->second, NULL, MDB_RDONLY, ret);
}

/* Moves an idle snapshot that cannot be renewed to the second opening. 0 or an LMDB code. */
static int move_snapshot(struct env *env, struct snapshot *snapshot)
{
	MDB_txn *txn;
	int code = begin_reading(env, &txn);

	if (code != 0) {
		return code;
	}
	for (int t = 0; t < TABLE_COUNT; t++) {
		if (snapshot->cursors[t] != NULL) {
			mdb_cursor_close(snapshot->cursors[t]);
			snapshot->cursors[t] = NULL;
		}
	}
	mdb_txn_abort(snapshot->txn);
	snapshot->txn = txn;
	return 0;
}

static int new_snapshot(struct env *env, struct snapshot **ret, struct error *err)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
	int code;

	if (snapshot == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a read transaction");
	}
	code = begin_reading(env, &snapshot->txn);
	if (code != 0) {
		free(snapshot);
		return env_error(code, err, "cannot begin a read transaction");
	}
	(void)pthread_mutex_lock(&env->pool_mutex);
	if (env->all_count == ENV_READERS_MAX) {
		(void)pthread_mutex_unlock(&env->pool_mutex);
		mdb_txn_abort(snapshot->txn);
		free(snapshot);
		return error_fail(
			err, ANNALS_E_OVERLOADED, "more than %u reads at once", ENV_READERS_MAX);
	}
	env->all[env->all_count] = snapshot;
	env->all_count++;
	(void)pthread_mutex_unlock(&env->pool_mutex);
	*ret = snapshot;
	return 0;
}

void env_on_damage(struct env *env, void (*damaged)(const char *what))
{
	void *context = NULL;

	memcpy(&context, &damaged, sizeof(context));
	(void)mdb_env_set_userctx(env->mdb, context);
	(void)mdb_env_set_assert(env->mdb, damaged != NULL ? tell_damage : NULL);
}

int env_snapshot_begin(struct env *env, struct snapshot **ret, struct error *err)
{
	struct snapshot *snapshot;
	int code, status;

	(void)pthread_mutex_lock(&env->pool_mutex);
	snapshot = env->idle;
	if (snapshot != NULL) {
		env->idle = snapshot->next;
	}
	(void)pthread_mutex_unlock(&env->pool_mutex);
	if (snapshot == NULL) {
		status = new_snapshot(env, &snapshot, err);
		if (status != 0) {
			return status;
		}
	} else {
		code = mdb_txn_renew(snapshot->txn);
		code = code == MDB_PANIC ? move_snapshot(env, snapshot) : code;
		if (code != 0) {
			(void)pthread_mutex_lock(&env->pool_mutex);
			snapshot->next = env->idle;
			env->idle = snapshot;
			(void)pthread_mutex_unlock(&env->pool_mutex);
			return env_error(code, err, "cannot begin a read transaction");
		}
	}
	memset(snapshot->cursor_is_current, 0, sizeof(snapshot->cursor_is_current));
	snapshot->since_ns = clock_monotonic_ns();
	*ret = snapshot;
	return 0;
}

void env_snapshot_end(struct env *env, struct snapshot *snapshot)
{
	if (snapshot == NULL) {
		return;
	}
	mdb_txn_reset(snapshot->txn);
	snapshot->since_ns = 0;
	(void)pthread_mutex_lock(&env->pool_mutex);
	snapshot->next = env->idle;
	env->idle = snapshot;
	(void)pthread_mutex_unlock(&env->pool_mutex);
}

int env_snapshot_cursor(struct env *env, struct snapshot *snapshot, enum table table,
	MDB_cursor **ret, struct error *err)
{
	int code = 0;

	if (snapshot->cursors[table] == NULL) {
		code = mdb_cursor_open(
			snapshot->txn, env->tables[table], &snapshot->cursors[table]);
	} else if (!snapshot->cursor_is_current[table]) {
		code = mdb_cursor_renew(snapshot->txn, snapshot->cursors[table]);
	}
	if (code != 0) {
		return env_error(code, err, "cannot open a cursor");
	}
	snapshot->cursor_is_current[table] = true;
	*ret = snapshot->cursors[table];
	return 0;
}

uint64_t env_oldest_reader_ns(struct env *env, uint64_t now_ns)
{
	uint64_t oldest = 0;

	(void)pthread_mutex_lock(&env->pool_mutex);
	for (uint32_t i = 0; i < env->all_count; i++) {
		uint64_t since = env->all[i]->since_ns;
		if (since != 0 && since < now_ns && now_ns - since > oldest) {
			oldest = now_ns - since;
		}
	}
	(void)pthread_mutex_unlock(&env->pool_mutex);
	return oldest;
}

int env_begin(struct env *env, MDB_txn **ret, struct error *err)
{
	int code = mdb_txn_begin(env->mdb, NULL, 0, ret);

	return code == 0 ? 0 : env_error(code, err, "cannot begin a write transaction");
}

int env_commit(MDB_txn *txn, struct error *err)
{
	int code = ANNALS_FAULT_ERRNO("lmdb.commit");

	ANNALS_FAULT("lmdb.before_commit");
	if (code != 0) {
		mdb_txn_abort(txn);
		return env_error(code, err, "cannot commit to LMDB");
	}
	code = mdb_txn_commit(txn);
	ANNALS_FAULT("lmdb.after_commit");
	return code == 0 ? 0 : env_error(code, err, "cannot commit to LMDB");
}

static int allocate(int fd, uint64_t bytes)
{
	return fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
}

int env_reserve(struct env *env, uint64_t bytes, struct error *err)
{
	MDB_envinfo info;
	uint64_t needed, ahead;
	mdb_filehandle_t fd;
	int failure;

	(void)mdb_env_info(env->mdb, &info);
	needed = (info.me_last_pgno + 1) * ENV_PAGE_BYTES + bytes;
	if (needed <= env->reserved_bytes) {
		return 0;
	}
	(void)mdb_env_get_fd(env->mdb, &fd);
	ahead = ANNALS_ROUND_UP(needed + RESERVE_STEP_BYTES, (uint64_t)RESERVE_STEP_BYTES);
	failure = ANNALS_FAULT_ERRNO("lmdb.reserve");
	if (failure == 0) {
		failure = allocate(fd, ahead);
		if (failure == ENOSPC || failure == EDQUOT) {
			ahead = needed;
			failure = allocate(fd, ahead);
		}
	}
	if (failure == ENOSPC || failure == EDQUOT) {
		return error_errno(
			err, ANNALS_E_STORAGE_FULL, failure, "cannot reserve space for LMDB");
	}
	/* A file system without fallocate: LMDB will find out by itself. */
	if (failure != 0 && failure != EOPNOTSUPP) {
		return error_errno(err, ANNALS_E_IO, failure, "cannot reserve space for LMDB");
	}
	env->reserved_bytes = ahead;
	return 0;
}

int env_usage(struct env *env, uint64_t *ret_used_bytes, uint64_t *ret_free_pages)
{
	struct snapshot *snapshot;
	MDB_envinfo info;
	MDB_cursor *cursor;
	MDB_val key, value;
	uint64_t free_pages = 0;
	int status = env_snapshot_begin(env, &snapshot, NULL);

	if (status != 0) {
		return status;
	}
	/* LMDB's free list is its table number 0: transaction id -> count, page numbers. */
	if (mdb_cursor_open(snapshot->txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			free_pages += *(const size_t *)value.mv_data;
		}
		mdb_cursor_close(cursor);
	}
	env_snapshot_end(env, snapshot);
	(void)mdb_env_info(env->mdb, &info);
	*ret_used_bytes = (info.me_last_pgno + 1) * (uint64_t)ENV_PAGE_BYTES;
	*ret_free_pages = free_pages;
	return 0;
}
