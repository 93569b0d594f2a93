/* What the file journal makes of damaged, torn, stale and foreign files. */
#include "../journal/journal_fixture.h"

#include <annals/crc32c.h>
#include <annals/fault.h>
#include <annals/hash.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define SEGMENT_BYTES (64u << 10)
#define FIRST_AT 4096u

static struct journal_fixture f;

static void set_up(void)
{
	fixture_init(&f, SEGMENT_BYTES);
}

static void tear_down(void)
{
	fixture_release(&f);
}

static void reopen(void)
{
	fixture_close(&f);
	fixture_must_open(&f);
}

/* The prepared segment notes which block is durable; tests that tear a block off must not let it
 * see that block. */
static void wait_until_prepared(void)
{
	struct journal_stats stats = {.segments = 0};
	while (stats.segments < 2) {
		(void)usleep(1000);
		journal_stats(f.journal, &stats);
	}
}

static void expect_corrupt(const char *word)
{
	ck_assert_int_eq(fixture_open(&f), JOURNAL_CORRUPT);
	ck_assert_int_eq(f.error.code, ANNALS_E_CORRUPT_DATA);
	ck_assert_msg(strstr(f.error.text, word) != NULL, "%s", f.error.text);
	/* Looking changes nothing: it is as damaged as before. */
	f.options.read_only = true;
	ck_assert_int_eq(fixture_open(&f), JOURNAL_CORRUPT);
	f.options.read_only = false;
}

/* Blocks 1 to 3 are synced, then 4 was being written: the first `cut` bytes of its frame are there,
 * behind them is what was there before. */
START_TEST(test_journal_file_torn_tail_is_overwritten)
{
	enum { SIZE = 10000, FRAME = 12288 };
	static uint8_t before[FRAME], frame[FRAME], torn[2 * FRAME];
	wait_until_prepared();
	for (int i = 0; i < 3; i++) {
		fixture_write(&f, 100);
	}
	fixture_sync(&f);
	uint64_t at = FIRST_AT + 3 * 4096;
	memset(before, _i ? 0xa5 : 0, sizeof(before));
	fixture_write(&f, SIZE);
	fixture_peek(&f, 1, at, frame, sizeof(frame));
	for (size_t cut = 0; cut <= FRAME; cut += 512) {
		fixture_close(&f);
		memcpy(torn, before, FRAME);
		memcpy(torn, frame, cut);
		fixture_poke(&f, 1, at, torn, sizeof(torn));
		fixture_must_open(&f);
		bool whole = cut >= JOURNAL_HEADER_BYTES + SIZE;
		ck_assert_uint_eq(f.last, whole ? 4 : 3);
		fixture_expect(&f, 3, 0, 100);
		f.seed = 1;
		fixture_write(&f, 5000);
		uint64_t last = f.last;
		reopen();
		ck_assert_uint_eq(f.last, last);
		fixture_expect(&f, last, 1, 5000);
		f.seed = 0;
	}
}
END_TEST

START_TEST(test_journal_file_every_header_byte_of_the_last_frame_counts)
{
	uint8_t header[JOURNAL_HEADER_BYTES];
	wait_until_prepared();
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_write(&f, 100);
	fixture_close(&f);
	uint64_t at = FIRST_AT + 4096;
	fixture_peek(&f, 1, at, header, sizeof(header));
	for (size_t i = 0; i < sizeof(header); i++) {
		fixture_poke(&f, 1, at, header, sizeof(header));
		fixture_flip(&f, 1, at + i, 0x10);
		fixture_must_open(&f);
		ck_assert_uint_eq(f.last, 1);
		fixture_close(&f);
	}
	fixture_poke(&f, 1, at, header, sizeof(header));
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 2);
}
END_TEST

START_TEST(test_journal_file_damage_before_the_end_is_reported)
{
	for (int i = 0; i < 5; i++) {
		fixture_write(&f, 100);
		fixture_sync(&f);
	}
	fixture_close(&f);
	/* Any byte of any block but the last one: magic, chain, payload ... */
	static const unsigned places[] = {
		0, 5, 9, 17, 24, 33, 41, 45, 50, 54, 57, 61, 64, 120, 163};
	for (unsigned block = 0; block < 4; block++) {
		for (size_t i = 0; i < ANNALS_COUNT_OF(places); i++) {
			uint64_t at = FIRST_AT + block * 4096 + places[i];
			char word[64];
			fixture_flip(&f, 1, at, 0x01);
			(void)snprintf(word, sizeof(word), "block %u should be at byte %u",
				block + 1, FIRST_AT + block * 4096);
			expect_corrupt(word);
			ck_assert_ptr_nonnull(strstr(f.error.text, "0000000000000001.segment"));
			fixture_flip(&f, 1, at, 0x01);
		}
	}
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 5);
}
END_TEST

