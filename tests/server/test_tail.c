/* op_tail as server-sent events use it: merged over partitions, resumable by position. */
#include "native_fixture.h"
#include "ops.h"
#include "suite.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTITIONS 3
#define SEEN_MAX 4096

static struct client client;

/* A reader on the server's first loop; the test looks at it under the mutex. */
struct reader {
	struct loop_task task;
	struct loop *loop;
	struct op_tail *tail;
	enum tail_start start;
	uint64_t start_value;
	pthread_mutex_t mutex;
	uint64_t positions[SEEN_MAX];
	uint32_t partitions[SEEN_MAX];
	uint64_t next_offsets[PARTITIONS];
	size_t count;
	unsigned calls;
	bool started;
	int status;
};
static struct reader reader;

static void setup(void)
{
	fixture_setup();
	client_open(&client);
	create_topic(&client, "t", PARTITIONS);
	memset(&reader, 0, sizeof(reader));
	pthread_mutex_init(&reader.mutex, NULL);
}

static void teardown(void)
{
	client_close(&client);
	fixture_stop();
}

static void pull(struct op_tail *tail)
{
	struct tail_item item;
	int status;
	pthread_mutex_lock(&reader.mutex);
	reader.calls++;
	while ((status = op_tail_next(tail, 1 << 20, &item)) == 1 && reader.count < SEEN_MAX) {
		struct batch batch;
		ck_assert_int_eq(batch_view(item.batches, &batch), 0);
		ck_assert_uint_eq(batch.stored.size, item.batches.size);
		reader.positions[reader.count] = item.last_position;
		reader.partitions[reader.count++] = item.partition;
		reader.next_offsets[item.partition] = item.next_offset;
		ck_assert_uint_eq(tail->position, item.last_position);
	}
	reader.status = status;
	pthread_mutex_unlock(&reader.mutex);
}

static void on_done(struct op *op)
{
	struct op_tail *tail = (struct op_tail *)op;
	ck_assert_int_eq(reader.started ? 0 : op->status, 0);
	reader.started = true;
	pull(tail);
}

static void start_reader(struct loop_task *task)
{
	struct op_tail *tail;
	(void)task;
	reader.loop = &fixture_server.loops[0];
	tail = op_tail_new(reader.loop);
	ck_assert_ptr_nonnull(tail);
	reader.tail = tail;
	tail->merged = true;
	tail->start = reader.start;
	tail->start_value = reader.start_value;
	tail->op.done = on_done;
	if (op_tail_start(tail, bytes_text("t"), 0, NULL, 0) == OP_DONE) {
		on_done(&tail->op);
	}
}

static void release_reader(struct loop_task *task)
{
	(void)task;
	op_release(&reader.tail->op);
	pthread_mutex_lock(&reader.mutex);
	reader.tail = NULL;
	pthread_mutex_unlock(&reader.mutex);
}

static void begin(enum tail_start start, uint64_t value)
{
	reader.start = start;
	reader.start_value = value;
	reader.count = 0;
	reader.started = false;
	loop_task_init(&reader.task, start_reader);
	loop_post(&fixture_server.loops[0], &reader.task);
}

static size_t seen(void)
{
	size_t count;
	pthread_mutex_lock(&reader.mutex);
	count = reader.count;
	pthread_mutex_unlock(&reader.mutex);
	return count;
}

static void wait_for(size_t count)
{
	for (int i = 0; i < 3000 && seen() < count; i++) {
		usleep(1000);
	}
	usleep(20000);
	ck_assert_uint_eq(seen(), count);
	for (size_t i = 1; i < count; i++) {
		ck_assert_uint_gt(reader.positions[i], reader.positions[i - 1]);
	}
}

static void end(void)
{
	loop_task_init(&reader.task, release_reader);
	loop_post(&fixture_server.loops[0], &reader.task);
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&reader.mutex);
		bool gone = reader.tail == NULL;
		pthread_mutex_unlock(&reader.mutex);
		if (gone) {
			return;
		}
		usleep(1000);
	}
	ck_abort_msg("the tail was not released");
}

START_TEST(test_tail_merges_history_by_position)
{
	for (int i = 0; i < 60; i++) {
		append(&client, "t", (uint32_t)(i * 7 % PARTITIONS), "h", 2);
	}
	begin(TAIL_EARLIEST, 0);
	wait_for(60);
	ck_assert_uint_eq(reader.positions[59], 120);
	for (int i = 0; i < PARTITIONS; i++) {
		ck_assert_uint_eq(reader.next_offsets[i], 40);
	}
	end();
}
END_TEST

START_TEST(test_tail_goes_on_with_what_comes)
{
	append(&client, "t", 0, "old", 1);
	begin(TAIL_EARLIEST, 0);
	wait_for(1);
	for (size_t i = 0; i < 30; i++) {
		append(&client, "t", (uint32_t)(i % PARTITIONS), "new", 1);
	}
	wait_for(31);
	end();
}
END_TEST

START_TEST(test_tail_from_latest_sees_only_what_comes)
{
	append(&client, "t", 0, "old", 5);
	begin(TAIL_LATEST, 0);
	usleep(50000);
	append(&client, "t", 2, "new", 1);
	wait_for(1);
	ck_assert_uint_eq(reader.positions[0], 6);
	end();
}
END_TEST

START_TEST(test_tail_resumes_after_any_position)
{
	for (int i = 0; i < 40; i++) {
		append(&client, "t", (uint32_t)(i % PARTITIONS), "h", 3);
	}
	/* Positions 1 to 120 in batches of 3: after p the batches that end above p are left. */
	for (uint64_t position = 0; position <= 120; position += 7) {
		begin(TAIL_POSITION, position);
		wait_for(40 - position / 3);
		end();
	}
}
END_TEST

START_TEST(test_tail_under_load_misses_nothing_and_keeps_order)
{
	struct buf body = make_body("load", 1, 50);
	begin(TAIL_EARLIEST, 0);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 100; i++) {
			send_append(&client, "t", (uint32_t)(i % PARTITIONS), 0, buf_bytes(&body));
		}
		for (int i = 0; i < 100; i++) {
			ck_assert_int_eq(client_receive(&client).status, 0);
		}
	}
	wait_for(2000);
	ck_assert_uint_eq(reader.positions[1999], 2000);
	end();
	buf_release(&body);
}
END_TEST

START_TEST(test_tail_ends_when_its_topic_is_deleted)
{
	Annals__V1__TopicDeleteRequest request = ANNALS__V1__TOPIC_DELETE_REQUEST__INIT;
	begin(TAIL_LATEST, 0);
	usleep(50000);
	request.name = (char *)(uintptr_t) "t";
	client_expect(&client,
		client_send(&client, FRAME_TOPIC_DELETE, &request.base, bytes_of(NULL, 0)), 0);
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&reader.mutex);
		int status = reader.status;
		pthread_mutex_unlock(&reader.mutex);
		if (status < 0) {
			break;
		}
		usleep(1000);
	}
	ck_assert_int_eq(reader.status, ANNALS_E_UNKNOWN_TOPIC);
	end();
}
END_TEST

SUITE_MAIN("tail", setup, teardown, test_tail_merges_history_by_position,
	test_tail_goes_on_with_what_comes, test_tail_from_latest_sees_only_what_comes,
	test_tail_resumes_after_any_position, test_tail_under_load_misses_nothing_and_keeps_order,
	test_tail_ends_when_its_topic_is_deleted)
