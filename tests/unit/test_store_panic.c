/* LMDB gives up: its meta page cannot be written. Nothing is acknowledged any more, everything
 * that was is read all the same, and after the next opening it goes on. */
#include "store_harness.h"
#include "suite.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCHES 600u
#define EVENTS (BATCHES * 10u)
/* LMDB's two meta pages are the first of its file; it writes part of one, and pages whole. */
#define META_BYTES 8192
#define PAGE_BYTES 4096u

static atomic_bool meta_fails;
static atomic_uint failures;

__attribute__((visibility("default"))) ssize_t test_pwrite(
	int fd, const void *data, size_t size, off_t at) __asm__("pwrite");

ssize_t test_pwrite(int fd, const void *data, size_t size, off_t at)
{
	if (meta_fails && at < META_BYTES && size < PAGE_BYTES) {
		failures++;
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, data, size, at);
}

static struct store_harness f;
static uint32_t topic;

static void setup(void)
{
	store_harness_init(&f);
	topic = store_harness_topic(&f, "t", 2);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 0, "before"), 0);
}

static void teardown(void)
{
	meta_fails = false;
	store_harness_release(&f);
}

static bool is_read_only(const struct store_stats *stats)
{
	return stats->state == STORE_READ_ONLY;
}

static bool has_settled(const struct store_stats *stats)
{
	return stats->settled_bytes > 1u << 20;
}

static void read_all(uint64_t end)
{
	uint32_t crc = 0, again = 0;
	struct offset_entry entry;
	ck_assert_uint_eq(store_harness_info(&f, topic, 0).end_offset, end);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, &crc), end);
	ck_assert_uint_eq(store_harness_read(&f, topic, 0, 0, &again), end);
	ck_assert_uint_eq(crc, again);
	ck_assert_int_eq(
		store_offset_get(f.store, bytes_text("g"), topic, 0, &entry, NULL, &f.error), 1);
}

/* Appends until the settler met the failing page; what was acknowledged. */
static uint64_t append_until_stopped(void)
{
	uint64_t end = store_harness_info(&f, topic, 0).end_offset;
	int status = 0;
	meta_fails = true;
	for (unsigned i = 0; i < 20000 && status == 0; i++) {
		status = store_harness_append(&f, topic, 0, 10, 1024, i, NULL);
		end += status == 0 ? 10 : 0;
	}
	ck_assert_int_eq(status, ANNALS_E_UNAVAILABLE);
	ck_assert(store_harness_wait_for(&f, is_read_only));
	ck_assert_uint_gt(failures, 0);
	return end;
}

START_TEST(test_panic_reads_go_on)
{
	uint64_t end;
	store_harness_fill(&f, topic, 0, BATCHES, 1);
	ck_assert(store_harness_wait_for(&f, has_settled));
	read_all(EVENTS); /* leaves snapshots that are to be moved */
	end = append_until_stopped();
	read_all(end);
	/* The disk recovers: no acknowledgement all the same, until it is opened again. */
	meta_fails = false;
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 1, 10, 1, NULL), ANNALS_E_UNAVAILABLE);
	ck_assert_int_eq(store_harness_commit(&f, "g", topic, 0, 1, ""), ANNALS_E_UNAVAILABLE);
	read_all(end);
	store_harness_reopen(&f);
	read_all(end);
	ck_assert_int_eq(store_harness_append(&f, topic, 0, 1, 10, 1, NULL), 0);
	read_all(end + 1);
}
END_TEST

struct reading {
	pthread_t thread;
	atomic_bool *stop;
	unsigned pages, failed;
	char text[256];
};

static void *read_on(void *arg)
{
	struct reading *reading = arg;
	for (uint64_t offset = 0; !*reading->stop; offset = (offset + 50) % EVENTS) {
		struct read_request page = {.base.operation = STORE_READ,
			.topic_id = topic,
			.offset = offset,
			.bytes_max = 20000};
		(void)store_read(f.store, &page.base, 0);
		reading->pages++;
		if (page.base.status != 0 || page.batches.size == 0) {
			reading->failed++;
			(void)snprintf(
				reading->text, sizeof(reading->text), "%s", page.base.error.text);
		}
		buf_release(&page.batches);
	}
	return NULL;
}

/* Readers on several threads notice nothing. */
START_TEST(test_panic_is_not_noticed_by_readers)
{
	enum { READERS = 4 };
	static atomic_bool stop;
	struct reading readings[READERS] = {{.stop = NULL}};
	stop = false;
	store_harness_fill(&f, topic, 0, BATCHES, 1);
	ck_assert(store_harness_wait_for(&f, has_settled));
	for (int i = 0; i < READERS; i++) {
		readings[i].stop = &stop;
		ck_assert_int_eq(
			pthread_create(&readings[i].thread, NULL, read_on, &readings[i]), 0);
	}
	uint64_t end = append_until_stopped();
	(void)usleep(50000);
	stop = true;
	for (int i = 0; i < READERS; i++) {
		ck_assert_int_eq(pthread_join(readings[i].thread, NULL), 0);
		ck_assert_uint_gt(readings[i].pages, 0);
		ck_assert_msg(readings[i].failed == 0, "%s", readings[i].text);
	}
	read_all(end);
}
END_TEST

SUITE_MAIN("store panic", setup, teardown, test_panic_reads_go_on,
	test_panic_is_not_noticed_by_readers)