START_TEST(test_journal_file_bytes_after_a_block_do_not_matter)
{
	fixture_write(&f, 100);
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_close(&f);
	fixture_flip(&f, 1, FIRST_AT + 64 + 100, 0xff);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 2);
}
END_TEST

/* A disk may write out of order: of three blocks between two syncs only the last one arrived. */
START_TEST(test_journal_file_unsynced_block_behind_a_gap_is_no_damage)
{
	static const uint8_t zeros[4096];
	wait_until_prepared();
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_write(&f, 100);
	fixture_write(&f, 100);
	fixture_write(&f, 100);
	fixture_close(&f);
	fixture_poke(&f, 1, FIRST_AT + 4096, zeros, sizeof(zeros));
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 1);
	/* The same block again, byte for byte, does not bring the old third one back. */
	fixture_write(&f, 100);
	fixture_sync(&f);
	reopen();
	ck_assert_uint_eq(f.last, 2);
	fixture_write(&f, 100);
	fixture_sync(&f);
	reopen();
	ck_assert_uint_eq(f.last, 3);
}
END_TEST

START_TEST(test_journal_file_damage_across_segments_is_reported)
{
	for (int i = 0; i < 40; i++) {
		fixture_write(&f, 4000);
		fixture_sync(&f);
	}
	fixture_close(&f);
	/* The last block of segment 1, the first of segment 2. */
	fixture_flip(&f, 1, SEGMENT_BYTES - 4096 + 70, 1);
	expect_corrupt("block 15");
	fixture_flip(&f, 1, SEGMENT_BYTES - 4096 + 70, 1);
	fixture_flip(&f, 2, FIRST_AT + 70, 1);
	expect_corrupt("block 16");
	fixture_flip(&f, 2, FIRST_AT + 70, 1);
	/* The very first one: nothing before it. */
	fixture_flip(&f, 1, FIRST_AT + 70, 1);
	expect_corrupt("block 1 ");
	fixture_flip(&f, 1, FIRST_AT + 70, 1);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 40);
}
END_TEST

static void remove_segment(uint64_t sequence)
{
	char name[SEGMENT_NAME_BYTES], path[128];
	segment_name(name, SEGMENT_NAME_SEGMENT, sequence);
	(void)snprintf(path, sizeof(path), "%s/%s", f.dir, name);
	ck_assert_int_eq(unlink(path), 0);
}

START_TEST(test_journal_file_missing_segments_are_reported)
{
	for (int i = 0; i < 40; i++) {
		fixture_write(&f, 4000);
		fixture_sync(&f);
	}
	fixture_close(&f);
	remove_segment(2);
	expect_corrupt("segment 2 is missing");
	/* Only the prepared segment is left: it knows that there were blocks. */
	remove_segment(1);
	remove_segment(3);
	expect_corrupt("segment 4");
}
END_TEST

START_TEST(test_journal_file_segment_header_is_checked)
{
	uint8_t header[JOURNAL_HEADER_BYTES];
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_close(&f);
	fixture_peek(&f, 1, 0, header, sizeof(header));
	fixture_flip(&f, 1, 20, 1);
	expect_corrupt("damaged header");
	fixture_poke(&f, 1, 0, header, sizeof(header));

	f.options.store_uuid[0] = 8;
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_INVALID);
	ck_assert_ptr_nonnull(strstr(f.error.text, "another store"));
	f.options.store_uuid[0] = 7;

	store_u32(header + 4, JOURNAL_FORMAT + 1);
	store_u32(header + 60, crc32c(0, header, 60));
	fixture_poke(&f, 1, 0, header, sizeof(header));
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_FORMAT_NEWER);
}
END_TEST

START_TEST(test_journal_file_short_segment_is_reported)
{
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_close(&f);
	int fd = fixture_segment_fd(&f, 1);
	ck_assert_int_eq(ftruncate(fd, SEGMENT_BYTES - 4096), 0);
	(void)close(fd);
	expect_corrupt("header says 65536");
}
END_TEST

