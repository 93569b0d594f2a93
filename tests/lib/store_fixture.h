/*
 * A store in a directory of its own, with calls that wait for their answer. For tests of storage;
 * every call asserts what it does not return.
 */
#ifndef ANNALS_TEST_STORE_FIXTURE_H
#define ANNALS_TEST_STORE_FIXTURE_H

#include <annals/crc32c.h>
#include <annals/storage.h>
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct store_fixture {
	char dir[64];
	struct store_options options;
	struct store *store;
	struct completion_queue queue;
	pthread_mutex_t mutex;
	pthread_cond_t filled;
	bool notified;
	uint64_t event_count; /* appended so far: makes ids */
};

static inline void store_fixture_notify(void *arg)
{
	struct store_fixture *f = arg;
	pthread_mutex_lock(&f->mutex);
	f->notified = true;
	pthread_cond_signal(&f->filled);
	pthread_mutex_unlock(&f->mutex);
}

static inline void store_fixture_open(struct store_fixture *f)
{
	struct error err = {0, ""};
	ck_assert_msg(store_open(&f->options, &f->store, &err) == 0, "%s", err.text);
}

static inline void store_fixture_close(struct store_fixture *f)
{
	store_close(f->store);
	f->store = NULL;
}

/* Fills in what a test does not care about; change f->options and then open. */
static inline void store_fixture_init(struct store_fixture *f)
{
	memset(f, 0, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/annals-store-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	store_options_init(&f->options);
	f->options.data_dir = f->dir;
	f->options.map_bytes = UINT64_C(1) << 30;
	f->options.journal_segment_bytes = 16u << 20;
	pthread_mutex_init(&f->mutex, NULL);
	pthread_cond_init(&f->filled, NULL);
	completion_queue_init(&f->queue, store_fixture_notify, f);
}

static inline int store_fixture_remove(
	const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void store_fixture_release(struct store_fixture *f)
{
	store_fixture_close(f);
	completion_queue_release(&f->queue);
	(void)nftw(f->dir, store_fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Submits and waits; returns the request's status. */
static inline int store_fixture_run(struct store_fixture *f, struct store_request *request)
{
	struct list_node answers;
	struct error err = {0, ""};
	list_init(&answers);
	request->queue = &f->queue;
	int status = store_submit(f->store, request, &err);
	if (status != 0) {
		return status;
	}
	for (;;) {
		completion_queue_take(&f->queue, &answers);
		if (!list_is_empty(&answers)) {
			break;
		}
		pthread_mutex_lock(&f->mutex);
		while (!f->notified) {
			pthread_cond_wait(&f->filled, &f->mutex);
		}
		f->notified = false;
		pthread_mutex_unlock(&f->mutex);
	}
	ck_assert_ptr_eq(list_pop(&answers), &request->node);
	ck_assert(list_is_empty(&answers));
	return request->status;
}

static inline uint32_t store_fixture_create_topic(
	struct store_fixture *f, const char *name, const struct topic_config *config)
{
	struct topic_request request = {.base = {.operation = STORE_TOPIC_CREATE}};
	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	request.config = *config;
	ck_assert_msg(store_fixture_run(f, &request.base) == 0, "%s", request.base.error.text);
	uint32_t id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

/* One batch of `events` events with so many bytes of data each. Returns its base offset. */
static inline uint64_t store_fixture_append(struct store_fixture *f, uint32_t topic_id,
	uint32_t partition, uint32_t events, size_t data_bytes)
{
	struct buf body = BUF_INIT, scratch = BUF_INIT;
	uint8_t *data = malloc(data_bytes + 1);
	memset(data, 'x', data_bytes + 1);
	for (uint32_t i = 0; i < events; i++) {
		char id[32];
		(void)snprintf(id, sizeof(id), "event-%llu", (unsigned long long)f->event_count++);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/test"),
			.type = bytes_text("test.event"),
			.has_data = true,
			.data = bytes_of(data, data_bytes)};
		ck_assert_int_eq(record_encode_in_batch(&record, &body), 0);
	}
	struct batch_limits limits = {
		.body_bytes_max = 4u << 20, .event_bytes_max = 4u << 20, .events_max = 1000000};
	struct append_request request = {
		.base = {.operation = STORE_APPEND}, .topic_id = topic_id, .part_count = 1};
	request.parts = &request.one_part;
	request.one_part.partition = partition;
	request.one_part.body = buf_bytes(&body);
	request.one_part.body_crc = crc32c(0, body.data, body.size);
	ck_assert_int_eq(batch_check_body(buf_bytes(&body), BATCH_PLAIN, &limits, &scratch,
				 &request.one_part.summary, NULL),
		0);
	ck_assert_msg(store_fixture_run(f, &request.base) == 0, "%s", request.base.error.text);
	buf_release(&body);
	buf_release(&scratch);
	free(data);
	return request.one_part.base_offset;
}

static inline int store_fixture_commit_offset(struct store_fixture *f, const char *group,
	uint32_t topic_id, uint32_t partition, uint64_t offset)
{
	struct offset_entry entry = {
		.topic_id = topic_id, .partition = partition, .offset = offset};
	struct offset_request request = {
		.base = {.operation = STORE_OFFSET_COMMIT}, .entries = &entry, .entry_count = 1};
	(void)snprintf(request.group, sizeof(request.group), "%s", group);
	return store_fixture_run(f, &request.base);
}

static inline int store_fixture_trim(
	struct store_fixture *f, uint32_t topic_id, uint32_t partition, uint64_t first_offset)
{
	struct trim_request request = {.base = {.operation = STORE_TRIM},
		.topic_id = topic_id,
		.partition = partition,
		.first_offset = first_offset};
	return store_fixture_run(f, &request.base);
}

static inline struct partition_info store_fixture_info(
	struct store_fixture *f, uint32_t topic_id, uint32_t partition)
{
	struct partition_info info;
	ck_assert_int_eq(store_partition_info(f->store, topic_id, partition, &info), 0);
	return info;
}

/* Waits until the first offset of a partition is at least so high; false after 10 s. */
static inline bool store_fixture_wait_for_first(
	struct store_fixture *f, uint32_t topic_id, uint32_t partition, uint64_t first_offset)
{
	for (int i = 0; i < 2000; i++) {
		if (store_fixture_info(f, topic_id, partition).first_offset >= first_offset) {
			return true;
		}
		(void)usleep(5000);
	}
	return false;
}

#endif
