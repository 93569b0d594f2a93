/*
 * Writers that race: for one seat, many times over, and with expected versions over many streams.
 * RACE_ROUNDS and RACE_SECONDS in the environment make them longer (10000 rounds, 3 s).
 */
#include "store_harness.h"
#include "suite.h"

#include <annals/clock.h>
#include <annals/hash.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTITIONS 4u
#define SEAT_WRITERS 4u
#define VERSION_WRITERS 64u
#define STREAMS 1000u
#define SEED 20261123u
#define SEATS_MAX 1000000u
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS "1000"
#else
#define ROUNDS "10000"
#endif

static struct store_harness f;
static uint32_t topic;

static void setup(void)
{
	struct topic_request request = {.base.operation = STORE_TOPIC_CREATE,
		.name = "races",
		.config = {.partitions = PARTITIONS, .streams = true, .query_index = true}};
	store_harness_init(&f);
	ck_assert_int_eq(store_harness_run(&f, &f.waiter, &request.base), 0);
	topic = request.topic->id;
	topic_unref(request.topic);
}

static void teardown(void)
{
	store_harness_release(&f);
}

static uint64_t wanted(const char *name, const char *otherwise)
{
	const char *text = getenv(name);
	return strtoull(text != NULL ? text : otherwise, NULL, 10);
}

/* One event of a stream, ready to be appended under a condition. */
struct attempt {
	struct append_request request;
	struct buf body;
};

static void attempt_init(struct attempt *attempt, const char *key, const char *tag)
{
	struct bytes tags[1] = {bytes_text(tag)};
	struct record record = {.source = bytes_text("/race"),
		.type = bytes_text("taken"),
		.has_key = true,
		.key = bytes_text(key),
		.tags = tags,
		.tag_count = tag[0] != '\0'};
	memset(attempt, 0, sizeof(*attempt));
	ck_assert_int_eq(record_encode_in_batch(&record, &attempt->body), 0);
	attempt->request.base.operation = STORE_APPEND;
	attempt->request.topic_id = topic;
	attempt->request.parts = &attempt->request.one_part;
	attempt->request.part_count = 1;
	store_harness_part(&attempt->request.one_part, record_partition(record.key, PARTITIONS),
		buf_bytes(&attempt->body), 1);
}

static void attempt_release(struct attempt *attempt)
{
	append_request_release(&attempt->request);
	buf_release(&attempt->body);
}

/* ---- One seat ---- */

static _Atomic unsigned char winners[SEATS_MAX];
static _Atomic uint64_t seats_taken_at[SEATS_MAX]; /* what losers were told */
static uint64_t rounds;
static pthread_barrier_t start_line;

static void *seat_writer(void *arg)
{
	struct waiter *waiter = arg;
	for (uint64_t round = 0; round < rounds; round++) {
		char tag[32], key[32];
		struct bytes tags[1];
		struct query_item item = {.tags = tags, .tag_count = 1};
		struct query_condition nobody = {.items = &item, .item_count = 1};
		struct attempt attempt;
		(void)snprintf(tag, sizeof(tag), "seat:%llu", (unsigned long long)round);
		/* Each under a key of its own, so that the winners spread over the partitions. */
		(void)snprintf(key, sizeof(key), "writer-%p", arg);
		tags[0] = bytes_text(tag);
		attempt_init(&attempt, key, tag);
		attempt.request.query = &nobody;
		(void)pthread_barrier_wait(&start_line);
		int status = store_harness_run(&f, waiter, &attempt.request.base);
		if (status == 0) {
			atomic_fetch_add(&winners[round], 1);
		} else {
			ck_assert_int_eq(status, ANNALS_E_PRECONDITION_FAILED);
			ck_assert(attempt.request.conflict.is_query);
			uint64_t none = 0, at = attempt.request.conflict.position;
			ck_assert_uint_gt(at, 0);
			/* All losers hear of the same event. */
			if (!atomic_compare_exchange_strong(&seats_taken_at[round], &none, at)) {
				ck_assert_uint_eq(none, at);
			}
		}
		attempt_release(&attempt);
	}
	return NULL;
}

START_TEST(test_races_for_one_seat_have_one_winner)
{
	pthread_t threads[SEAT_WRITERS];
	static struct waiter waiters[SEAT_WRITERS];
	rounds = wanted("RACE_ROUNDS", ROUNDS);
	ck_assert_uint_le(rounds, SEATS_MAX);
	ck_assert_int_eq(pthread_barrier_init(&start_line, NULL, SEAT_WRITERS), 0);
	for (unsigned i = 0; i < SEAT_WRITERS; i++) {
		waiter_init(&waiters[i]);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, seat_writer, &waiters[i]), 0);
	}
	for (unsigned i = 0; i < SEAT_WRITERS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		waiter_release(&waiters[i]);
	}
	for (uint64_t round = 0; round < rounds; round++) {
		ck_assert_uint_eq(winners[round], 1);
	}
	(void)pthread_barrier_destroy(&start_line);
}
END_TEST