START_TEST(test_journal_file_swapped_segments_are_reported)
{
	char a[128], b[128], c[128];
	for (int i = 0; i < 20; i++) {
		fixture_write(&f, 4000);
	}
	fixture_sync(&f);
	fixture_close(&f);
	(void)snprintf(a, sizeof(a), "%s/0000000000000001.segment", f.dir);
	(void)snprintf(b, sizeof(b), "%s/0000000000000002.segment", f.dir);
	(void)snprintf(c, sizeof(c), "%s/x", f.dir);
	ck_assert_int_eq(rename(a, c) | rename(b, a) | rename(c, b), 0);
	expect_corrupt("says that it is segment 2");
}
END_TEST

/* Old frames of a recycled file lie exactly where the next ones go. */
START_TEST(test_journal_file_recycled_blocks_are_never_taken_for_new_ones)
{
	for (int round = 0; round < 8; round++) {
		f.seed = (unsigned)round;
		for (int i = 0; i < 17; i++) {
			fixture_write(&f, 4000);
			fixture_sync(&f);
			uint64_t last = f.last;
			reopen();
			ck_assert_uint_eq(f.last, last);
		}
		ck_assert_int_eq(journal_trim(f.journal, f.last, &f.error), JOURNAL_OK);
	}
	struct journal_stats stats;
	journal_stats(f.journal, &stats);
	ck_assert_uint_le(stats.segments, 3);
	ck_assert_uint_le(stats.bytes, 5 * SEGMENT_BYTES);
}
END_TEST

START_TEST(test_journal_file_spares_are_bounded)
{
	for (int i = 0; i < 200; i++) {
		fixture_write(&f, 4000);
	}
	fixture_sync(&f);
	ck_assert_int_eq(journal_trim(f.journal, f.last, &f.error), JOURNAL_OK);
	fixture_close(&f);
	unsigned files = 0;
	DIR *dir = opendir(f.dir);
	struct dirent *entry;
	while ((entry = readdir(dir)) != NULL) {
		files += entry->d_name[0] != '.';
	}
	(void)closedir(dir);
	/* The current one, the prepared one, two spares; the witness. */
	ck_assert_uint_le(files, 5);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 200);
}
END_TEST

START_TEST(test_journal_file_block_must_fit_into_a_segment)
{
	size_t max = SEGMENT_BYTES - 4096 - JOURNAL_HEADER_BYTES;
	ck_assert_int_eq(fixture_try_write(&f, max + 1), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_INVALID);
	fixture_write(&f, 10);
	fixture_write(&f, max);
	fixture_write(&f, max);
	fixture_sync(&f);
	reopen();
	ck_assert_uint_eq(f.last, 3);
	fixture_expect(&f, 3, 0, max);
}
END_TEST

START_TEST(test_journal_file_segment_size_may_change)
{
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 30; i++) {
			fixture_write(&f, 4000);
		}
		fixture_sync(&f);
		fixture_close(&f);
		f.options.segment_bytes = round % 2 == 0 ? 2 * SEGMENT_BYTES : SEGMENT_BYTES;
		fixture_must_open(&f);
		ck_assert_uint_eq(f.last, (round + 1) * 30);
	}
	fixture_expect(&f, 1, 0, 4000);
	fixture_close(&f);
	f.options.segment_bytes = 4096;
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	f.options.segment_bytes = SEGMENT_BYTES + 1;
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_INVALID);
}
END_TEST

START_TEST(test_journal_file_half_made_files_are_removed)
{
	char path[128];
	fixture_write(&f, 10);
	fixture_sync(&f);
	fixture_close(&f);
	(void)snprintf(path, sizeof(path), "%s/%s", f.dir, SEGMENT_CREATING_NAME);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	fixture_must_open(&f);
	/* The journal may be making its next segment under this name already. */
	for (unsigned tries = 0; access(path, F_OK) == 0 && tries < 1000; tries++) {
		(void)usleep(10000);
	}
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_uint_eq(f.last, 1);
}
END_TEST

START_TEST(test_journal_file_missing_directory_fails)
{
	f.options.dir = "/tmp/annals-journal-that-is-not-there";
	fixture_close(&f);
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_IO);
	f.options.dir = f.dir;
}
END_TEST

START_TEST(test_journal_file_read_only_directory_fails)
{
	fixture_close(&f);
	fixture_empty_dir(f.dir);
	ck_assert_int_eq(chmod(f.dir, 0555), 0);
	bool root = geteuid() == 0;
	ck_assert_int_eq(root ? seteuid(65534) : 0, 0);
	enum journal_result result = fixture_open(&f);
	ck_assert_int_eq(root ? seteuid(0) : 0, 0);
	ck_assert_int_eq(chmod(f.dir, 0755), 0);
	ck_assert_int_eq(result, JOURNAL_FAILED);
	ck_assert_msg(strstr(f.error.text, "ermission denied") != NULL, "%s", f.error.text);
}
END_TEST

