/*
 * Delayed events against a model, over kill -9: a child process works on a store with a clock that
 * the test steps (forwards, and back), schedules random events, and is killed at a random moment;
 * the next one goes on where it was. The model lies in memory that they share.
 *
 * At the end, when everything was due: each event that was promised is in the log exactly once,
 * one whose answer never came at most once, none before its time, and those of one request in the
 * order of their due times.
 *
 * ANNALS_TEST_ROUNDS (kills, 25) and ANNALS_TEST_SEED change how long and what it tries.
 */
#include "store_harness.h"
#include "suite.h"

#include <annals/clock.h>
#include <annals/schedule.h>
#include <check.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE_US UINT64_C(1800000000000000)
#define EVENTS_MAX 200000u
#define TOPICS 3u
#define PARTITIONS 2u
#define REQUEST_EVENTS_MAX 12u

enum promise { ASKED, KEPT };
struct model_event {
	uint64_t due_us;
	uint32_t topic; /* index */
	uint32_t request;
	uint8_t promise; /* enum promise */
	uint8_t has_id;
	uint8_t sent_again;
};
/* Shared by all processes. */
struct model {
	_Atomic uint64_t wall_us, latest_us; /* the clock, and how far it ever was */
	_Atomic uint32_t count, requests;
	uint64_t random;
	uint32_t topic_ids[TOPICS];
	struct model_event events[EVENTS_MAX];
};
static struct model *model;

static uint64_t stepped_wall_us(void *arg)
{
	(void)arg;
	return atomic_load(&model->wall_us);
}

static uint64_t real_monotonic_ns(void *arg)
{
	struct timespec now;

	(void)arg;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
static const struct clock_source stepped = {
	.monotonic_ns = real_monotonic_ns, .wall_us = stepped_wall_us};

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"). */
static uint64_t below(uint64_t limit)
{
	model->random ^= model->random >> 12;
	model->random ^= model->random << 25;
	model->random ^= model->random >> 27;
	return (model->random * UINT64_C(2685821657736338717) >> 11) % limit;
}

static void encode(struct buf *out, uint32_t number, const struct model_event *event)
{
	char id[16], key[8];
	struct record record = {.source = bytes_text("/model"),
		.type = bytes_text("test"),
		.has_key = true,
		.has_data = true,
		.data = bytes_of(&number, sizeof(number))};

	(void)snprintf(id, sizeof(id), "%u", number);
	(void)snprintf(key, sizeof(key), "%u", number % 5);
	record.key = bytes_text(key);
	record.id = event->has_id ? bytes_text(id) : bytes_of(NULL, 0);
	ck_assert_int_eq(record_encode(&record, out), 0);
}

struct work {
	struct store_harness f;
	struct schedule *schedule;
};

/* Sends events of the model; their promise is kept when the answer says so. */
static void send_events(struct work *work, uint32_t first, uint32_t count)
{
	struct scheduled_event events[REQUEST_EVENTS_MAX] = {{.due_us = 0}};
	const struct buf empty = BUF_INIT;
	struct buf bodies[REQUEST_EVENTS_MAX];
	char ids[REQUEST_EVENTS_MAX][16];
	struct schedule_request request = {.base = {.queue = &work->f.waiter.queue},
		.topic_id = model->topic_ids[model->events[first].topic],
		.events = events,
		.event_count = count};

	for (uint32_t i = 0; i < count; i++) {
		struct model_event *event = &model->events[first + i];
		bodies[i] = empty;
		encode(&bodies[i], first + i, event);
		(void)snprintf(ids[i], sizeof(ids[i]), "%u", first + i);
		events[i] = (struct scheduled_event){.encoded = buf_bytes(&bodies[i]),
			.source = bytes_text("/model"),
			.id = event->has_id ? bytes_text(ids[i]) : bytes_of(NULL, 0),
			.due_us = event->due_us};
	}
	ck_assert_int_eq(schedule_submit(work->schedule, &request, &work->f.error), 0);
	ck_assert_ptr_eq(waiter_take(&work->f.waiter, 60000), &request.base);
	ck_assert_int_eq(request.base.status, 0);
	for (uint32_t i = 0; i < count; i++) {
		/* what was promised and is not due yet */
		ck_assert(events[i].replayed || model->events[first + i].promise != KEPT);
		model->events[first + i].promise = KEPT;
		buf_release(&bodies[i]);
	}
}

static void schedule_some(struct work *work)
{
	const uint32_t first = atomic_load(&model->count);
	const uint32_t count = 1 + (uint32_t)below(REQUEST_EVENTS_MAX);
	const uint32_t topic = (uint32_t)below(TOPICS);
	const uint64_t now_us = atomic_load(&model->wall_us);

	if (first + count > EVENTS_MAX) {
		return;
	}
	for (uint32_t i = first; i < first + count; i++) {
		model->events[i] = (struct model_event){.topic = topic,
			.request = atomic_load(&model->requests),
			.promise = ASKED,
			.has_id = below(3) != 0,
			/* often the same time as others, now and then one that has passed */
			.due_us = now_us + below(20) * 100000 - below(2) * 50000};
	}
	atomic_fetch_add(&model->requests, 1);
	atomic_store(&model->count, first + count);
	send_events(work, first, count);
}

/* An event that is not due yet once more: one that was promised must be known; one whose answer
 * never came is promised now. */
static void repeat_one(struct work *work)
{
	const uint32_t count = atomic_load(&model->count);
	struct model_event *event = &model->events[count > 0 ? (uint32_t)below(count) : 0];

	if (count > 0 && event->has_id && event->due_us > atomic_load(&model->latest_us) + 100000) {
		event->sent_again = event->promise != KEPT;
		send_events(work, (uint32_t)(event - model->events), 1);
	}
}

static void open_schedule(struct work *work)
{
	ck_assert_msg(schedule_open(work->f.store, &work->schedule, &work->f.error) == 0, "%s",
		work->f.error.text);
}

/* Back only between two schedules: an event that is on its way is stamped when it is stored, and
 * the judge goes by stamps. */
static void step_clock(struct work *work)
{
	uint64_t now_us = atomic_load(&model->wall_us);

	if (below(8) == 0) {
		schedule_close(work->schedule);
		atomic_store(&model->wall_us, now_us - below(2000000));
		open_schedule(work);
		return;
	}
	now_us += below(400000);
	atomic_store(&model->wall_us, now_us);
	if (now_us > atomic_load(&model->latest_us)) {
		atomic_store(&model->latest_us, now_us);
	}
}

static void open_work(struct work *work)
{
	store_harness_open(&work->f);
	open_schedule(work);
}

/* Until it is killed. */
static void child(struct work *work)
{
	open_work(work);
	for (;;) {
		switch (below(6)) {
		case 0:
		case 1:
			schedule_some(work);
			break;
		case 2:
			repeat_one(work);
			break;
		case 3:
			(void)usleep((useconds_t)below(3000));
			break;
		default:
			step_clock(work);
			break;
		}
	}
}

static void run_and_kill(struct work *work)
{
	const useconds_t wait_us = (useconds_t)below(120000);
	const uint32_t requests = atomic_load(&model->requests);
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		child(work);
		_exit(1);
	}
	/* On a slow machine it takes its time until it works. */
	for (unsigned i = 0; i < 20000 && atomic_load(&model->requests) == requests; i++) {
		(void)usleep(1000);
	}
	(void)usleep(wait_us);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "the child failed before it was killed");
}