/* ---- Expected versions ---- */

struct stream {
	_Atomic uint64_t acknowledged; /* events, at least */
	_Atomic uint64_t successes;
	_Atomic uint64_t sum; /* of the versions that were given out: unique ones add up */
};
static struct stream streams[STREAMS];
static uint64_t until_ns;
static _Atomic uint64_t conflicts;

/* One append that expects `expected` events; what the stream has as far as one knows now. */
static uint64_t append_expecting(
	struct waiter *waiter, unsigned number, const char *key, uint64_t expected)
{
	struct stream *stream = &streams[number];
	struct stream_condition condition = {.key = bytes_text(key),
		.expect = expected == 0 ? STREAM_NONE : STREAM_VERSION,
		.version = expected - 1};
	struct attempt attempt;
	uint64_t known = atomic_load(&stream->acknowledged), result;
	attempt_init(&attempt, key, "");
	attempt.request.stream_conditions = &condition;
	attempt.request.stream_condition_count = 1;
	int status = store_harness_run(&f, waiter, &attempt.request.base);
	if (status == 0) {
		uint64_t version = attempt.request.one_part.first_version, before = known;
		ck_assert_uint_eq(version, expected);
		atomic_fetch_add(&stream->successes, 1);
		atomic_fetch_add(&stream->sum, version);
		while (before < version + 1 && !atomic_compare_exchange_weak(&stream->acknowledged,
						       &before, version + 1)) {
		}
		result = version + 1;
	} else {
		ck_assert_int_eq(status, ANNALS_E_PRECONDITION_FAILED);
		atomic_fetch_add(&conflicts, 1);
		ck_assert(attempt.request.conflict.exists);
		/* The truth: not what was expected, not before what others were told already. */
		result = attempt.request.conflict.version + 1;
		ck_assert_uint_ne(result, expected);
		ck_assert_uint_ge(result, known);
	}
	attempt_release(&attempt);
	return result;
}

static void *version_writer(void *arg)
{
	struct waiter *waiter = arg;
	struct random random = {SEED + (uintptr_t)arg};
	uint64_t *seen = calloc(STREAMS, sizeof(*seen)); /* what this writer believes */
	ck_assert_ptr_nonnull(seen);
	while (clock_monotonic_ns() < until_ns) {
		/* Half of the appends go to ten streams, so that there are conflicts. */
		unsigned number = (unsigned)random_below(
			&random, random_below(&random, 2) == 0 ? 10 : STREAMS);
		char key[16];
		(void)snprintf(key, sizeof(key), "s%u", number);
		seen[number] = append_expecting(waiter, number, key, seen[number]);
	}
	free(seen);
	return NULL;
}

/* How many events the stream has. */
static uint64_t stream_events(unsigned number)
{
	char key[16];
	(void)snprintf(key, sizeof(key), "s%u", number);
	struct stream_request request = {
		.base.operation = STORE_STREAM_READ, .topic_id = topic, .key = bytes_text(key)};
	ck_assert_int_eq(store_read(f.store, &request.base, 0), 0);
	ck_assert_int_eq(request.base.status, 0);
	uint64_t events = request.exists ? request.head.next_version : 0;
	free(request.places);
	return events;
}

START_TEST(test_races_with_expected_versions)
{
	pthread_t threads[VERSION_WRITERS];
	static struct waiter waiters[VERSION_WRITERS];
	uint64_t successes = 0;
	until_ns = clock_monotonic_ns() + wanted("RACE_SECONDS", "3") * 1000000000u;
	for (unsigned i = 0; i < VERSION_WRITERS; i++) {
		waiter_init(&waiters[i]);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, version_writer, &waiters[i]), 0);
	}
	for (unsigned i = 0; i < VERSION_WRITERS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		waiter_release(&waiters[i]);
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		uint64_t count = streams[i].successes;
		/* Versions 0 to count-1, each given out once. */
		ck_assert_uint_eq(streams[i].sum, count == 0 ? 0 : count * (count - 1) / 2);
		ck_assert_uint_eq(streams[i].acknowledged, count);
		ck_assert_uint_eq(stream_events(i), count);
		successes += count;
	}
	ck_assert_uint_gt(successes, 0);
	ck_assert_uint_gt(conflicts, 0);
	printf("%llu appends, %llu conflicts\n", (unsigned long long)successes,
		(unsigned long long)conflicts);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_races_for_one_seat_have_one_winner, test_races_with_expected_versions};
	return suite_run("store races", setup, teardown, tests, 2,
		120 + (double)wanted("RACE_SECONDS", "3"));
}