/* A tmpfs of room for a few segments and the witness, in a mount namespace of this process. False
 * where that is not allowed. */
static bool mount_small_disk(unsigned segments)
{
	char options[64];
	(void)snprintf(options, sizeof(options), "size=%u", segments * SEGMENT_BYTES + 8192);
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", f.dir, "tmpfs", 0, options) == 0;
}

START_TEST(test_journal_file_full_disk_is_a_normal_state)
{
	fixture_close(&f);
	fixture_empty_dir(f.dir);
	if (!mount_small_disk(4)) {
		(void)fprintf(stderr, "skipped: cannot mount a tmpfs\n");
		fixture_must_open(&f);
		return;
	}
	fixture_must_open(&f);
	enum journal_result result = JOURNAL_OK;
	while (result == JOURNAL_OK && f.last < 1000) {
		result = fixture_try_write(&f, 4000);
		if (result == JOURNAL_OK) {
			fixture_sync(&f);
		}
	}
	ck_assert_int_eq(result, JOURNAL_FULL);
	ck_assert_int_eq(f.error.code, ANNALS_E_STORAGE_FULL);
	ck_assert_uint_eq(f.last, 60); /* four segments of fifteen pages, all used */
	ck_assert_int_eq(fixture_try_write(&f, 4000), JOURNAL_FULL);
	fixture_expect(&f, 1, 0, 4000);
	/* It opens on a full disk, too. */
	reopen();
	ck_assert_uint_eq(f.last, 60);
	ck_assert_int_eq(fixture_try_write(&f, 4000), JOURNAL_FULL);
	/* What trim sets free is used at once. */
	ck_assert_int_eq(journal_trim(f.journal, 20, &f.error), JOURNAL_OK);
	fixture_write(&f, 4000);
	fixture_sync(&f);
	reopen();
	ck_assert_uint_eq(f.last, 61);
	fixture_close(&f);
	(void)umount(f.dir);
}
END_TEST

START_TEST(test_journal_file_opens_on_a_disk_without_room_for_a_segment)
{
	fixture_close(&f);
	fixture_empty_dir(f.dir);
	if (!mount_small_disk(1)) {
		fixture_must_open(&f);
		return;
	}
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/ballast", f.dir);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(posix_fallocate(fd, 0, 16384), 0);
	(void)close(fd);
	fixture_must_open(&f);
	ck_assert_int_eq(fixture_try_write(&f, 10), JOURNAL_FULL);
	ck_assert_int_eq(unlink(path), 0);
	fixture_write(&f, 10);
	fixture_sync(&f);
	fixture_close(&f);
	(void)umount(f.dir);
}
END_TEST

/* ---- The witness of the newest block ---- */

static void witness_path(char out[128])
{
	(void)snprintf(out, 128, "%s/%s", f.dir, JOURNAL_WITNESS_NAME);
}

/* One byte of the witness file. */
static void flip_witness(off_t at)
{
	char path[128];
	uint8_t byte;
	witness_path(path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

/* Opens, appends a synced block of 100 bytes where `appends`, and dies without closing. */
static void open_and_die(bool appends)
{
	pid_t pid = fork();
	if (pid == 0) {
		bool done = fixture_open(&f) == JOURNAL_OK &&
			    (!appends || (fixture_try_write(&f, 100) == JOURNAL_OK &&
						 journal_sync(f.journal, &f.error) == JOURNAL_OK));
		_exit(done ? 0 : 1);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static void write_and_close(unsigned blocks)
{
	wait_until_prepared();
	for (unsigned i = 0; i < blocks; i++) {
		fixture_write(&f, 100);
	}
	fixture_sync(&f);
	fixture_close(&f);
	f.keeps_witness = true;
}

/* Whatever byte of it rots after a clean end. */
START_TEST(test_journal_file_newest_block_has_a_witness_after_closing)
{
	write_and_close(3);
	uint64_t at = FIRST_AT + 2 * 4096;
	for (uint64_t i = 0; i < JOURNAL_HEADER_BYTES + 100; i++) {
		fixture_flip(&f, 1, at + i, 0x02);
		expect_corrupt("block 3 was stored at byte 12288 of '0000000000000001.segment'");
		fixture_flip(&f, 1, at + i, 0x02);
	}
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 3);
}
END_TEST

START_TEST(test_journal_file_newest_block_has_a_witness_after_reopening)
{
	write_and_close(1);
	open_and_die(true);
	/* Killed, and not opened since: looks like a torn write. */
	fixture_flip(&f, 1, FIRST_AT + 4096 + 70, 1);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 1);
	fixture_close(&f);
	open_and_die(true);
	open_and_die(false);
	fixture_flip(&f, 1, FIRST_AT + 4096 + 70, 1);
	expect_corrupt("block 2 was stored");
	fixture_flip(&f, 1, FIRST_AT + 4096 + 70, 1);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 2);
}
END_TEST

/* The place where a block was torn off brings back what it held then. */
START_TEST(test_journal_file_older_newest_block_is_no_substitute)
{
	static uint8_t older[4096], zeros[4096];
	uint64_t at = FIRST_AT + 4096;
	wait_until_prepared();
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_write(&f, 100);
	fixture_close(&f);
	fixture_peek(&f, 1, at, older, sizeof(older));
	fixture_poke(&f, 1, at, zeros, sizeof(zeros));
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 1);
	write_and_close(1);
	fixture_poke(&f, 1, at, older, sizeof(older));
	expect_corrupt("another one is there");
}
END_TEST