/* ---- Judging ---- */

struct seen {
	uint8_t *times;        /* by event */
	uint64_t *last_due_us; /* by request and partition: order within it */
	uint32_t *last;
};

static void judge_event(struct seen *seen, const struct batch *batch, struct bytes encoded,
	uint32_t topic, uint32_t partition)
{
	struct record record;
	uint32_t number;
	size_t at;

	ck_assert_int_eq(record_decode(encoded, &record, NULL), 0);
	ck_assert_uint_eq(record.data.size, sizeof(number));
	memcpy(&number, record.data.data, sizeof(number));
	ck_assert_uint_lt(number, atomic_load(&model->count));
	ck_assert_uint_eq(model->events[number].topic, topic);
	ck_assert_uint_le(model->events[number].due_us, batch->stamp.recorded_us);
	seen->times[number]++;
	at = (size_t)model->events[number].request * PARTITIONS + partition;
	/* One that was sent again arrived anew, unless it had been kept. */
	ck_assert_msg(
		model->events[number].due_us > seen->last_due_us[at] ||
			(model->events[number].due_us == seen->last_due_us[at] &&
				(number + 1 > seen->last[at] || model->events[number].sent_again ||
					model->events[seen->last[at] - 1].sent_again)),
		"event %u came behind a later one of its request", number);
	seen->last_due_us[at] = model->events[number].due_us;
	seen->last[at] = number + 1;
}

static void judge_partition(
	struct work *work, struct seen *seen, uint32_t topic, uint32_t partition)
{
	const uint32_t topic_id = model->topic_ids[topic];
	const uint64_t end = store_harness_info(&work->f, topic_id, partition).end_offset;
	struct buf plain = BUF_INIT;
	uint64_t offset = 0;

