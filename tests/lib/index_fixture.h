/* An LMDB environment of its own for tests of index runs, with one write transaction open. */
#ifndef TESTS_INDEX_FIXTURE_H
#define TESTS_INDEX_FIXTURE_H

#include "index/run.h"
#include "index/run_format.h"

#include <annals/hash.h>
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct index_fixture {
	char dir[64];
	struct env env;
	MDB_txn *txn;
	MDB_cursor *cursor;
	struct error err;
	struct random random;
};

static inline void index_fixture_begin(struct index_fixture *f)
{
	ck_assert_int_eq(env_begin(&f->env, &f->txn, &f->err), 0);
	ck_assert_int_eq(mdb_cursor_open(f->txn, f->env.tables[TABLE_INDEX], &f->cursor), 0);
}

static inline void index_fixture_commit(struct index_fixture *f)
{
	mdb_cursor_close(f->cursor);
	ck_assert_int_eq(env_commit(f->txn, &f->err), 0);
	index_fixture_begin(f);
}

static inline void index_fixture_abort(struct index_fixture *f)
{
	mdb_cursor_close(f->cursor);
	mdb_txn_abort(f->txn);
	index_fixture_begin(f);
}

static inline void index_fixture_init(struct index_fixture *f)
{
	memset(f, 0, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/annals-index-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	f->random.state = 42;
	ck_assert_msg(env_open(&f->env, f->dir, UINT64_C(1) << 30, false, &f->err) == 0, "%s",
		f->err.text);
	index_fixture_begin(f);
}

static inline int index_fixture_remove(
	const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void index_fixture_release(struct index_fixture *f)
{
	mdb_cursor_close(f->cursor);
	mdb_txn_abort(f->txn);
	env_close(&f->env);
	(void)nftw(f->dir, index_fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Rows of the table. */
static inline size_t index_fixture_rows(struct index_fixture *f)
{
	MDB_stat stat;
	ck_assert_int_eq(mdb_stat(f->txn, f->env.tables[TABLE_INDEX], &stat), 0);
	return stat.ms_entries;
}

static inline struct index_hash index_fixture_hash(uint64_t number)
{
	struct random random = {.state = number * 7919};
	uint64_t high = random_next(&random);
	return (struct index_hash){high, random_next(&random)};
}

static inline int index_fixture_compare(const void *a, const void *b)
{
	return index_entry_compare(a, b);
}

/*
 * Entries of hashes [0, hashes) in random turns, with orders from `order` on in the order of time,
 * sorted. The caller frees them.
 */
static inline struct index_entry *index_fixture_entries(
	struct index_fixture *f, size_t count, uint64_t hashes, uint64_t order)
{
	struct index_entry *entries = calloc(count, sizeof(*entries));
	ck_assert_ptr_nonnull(entries);
	for (size_t i = 0; i < count; i++) {
		entries[i] = (struct index_entry){
			.hash = index_fixture_hash(random_below(&f->random, hashes)),
			.order = order + i,
			.place = index_place(3, i),
			.extra = i * 2};
	}
	qsort(entries, count, sizeof(*entries), index_fixture_compare);
	return entries;
}

static inline void index_fixture_write(struct index_fixture *f, uint32_t topic_id,
	enum index_kind kind, struct run *run, const struct index_entry *entries, size_t count)
{
	int status = run_write(&f->env, f->txn, topic_id, kind, run, entries, count, &f->err);
	ck_assert_msg(status == 0, "%s", f->err.text);
}

static inline void index_fixture_load(
	struct index_fixture *f, uint32_t topic_id, enum index_kind kind, struct run_list *ret)
{
	int status = run_list_load(f->cursor, topic_id, kind, ret, &f->err);
	ck_assert_msg(status == 0, "%s", f->err.text);
}

static inline bool index_entry_equal(const struct index_entry *a, const struct index_entry *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* What an answer should hold, and how far it got. */
struct index_expected {
	const struct index_entry *entries;
	size_t count, seen;
	size_t stop_after; /* 0: never */
};

static inline int index_expect(void *arg, const struct index_entry *entry)
{
	struct index_expected *expected = arg;
	ck_assert_uint_lt(expected->seen, expected->count);
	ck_assert(index_entry_equal(entry, &expected->entries[expected->seen]));
	expected->seen++;
	return expected->seen == expected->stop_after ? 77 : 0;
}

#endif