START_TEST(test_journal_file_witness_of_missing_segments)
{
	char path[128];
	struct dirent *entry;
	write_and_close(2);
	DIR *dir = opendir(f.dir);
	while ((entry = readdir(dir)) != NULL) {
		if (strstr(entry->d_name, ".segment") != NULL) {
			(void)snprintf(path, sizeof(path), "%.60s/%.60s", f.dir, entry->d_name);
			ck_assert_int_eq(unlink(path), 0);
		}
	}
	(void)closedir(dir);
	expect_corrupt("ends with block 0");
	fixture_forget_witness(&f);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 0);
}
END_TEST

/* A witness that rots, or was torn, stops nothing and is written anew. */
START_TEST(test_journal_file_rotten_witness_stops_nothing)
{
	char path[128];
	witness_path(path);
	write_and_close(2);
	for (off_t at = 0; at < (off_t)JOURNAL_HEADER_BYTES; at++) {
		flip_witness(at);
		flip_witness(4096 + at);
		f.options.read_only = true;
		fixture_must_open(&f);
		fixture_close(&f);
		f.options.read_only = false;
		fixture_must_open(&f);
		ck_assert_uint_eq(f.last, 2);
		fixture_close(&f);
		fixture_flip(&f, 1, FIRST_AT + 4096 + 80, 1);
		expect_corrupt("block 2 was stored");
		fixture_flip(&f, 1, FIRST_AT + 4096 + 80, 1);
	}
	static const off_t sizes[] = {0, 10, 63, 64, 4096, 4100, 4160};
	for (size_t i = 0; i < ANNALS_COUNT_OF(sizes); i++) {
		struct stat st;
		ck_assert_int_eq(truncate(path, sizes[i]), 0);
		fixture_must_open(&f);
		ck_assert_uint_eq(f.last, 2 + i);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_size >= 4096, 1);
		write_and_close(1);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_size, 8192);
	}
}
END_TEST

/* One slot is always there: the other one may be torn by a power cut. */
START_TEST(test_journal_file_torn_witness_leaves_the_one_before)
{
	write_and_close(2);
	fixture_must_open(&f);
	write_and_close(1);
	/* The two hold 2 and 3, in either order. */
	for (off_t at = 0; at <= 4096; at += 4096) {
		struct journal_witness witness;
		int slot, dir = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		flip_witness(at + 30);
		ck_assert_int_eq(
			journal_witness_read(dir, f.options.store_uuid, &witness, &slot, &f.error),
			0);
		(void)close(dir);
		ck_assert_int_eq(slot, at == 0 ? 1 : 0);
		ck_assert(witness.number == 2 || witness.number == 3);
		flip_witness(at + 30);
	}
	/* Nothing new is nothing to write. */
	char path[128];
	struct stat before, after;
	witness_path(path);
	ck_assert_int_eq(stat(path, &before), 0);
	fixture_must_open(&f);
	fixture_close(&f);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}
END_TEST

START_TEST(test_journal_file_newer_witness_is_refused)
{
	uint8_t page[JOURNAL_HEADER_BYTES];
	char path[128];
	witness_path(path);
	write_and_close(1);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t at = 0; at <= 4096; at += 4096) {
		ck_assert_int_eq(pread(fd, page, sizeof(page), at), (ssize_t)sizeof(page));
		store_u32(page + 4, 2);
		store_u32(page + 60, crc32c(0, page, 60));
		ck_assert_int_eq(pwrite(fd, page, sizeof(page), at), (ssize_t)sizeof(page));
	}
	(void)close(fd);
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_FORMAT_NEWER);
	fixture_forget_witness(&f);
	fixture_must_open(&f);
	/* What this version reads only it does not make. */
	fixture_close(&f);
	fixture_forget_witness(&f);
	f.options.read_only = true;
	fixture_must_open(&f);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

