#include "store_harness.h"

#include <annals/crc32c.h>
#include <annals/hash.h>
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void notify(void *arg)
{
	struct waiter *waiter = arg;
	(void)pthread_mutex_lock(&waiter->mutex);
	waiter->notified = true;
	waiter->notifications++;
	(void)pthread_cond_signal(&waiter->cond);
	(void)pthread_mutex_unlock(&waiter->mutex);
}

void waiter_init(struct waiter *waiter)
{
	memset(waiter, 0, sizeof(*waiter));
	(void)pthread_mutex_init(&waiter->mutex, NULL);
	(void)tail_cond_init(&waiter->cond);
	completion_queue_init(&waiter->queue, notify, waiter);
}

void waiter_release(struct waiter *waiter)
{
	completion_queue_release(&waiter->queue);
	(void)pthread_cond_destroy(&waiter->cond);
	(void)pthread_mutex_destroy(&waiter->mutex);
}

struct store_request *waiter_take(struct waiter *waiter, unsigned timeout_ms)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	for (;;) {
		(void)pthread_mutex_lock(&waiter->queue.mutex);
		struct list_node *node = list_pop(&waiter->queue.requests);
		(void)pthread_mutex_unlock(&waiter->queue.mutex);
		if (node != NULL) {
			return LIST_ENTRY(node, struct store_request, node);
		}
		(void)pthread_mutex_lock(&waiter->mutex);
		int code = 0;
		while (!waiter->notified && code == 0) {
			code = pthread_cond_timedwait(&waiter->cond, &waiter->mutex, &until);
		}
		bool notified = waiter->notified;
		waiter->notified = false;
		(void)pthread_mutex_unlock(&waiter->mutex);
		if (!notified) {
			return NULL;
		}
	}
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void store_harness_init(struct store_harness *f)
{
	const char *journal = getenv("ANNALS_TEST_JOURNAL");
	memset(f, 0, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/annals-store-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	store_options_init(&f->options);
	f->options.data_dir = f->dir;
	f->options.journal = journal != NULL ? journal : "file";
	f->options.journal_segment_bytes = 16u << 20;
	f->options.map_bytes = 1u << 30;
	f->options.tail_bytes_max = 4u << 20;
	f->options.disk_reserve_bytes = 0;
	waiter_init(&f->waiter);
	waiter_init(&f->other);
	store_harness_open(f);
}

void store_harness_open(struct store_harness *f)
{
	int status = store_open(&f->options, &f->store, &f->error);
	ck_assert_msg(status == 0, "%s", f->error.text);
}

void store_harness_reopen(struct store_harness *f)
{
	store_close(f->store);
	store_harness_open(f);
}

bool store_harness_is_durable(const struct store_harness *f)
{
	return strcmp(f->options.journal, "file") == 0;
}

void store_harness_release(struct store_harness *f)
{
	store_close(f->store);
	waiter_release(&f->waiter);
	waiter_release(&f->other);
	buf_release(&f->scratch);
	(void)nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int store_harness_run(struct store_harness *f, struct waiter *waiter, struct store_request *request)
{
	request->queue = &waiter->queue;
	int status = store_submit(f->store, request, &request->error);
	if (status != 0) {
		return status;
	}
	ck_assert_ptr_eq(waiter_take(waiter, 20000), request);
	return request->status;
}

uint32_t store_harness_topic(struct store_harness *f, const char *name, uint32_t partitions)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE};
	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	request.config.partitions = partitions;
	int status = store_harness_run(f, &f->waiter, &request.base);
	ck_assert_msg(status == 0, "%s", request.base.error.text);
	uint32_t id = request.topic->id;
	topic_unref(request.topic);
	return id;
}

int store_harness_delete_topic(struct store_harness *f, const char *name)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_DELETE};
	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	return store_harness_run(f, &f->waiter, &request.base);
}

int store_harness_trim(
	struct store_harness *f, uint32_t topic_id, uint32_t partition, uint64_t first_offset)
{
	struct trim_request request = {.base.operation = STORE_TRIM,
		.topic_id = topic_id,
		.partition = partition,
		.first_offset = first_offset};
	return store_harness_run(f, &f->waiter, &request.base);
}

int store_harness_commit(struct store_harness *f, const char *group, uint32_t topic_id,
	uint32_t partition, uint64_t offset, const char *metadata)
{
	struct offset_entry entry = {.topic_id = topic_id,
		.partition = partition,
		.offset = offset,
		.metadata = bytes_text(metadata)};
	struct offset_request request = {
		.base.operation = STORE_OFFSET_COMMIT, .entries = &entry, .entry_count = 1};
	(void)snprintf(request.group, sizeof(request.group), "%s", group);
	return store_harness_run(f, &f->waiter, &request.base);
}