	while (offset < end) {
		struct read_request page;
		struct bytes left;
		ck_assert_int_eq(
			store_harness_read_page(&work->f, topic_id, partition, offset, &page), 0);
		left = buf_bytes(&page.batches);
		while (left.size > 0) {
			struct batch batch;
			struct bytes body, encoded;
			size_t cursor = 0;
			ck_assert_int_eq(batch_view(left, &batch), 0);
			ck_assert_int_eq(batch_plain_body(&batch, &plain, &body), 0);
			while (batch_next_event(body, &cursor, &encoded) == 1) {
				judge_event(seen, &batch, encoded, topic, partition);
			}
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		offset = page.next_offset;
		buf_release(&page.batches);
	}
	buf_release(&plain);
}

static int count_row(void *arg, struct bytes key, struct bytes value)
{
	(void)value;
	*(unsigned *)arg += key.size > 2 ? 1 : 0; /* not the counts */
	return 0;
}

static void judge(struct work *work)
{
	const uint32_t count = atomic_load(&model->count);
	const size_t places = ((size_t)atomic_load(&model->requests) + 1) * PARTITIONS;
	struct seen seen = {.times = calloc(count + 1, 1),
		.last_due_us = calloc(places, sizeof(uint64_t)),
		.last = calloc(places, sizeof(uint32_t))};
	uint32_t kept = 0;
	unsigned rows = 0;

	ck_assert(seen.times != NULL && seen.last_due_us != NULL && seen.last != NULL);
	for (uint32_t topic = 0; topic < TOPICS; topic++) {
		for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
			judge_partition(work, &seen, topic, partition);
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		kept += model->events[i].promise == KEPT ? 1 : 0;
		ck_assert_msg(seen.times[i] == 1 ||
				      (seen.times[i] == 0 && model->events[i].promise != KEPT),
			"event %u of %u (promised: %d) came %u times", i, count,
			model->events[i].promise == KEPT, seen.times[i]);
	}
	ck_assert_uint_gt(kept, 20); /* else nothing was tried */
	ck_assert_int_eq(store_row_scan(work->f.store, bytes_text("d"), bytes_of(NULL, 0), 0,
				 count_row, &rows, NULL),
		0);
	ck_assert_uint_eq(rows, 0);
	free(seen.times);
	free(seen.last_due_us);
	free(seen.last);
}

static void wait_until_all_came(struct work *work)
{
	struct schedule_stats stats = {.waiting = 1};

	atomic_store(&model->wall_us, atomic_load(&model->latest_us) + 100000000);
	for (unsigned i = 0; i < 6000 && stats.waiting > 0; i++) {
		(void)usleep(10000);
		schedule_stats(work->schedule, &stats);
	}
	ck_assert_uint_eq(stats.waiting, 0);
	ck_assert_uint_eq(stats.next_due_us, 0);
	ck_assert_uint_eq(stats.refused_total, 0);
}

static void setup(void)
{
	const char *seed = getenv("ANNALS_TEST_SEED");

	model = mmap(
		NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(model, MAP_FAILED);
	model->random = seed != NULL ? strtoull(seed, NULL, 10) | 1 : clock_monotonic_ns() | 1;
	atomic_store(&model->wall_us, BASE_US);
	atomic_store(&model->latest_us, BASE_US);
	clock_set_source(&stepped);
}

static void teardown(void)
{
	clock_set_source(NULL);
	(void)munmap(model, sizeof(*model));
}

START_TEST(test_schedule_model_holds_over_kills)
{
	const char *text = getenv("ANNALS_TEST_ROUNDS");
	const unsigned rounds = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 25;
	const uint64_t seed = model->random;
	struct work work = {.schedule = NULL};
	char name[16];

	store_harness_init(&work.f);
	if (!store_harness_is_durable(&work.f)) {
		store_harness_release(&work.f);
		return;
	}
	for (uint32_t i = 0; i < TOPICS; i++) {
		(void)snprintf(name, sizeof(name), "t%u", i);
		model->topic_ids[i] = store_harness_topic(&work.f, name, PARTITIONS);
	}
	store_close(work.f.store);
	for (unsigned i = 0; i < rounds; i++) {
		run_and_kill(&work);
	}
	printf("seed %llu: %u events in %u requests, %u kills\n", (unsigned long long)seed,
		atomic_load(&model->count), atomic_load(&model->requests), rounds);
	open_work(&work);
	wait_until_all_came(&work);
	judge(&work);
	schedule_close(work.schedule);
	store_harness_release(&work.f);
}
END_TEST

SUITE_MAIN("schedule model", setup, teardown, test_schedule_model_holds_over_kills)