/* ---- Processes that die ---- */

/* Children use no check macros: those write into a file that the parent writes, too. */
static void child_write(size_t size, bool sync, int report_fd)
{
	if (fixture_try_write(&f, size) != JOURNAL_OK) {
		_exit(1);
	}
	if (sync && (journal_sync(f.journal, &f.error) != JOURNAL_OK ||
			    write(report_fd, &f.last, sizeof(f.last)) != sizeof(f.last))) {
		_exit(1);
	}
}

/* Writes blocks until it is killed and reports each number after its sync. */
static void write_until_killed(int report_fd)
{
	if (fixture_open(&f) != JOURNAL_OK) {
		_exit(1);
	}
	for (;;) {
		child_write(1 + f.last * 977 % 9000, f.last % 3 != 0, report_fd);
		if (f.last % 40 == 0 &&
			journal_trim(f.journal, f.last - 20, &f.error) != JOURNAL_OK) {
			_exit(1);
		}
	}
}

START_TEST(test_journal_file_kill_loses_nothing_reported)
{
	struct random random = {20261123};
	fixture_close(&f);
	for (int round = 0; round < 25; round++) {
		int pipe_fds[2];
		ck_assert_int_eq(pipe(pipe_fds), 0);
		pid_t pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			(void)close(pipe_fds[0]);
			write_until_killed(pipe_fds[1]);
		}
		(void)close(pipe_fds[1]);
		(void)usleep((useconds_t)(2000 + random_below(&random, 40000)));
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		uint64_t reported = 0, number;
		while (read(pipe_fds[0], &number, sizeof(number)) == sizeof(number)) {
			reported = number;
		}
		(void)close(pipe_fds[0]);
		fixture_must_open(&f);
		ck_assert_uint_ge(f.last, reported);
		for (uint64_t i = f.journal->first_block; i != 0 && i <= f.last; i++) {
			fixture_expect(&f, i, 0, 1 + (i - 1) * 977 % 9000);
		}
		fixture_close(&f);
	}
}
END_TEST

#ifdef ANNALS_FAULT_INJECTION
/* ---- Injected errors ---- */

START_TEST(test_journal_file_write_error_before_the_first_byte)
{
	fixture_write(&f, 100);
	fixture_sync(&f);
	fault_set(NULL, "journal.write:1:28"); /* ENOSPC */
	ck_assert_int_eq(fixture_try_write(&f, 5000), JOURNAL_FULL);
	fixture_write(&f, 5000); /* and goes on */
	fixture_sync(&f);
	fault_set(NULL, "journal.write:1:5"); /* EIO */
	ck_assert_int_eq(fixture_try_write(&f, 5000), JOURNAL_UNKNOWN);
	ck_assert_int_eq(f.error.code, ANNALS_E_OUTCOME_UNKNOWN);
	ck_assert_int_eq(fixture_try_write(&f, 5000), JOURNAL_UNKNOWN);
	ck_assert_int_eq(journal_sync(f.journal, &f.error), JOURNAL_UNKNOWN);
	fault_set(NULL, NULL);
	reopen();
	ck_assert_uint_eq(f.last, 2);
}
END_TEST

START_TEST(test_journal_file_short_writes_are_continued)
{
	fault_set(NULL, "journal.short_write:1:5:0"); /* every write stops after the first part */
	for (int i = 0; i < 5; i++) {
		fixture_write(&f, 5000);
	}
	fault_set(NULL, NULL);
	fixture_sync(&f);
	reopen();
	ck_assert_uint_eq(f.last, 5);
	fixture_expect(&f, 5, 0, 5000);
}
END_TEST

START_TEST(test_journal_file_interrupted_writes_are_repeated)
{
	fault_set(NULL, "journal.write:1:4:3"); /* EINTR, three times */
	fixture_write(&f, 5000);
	fixture_sync(&f);
	fixture_expect(&f, 1, 0, 5000);
}
END_TEST