void store_harness_body(struct buf *out, uint32_t count, size_t data_bytes, uint64_t seed)
{
	struct random random = {seed};
	uint8_t *data = malloc(data_bytes + 8);
	ck_assert_ptr_nonnull(data);
	buf_reset(out);
	for (uint32_t i = 0; i < count; i++) {
		char id[32];
		for (size_t at = 0; at < data_bytes; at += 8) {
			store_u64(data + at, random_next(&random));
		}
		(void)snprintf(id, sizeof(id), "%llx-%u", (unsigned long long)seed, i);
		struct record record = {.id = bytes_text(id),
			.source = bytes_text("/test"),
			.type = bytes_text("test.happened"),
			.has_data = true,
			.data = bytes_of(data, data_bytes)};
		ck_assert_int_eq(record_encode_in_batch(&record, out), 0);
	}
	free(data);
}

void store_harness_part(
	struct append_part *part, uint32_t partition, struct bytes body, uint32_t count)
{
	struct error err = {0};
	struct buf scratch = BUF_INIT;
	struct batch_limits limits = {0};
	memset(part, 0, sizeof(*part));
	ck_assert_msg(
		batch_check_body(body, BATCH_PLAIN, &limits, &scratch, &part->summary, &err) == 0,
		"%s", err.text);
	ck_assert_uint_eq(part->summary.count, count);
	part->partition = partition;
	part->body = body;
	part->body_crc = crc32c(0, body.data, body.size);
	buf_release(&scratch);
}

int store_harness_append(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	uint32_t count, size_t data_bytes, uint64_t seed, uint64_t *ret_offset)
{
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic_id, .part_count = 1};
	request.parts = &request.one_part;
	store_harness_body(&f->scratch, count, data_bytes, seed);
	store_harness_part(&request.one_part, partition, buf_bytes(&f->scratch), count);
	int status = store_harness_run(f, &f->waiter, &request.base);
	if (status == 0 && ret_offset != NULL) {
		*ret_offset = request.one_part.base_offset;
	}
	f->error = request.base.error;
	return status;
}

void store_harness_fill(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	unsigned batches, uint64_t seed)
{
	for (unsigned i = 0; i < batches; i++) {
		ck_assert_int_eq(
			store_harness_append(f, topic_id, partition, 10, 1024, seed + i, NULL), 0);
	}
}

int store_harness_read_page(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	uint64_t offset, struct read_request *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->base.operation = STORE_READ;
	ret->topic_id = topic_id;
	ret->partition = partition;
	ret->offset = offset;
	ret->bytes_max = 64u << 10;
	ck_assert_int_eq(store_read(f->store, &ret->base, 0), 0);
	return ret->base.status;
}

uint64_t store_harness_read(struct store_harness *f, uint32_t topic_id, uint32_t partition,
	uint64_t from, uint32_t *ret_crc)
{
	uint64_t offset = from;
	uint32_t crc = 0;
	for (;;) {
		struct read_request page;
		int status = store_harness_read_page(f, topic_id, partition, offset, &page);
		ck_assert_msg(status == 0, "%s", page.base.error.text);
		struct bytes left = buf_bytes(&page.batches);
		while (left.size > 0) {
			struct batch batch;
			ck_assert_int_eq(batch_view(left, &batch), 0);
			ck_assert_msg(batch.stamp.base_offset == offset ||
					      (offset == from && batch.stamp.base_offset < from),
				"offset %llu follows %llu",
				(unsigned long long)batch.stamp.base_offset,
				(unsigned long long)offset);
			offset = batch.stamp.base_offset + batch.stamp.count;
			crc = crc32c(crc, batch.body.data, batch.body.size);
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		ck_assert_uint_eq(page.next_offset, offset);
		bool ended = page.batches.size == 0;
		buf_release(&page.batches);
		if (ended) {
			break;
		}
	}
	if (ret_crc != NULL) {
		*ret_crc = crc;
	}
	return offset - from;
}

struct partition_info store_harness_info(
	struct store_harness *f, uint32_t topic_id, uint32_t partition)
{
	struct partition_info info = {0};
	ck_assert_int_eq(store_partition_info(f->store, topic_id, partition, &info), 0);
	return info;
}

bool store_harness_wait_for(
	struct store_harness *f, bool (*is_met)(const struct store_stats *stats))
{
	for (int i = 0; i < 1000; i++) {
		struct store_stats stats;
		struct timespec wait = {0, 10000000};
		store_stats(f->store, &stats);
		if (is_met(&stats)) {
			return true;
		}
		(void)nanosleep(&wait, NULL);
	}
	return false;
}
