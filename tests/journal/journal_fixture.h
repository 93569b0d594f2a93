/* What the journal's tests share: a directory, a file journal in it, blocks whose bytes follow from
 * number and seed. */
#ifndef ANNALS_TEST_JOURNAL_FIXTURE_H
#define ANNALS_TEST_JOURNAL_FIXTURE_H

#include "journal/journal_segment.h"
#include "journal/journal_witness.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct journal_fixture {
	char dir[64];
	struct journal_options options;
	struct journal *journal;
	struct error error;
	uint64_t last;
	unsigned seed;      /* of the bytes written from now on */
	bool keeps_witness; /* poking leaves the witness of the last closing alone */
};

static inline void fixture_fill(uint8_t *out, uint64_t number, unsigned seed, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		out[i] = (uint8_t)(number * 31 + seed * 101 + i * 7 + (i >> 8));
	}
}

static inline enum journal_result fixture_open(struct journal_fixture *f)
{
	f->journal = NULL;
	memset(&f->error, 0, sizeof(f->error));
	enum journal_result result = journal_open("file", &f->options, &f->journal, &f->error);
	f->last = result == JOURNAL_OK ? f->journal->last_block : 0;
	return result;
}

static inline void fixture_must_open(struct journal_fixture *f)
{
	enum journal_result result = fixture_open(f);
	ck_assert_msg(result == JOURNAL_OK, "%d %s", result, f->error.text);
}

static inline void fixture_close(struct journal_fixture *f)
{
	journal_close(f->journal);
	f->journal = NULL;
}

static inline void fixture_init(struct journal_fixture *f, uint64_t segment_bytes)
{
	memset(f, 0, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/annals-journal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	f->options = (struct journal_options){
		.dir = f->dir, .segment_bytes = segment_bytes, .store_uuid = {7, 7, 7}};
	fixture_must_open(f);
}

static inline void fixture_empty_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
}

static inline void fixture_release(struct journal_fixture *f)
{
	fixture_close(f);
	fixture_empty_dir(f->dir);
	(void)rmdir(f->dir);
}

static inline enum journal_result fixture_try_write(struct journal_fixture *f, size_t size)
{
	uint8_t *bytes = malloc(size);
	fixture_fill(bytes, f->last + 1, f->seed, size);
	enum journal_result result = journal_write_block(
		f->journal, f->last, bytes_of(bytes, size), &f->last, &f->error);
	free(bytes);
	return result;
}

static inline void fixture_write(struct journal_fixture *f, size_t size)
{
	enum journal_result result = fixture_try_write(f, size);
	ck_assert_msg(result == JOURNAL_OK, "%d %s", result, f->error.text);
}

static inline void fixture_sync(struct journal_fixture *f)
{
	enum journal_result result = journal_sync(f->journal, &f->error);
	ck_assert_msg(result == JOURNAL_OK, "%d %s", result, f->error.text);
}

static inline void fixture_expect(
	struct journal_fixture *f, uint64_t number, unsigned seed, size_t size)
{
	struct buf out = BUF_INIT;
	uint64_t found = 0;
	enum journal_result result =
		journal_read_block(f->journal, number, &out, &found, &f->error);
	ck_assert_msg(result == JOURNAL_OK, "%d %s", result, f->error.text);
	ck_assert_uint_eq(found, number);
	ck_assert_uint_eq(out.size, size);
	uint8_t *bytes = malloc(size);
	fixture_fill(bytes, number, seed, size);
	ck_assert_mem_eq(out.data, bytes, size);
	free(bytes);
	buf_release(&out);
}

/* ---- Damage ---- */

static inline int fixture_segment_fd(struct journal_fixture *f, uint64_t sequence)
{
	char name[SEGMENT_NAME_BYTES], path[128];
	segment_name(name, SEGMENT_NAME_SEGMENT, sequence);
	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_msg(fd >= 0, "%s", path);
	return fd;
}

static inline void fixture_peek(
	struct journal_fixture *f, uint64_t sequence, uint64_t at, void *out, size_t size)
{
	int fd = fixture_segment_fd(f, sequence);
	ck_assert_int_eq(pread(fd, out, size, (off_t)at), (ssize_t)size);
	(void)close(fd);
}

/* Forgets the last closing: what is on the disk looks as after a kill. */
static inline void fixture_forget_witness(struct journal_fixture *f)
{
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, JOURNAL_WITNESS_NAME);
	(void)unlink(path);
}

static inline void fixture_poke(
	struct journal_fixture *f, uint64_t sequence, uint64_t at, const void *in, size_t size)
{
	if (!f->keeps_witness) {
		fixture_forget_witness(f);
	}
	int fd = fixture_segment_fd(f, sequence);
	ck_assert_int_eq(pwrite(fd, in, size, (off_t)at), (ssize_t)size);
	(void)close(fd);
}

static inline void fixture_flip(
	struct journal_fixture *f, uint64_t sequence, uint64_t at, uint8_t bits)
{
	uint8_t byte;
	fixture_peek(f, sequence, at, &byte, 1);
	byte ^= bits;
	fixture_poke(f, sequence, at, &byte, 1);
}

#endif