START_TEST(test_journal_file_failed_sync_is_final)
{
	fixture_write(&f, 100);
	fixture_sync(&f);
	fixture_write(&f, 100);
	fault_set(NULL, "journal.sync:1:5");
	ck_assert_int_eq(journal_sync(f.journal, &f.error), JOURNAL_UNKNOWN);
	ck_assert_int_eq(journal_sync(f.journal, &f.error), JOURNAL_UNKNOWN);
	ck_assert_int_eq(fixture_try_write(&f, 100), JOURNAL_UNKNOWN);
	fixture_expect(&f, 2, 0, 100); /* reading goes on */
	fault_set(NULL, NULL);
	reopen();
	ck_assert_uint_eq(f.last, 2);
	fixture_write(&f, 100);
}
END_TEST

START_TEST(test_journal_file_failed_open_sync_fails)
{
	fixture_write(&f, 100);
	fixture_close(&f);
	fault_set(NULL, "journal.open_sync:1:5");
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_IO);
	fault_set(NULL, "journal.read:1:5");
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_IO);
	fault_set(NULL, NULL);
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 1);
}
END_TEST

START_TEST(test_journal_file_failing_witness)
{
	wait_until_prepared();
	fixture_write(&f, 100);
	fixture_sync(&f);
	/* Closing does without. */
	fault_set(NULL, "journal.witness:1:5");
	fixture_close(&f);
	fault_set(NULL, "journal.witness:1:5");
	ck_assert_int_eq(fixture_open(&f), JOURNAL_FAILED);
	ck_assert_int_eq(f.error.code, ANNALS_E_IO);
	ck_assert_ptr_nonnull(strstr(f.error.text, "'witness'"));
	/* A full disk opens. */
	fault_set(NULL, "journal.witness:1:28");
	fixture_must_open(&f);
	ck_assert_uint_eq(f.last, 1);
	fixture_close(&f);
	fault_set(NULL, NULL);
	f.keeps_witness = true;
	fixture_flip(&f, 1, FIRST_AT + 70, 1);
	expect_corrupt("block 1 was stored");
}
END_TEST

/* Every step of making a segment fails for a while: writes are refused, nothing is lost, and it
 * goes on afterwards. */
START_TEST(test_journal_file_failing_preparation)
{
	static const char *const points[] = {"journal.segment_create", "journal.segment_zero",
		"journal.segment_header", "journal.segment_rename", "journal.directory_sync"};
	char fault[64];
	wait_until_prepared();
	(void)snprintf(fault, sizeof(fault), "%s:1:%d:0", points[_i / 2], _i % 2 ? EIO : ENOSPC);
	fault_set(NULL, fault);
	enum journal_result result = JOURNAL_OK;
	while (result == JOURNAL_OK && f.last < 1000) {
		result = fixture_try_write(&f, 4000);
	}
	ck_assert_uint_eq(f.last, 30);
	bool full = _i % 2 == 0 && strcmp(points[_i / 2], "journal.directory_sync") != 0;
	ck_assert_int_eq(result, full ? JOURNAL_FULL : JOURNAL_FAILED);
	ck_assert_int_ne(f.error.text[0], 0);
	fault_set(NULL, NULL);
	fixture_write(&f, 4000);
	fixture_sync(&f);
	reopen();
	ck_assert_uint_eq(f.last, 31);
}
END_TEST

START_TEST(test_journal_file_failing_recycling)
{
	for (int i = 0; i < 60; i++) {
		fixture_write(&f, 4000);
	}
	fixture_sync(&f);
	fault_set(NULL, "journal.segment_recycle:1:5");
	ck_assert_int_eq(journal_trim(f.journal, 40, &f.error), JOURNAL_FAILED);
	fixture_expect(&f, 1, 0, 4000);
	ck_assert_int_eq(journal_trim(f.journal, 40, &f.error), JOURNAL_OK);
	reopen();
	ck_assert_uint_eq(f.journal->first_block, 31);
	ck_assert_uint_eq(f.last, 60);
}
END_TEST

/* Dies at each point in turn: what was synced is there afterwards. */
START_TEST(test_journal_file_dies_at_every_point)
{
	static const char *const points[] = {"journal.before_open", "journal.open_scan",
		"journal.open_rewrite", "journal.open_sync", "journal.after_open",
		"journal.before_write", "journal.after_write", "journal.before_sync",
		"journal.after_sync", "journal.segment_create", "journal.segment_zero",
		"journal.segment_header", "journal.segment_rename", "journal.directory_sync",
		"journal.segment_switch", "journal.before_trim", "journal.segment_recycle",
		"journal.segment_unlink", "journal.after_trim", "journal.read",
		"journal.witness_sync"};
	fixture_write(&f, 10);
	fixture_sync(&f);
	fixture_close(&f);
	for (int n = 1; n <= 3; n++) {
		int pipe_fds[2];
		char fault[64];
		ck_assert_int_eq(pipe(pipe_fds), 0);
		fixture_forget_witness(&f); /* opening writes it again */
		(void)snprintf(fault, sizeof(fault), "%s:%d", points[_i], n);
		pid_t pid = fork();
		if (pid == 0) {
			fault_set(fault, NULL);
			/* Enough to pass every point; ends where one is passed less than n times.
			 */
			if (fixture_open(&f) != JOURNAL_OK) {
				_exit(1);
			}
			for (int i = 0; i < 150; i++) {
				child_write(4000, true, pipe_fds[1]);
				if (i % 70 == 69) {
					(void)!journal_trim(f.journal, f.last - 2, &f.error);
				}
			}
			_exit(0);
		}
		(void)close(pipe_fds[1]);
		int status = 0;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) || (n > 1 && WEXITSTATUS(status) == 0));
		uint64_t reported = 0, number;
		while (read(pipe_fds[0], &number, sizeof(number)) == sizeof(number)) {
			reported = number;
		}
		(void)close(pipe_fds[0]);
		fixture_must_open(&f);
		ck_assert_uint_ge(f.last, reported);
		uint64_t first = f.journal->first_block == 1 ? 2 : f.journal->first_block;
		for (uint64_t i = first; i <= f.last; i++) {
			fixture_expect(&f, i, 0, 4000);
		}
		fixture_close(&f);
	}
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("journal_file");
	TCase *tcase = tcase_create("journal_file");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, test_journal_file_torn_tail_is_overwritten, 0, 2);
	tcase_add_test(tcase, test_journal_file_every_header_byte_of_the_last_frame_counts);
	tcase_add_test(tcase, test_journal_file_damage_before_the_end_is_reported);
	tcase_add_test(tcase, test_journal_file_bytes_after_a_block_do_not_matter);
	tcase_add_test(tcase, test_journal_file_unsynced_block_behind_a_gap_is_no_damage);
	tcase_add_test(tcase, test_journal_file_damage_across_segments_is_reported);
	tcase_add_test(tcase, test_journal_file_missing_segments_are_reported);
	tcase_add_test(tcase, test_journal_file_segment_header_is_checked);
	tcase_add_test(tcase, test_journal_file_short_segment_is_reported);
	tcase_add_test(tcase, test_journal_file_swapped_segments_are_reported);
	tcase_add_test(tcase, test_journal_file_recycled_blocks_are_never_taken_for_new_ones);
	tcase_add_test(tcase, test_journal_file_spares_are_bounded);
	tcase_add_test(tcase, test_journal_file_block_must_fit_into_a_segment);
	tcase_add_test(tcase, test_journal_file_segment_size_may_change);
	tcase_add_test(tcase, test_journal_file_half_made_files_are_removed);
	tcase_add_test(tcase, test_journal_file_missing_directory_fails);
	tcase_add_test(tcase, test_journal_file_read_only_directory_fails);
	tcase_add_test(tcase, test_journal_file_full_disk_is_a_normal_state);
	tcase_add_test(tcase, test_journal_file_opens_on_a_disk_without_room_for_a_segment);
	tcase_add_test(tcase, test_journal_file_newest_block_has_a_witness_after_closing);
	tcase_add_test(tcase, test_journal_file_newest_block_has_a_witness_after_reopening);
	tcase_add_test(tcase, test_journal_file_older_newest_block_is_no_substitute);
	tcase_add_test(tcase, test_journal_file_witness_of_missing_segments);
	tcase_add_test(tcase, test_journal_file_rotten_witness_stops_nothing);
	tcase_add_test(tcase, test_journal_file_torn_witness_leaves_the_one_before);
	tcase_add_test(tcase, test_journal_file_newer_witness_is_refused);
	tcase_add_test(tcase, test_journal_file_kill_loses_nothing_reported);
#ifdef ANNALS_FAULT_INJECTION
	tcase_add_test(tcase, test_journal_file_write_error_before_the_first_byte);
	tcase_add_test(tcase, test_journal_file_short_writes_are_continued);
	tcase_add_test(tcase, test_journal_file_interrupted_writes_are_repeated);
	tcase_add_test(tcase, test_journal_file_failed_sync_is_final);
	tcase_add_test(tcase, test_journal_file_failed_open_sync_fails);
	tcase_add_test(tcase, test_journal_file_failing_witness);
	tcase_add_loop_test(tcase, test_journal_file_failing_preparation, 0, 10);
	tcase_add_test(tcase, test_journal_file_failing_recycling);
	tcase_add_loop_test(tcase, test_journal_file_dies_at_every_point, 0, 21);
#endif
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
