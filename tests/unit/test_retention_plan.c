#include "retention_plan.h"

#include <annals/hash.h>
#include <check.h>
#include <stdlib.h>

#define PARTITIONS 4
#define PIECES_MAX 64

/* A topic in memory: pieces of some events each, whose recorded times rise over the topic. */
struct model {
	struct topic_config config;
	struct retention_piece pieces[PARTITIONS][PIECES_MAX];
	size_t counts[PARTITIONS];
	uint64_t first_offsets[PARTITIONS];
	uint64_t bytes, events, time_us;
	int fail; /* next_piece returns this */
};

static struct model model;
static struct retention_trim trims[PARTITIONS];
static struct retention_answer answer;

static void set_up(void)
{
	memset(&model, 0, sizeof(model));
	model.config.partitions = PARTITIONS;
	model.time_us = 1000;
}

static void add_piece(uint32_t partition, uint64_t events, uint64_t bytes)
{
	size_t n = model.counts[partition]++;
	ck_assert_uint_lt(n, PIECES_MAX);
	uint64_t end = n == 0 ? 0 : model.pieces[partition][n - 1].end_offset;
	model.time_us += 10;
	model.pieces[partition][n] =
		(struct retention_piece){end + events, bytes, events, model.time_us};
	model.bytes += bytes;
	model.events += events;
}

static int next_piece(void *arg, uint32_t partition, uint64_t from, struct retention_piece *ret)
{
	ck_assert_ptr_eq(arg, &model);
	if (model.fail < 0) {
		return model.fail;
	}
	for (size_t i = 0; i < model.counts[partition]; i++) {
		if (model.pieces[partition][i].end_offset > from) {
			*ret = model.pieces[partition][i];
			return 1;
		}
	}
	return 0;
}

static int plan(uint64_t now_us, size_t trims_max, size_t pieces_max)
{
	struct retention_input input = {
		.config = &model.config,
		.now_us = now_us,
		.first_offsets = model.first_offsets,
		.bytes = model.bytes,
		.events = model.events,
		.trims_max = trims_max,
		.pieces_max = pieces_max,
		.next_piece = next_piece,
		.arg = &model,
	};
	answer.trims = trims;
	return retention_plan(&input, &answer);
}

static uint64_t planned(uint32_t partition)
{
	for (size_t i = 0; i < answer.trim_count; i++) {
		if (trims[i].partition == partition) {
			return trims[i].first_offset;
		}
	}
	return 0;
}

START_TEST(test_retention_plan_without_limits_keeps_everything)
{
	add_piece(0, 10, 1000);
	ck_assert_int_eq(plan(UINT64_MAX, PARTITIONS, 100), 0);
	ck_assert_uint_eq(answer.trim_count, 0);
	ck_assert_uint_eq(answer.next_due_us, UINT64_MAX);
	ck_assert(!answer.more);
	ck_assert(!retention_exceeded(&model.config, UINT64_MAX, UINT64_MAX));
}
END_TEST

START_TEST(test_retention_plan_by_age)
{
	model.config.retention_age_us = 100;
	add_piece(0, 10, 1000); /* 1010 */
	add_piece(1, 10, 1000); /* 1020 */
	add_piece(0, 10, 1000); /* 1030 */
	ck_assert_int_eq(plan(1110, PARTITIONS, 100), 0);
	ck_assert_uint_eq(answer.trim_count, 0); /* exactly that old is not older */
	ck_assert_uint_eq(answer.next_due_us, 1110);
	ck_assert_int_eq(plan(1121, PARTITIONS, 100), 0);
	ck_assert_uint_eq(planned(0), 10);
	ck_assert_uint_eq(planned(1), 10);
	ck_assert_uint_eq(answer.next_due_us, 1130);
	ck_assert_int_eq(plan(2000, PARTITIONS, 100), 0);
	ck_assert_uint_eq(planned(0), 20);
	ck_assert_uint_eq(
		answer.next_due_us, 2100); /* nothing is left: what comes now lives until then */
}
END_TEST

START_TEST(test_retention_plan_by_events_goes_over_the_whole_topic)
{
	model.config.retention_events = 50;
	for (uint32_t i = 0; i < 10; i++) {
		add_piece(i % 3, 10, 100);
	}
	ck_assert(retention_exceeded(&model.config, model.bytes, model.events));
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 100), 0);
	/* The five oldest pieces lie in partitions 0, 1, 2, 0, 1. */
	ck_assert_uint_eq(answer.trim_count, 3);
	ck_assert_uint_eq(planned(0), 20);
	ck_assert_uint_eq(planned(1), 20);
	ck_assert_uint_eq(planned(2), 10);
}
END_TEST

START_TEST(test_retention_plan_by_events_never_goes_below_the_limit)
{
	model.config.retention_events = 55;
	for (uint32_t i = 0; i < 10; i++) {
		add_piece(0, 10, 100);
	}
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 100), 0);
	ck_assert_uint_eq(planned(0), 40); /* 60 stay: 50 would be too few */
}
END_TEST

START_TEST(test_retention_plan_by_bytes)
{
	model.config.retention_bytes = 1000;
	add_piece(0, 1, 5000);
	add_piece(1, 1, 600);
	add_piece(0, 1, 700);
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 100), 0);
	ck_assert_uint_eq(answer.trim_count, 1);
	ck_assert_uint_eq(planned(0), 1);
	ck_assert(!retention_exceeded(&model.config, 1000, 0));
	ck_assert(retention_exceeded(&model.config, 1001, 0));
}
END_TEST

START_TEST(test_retention_plan_starts_at_the_first_offset)
{
	model.config.retention_events = 10;
	for (uint32_t i = 0; i < 10; i++) {
		add_piece(0, 10, 100);
	}
	model.first_offsets[0] = 50;
	model.events = 50;
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 100), 0);
	ck_assert_uint_eq(planned(0), 90);
}
END_TEST

START_TEST(test_retention_plan_is_bounded)
{
	model.config.retention_events = 1;
	for (uint32_t i = 0; i < 40; i++) {
		add_piece(i % PARTITIONS, 1, 1);
	}
	ck_assert_int_eq(plan(model.time_us, 2, 100), 0);
	ck_assert_uint_eq(answer.trim_count, 2);
	ck_assert(answer.more);
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 7), 0);
	ck_assert(answer.more);
	ck_assert_uint_eq(planned(0) + planned(1) + planned(2) + planned(3), 7);
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 39), 0);
	ck_assert(!answer.more);
}
END_TEST

START_TEST(test_retention_plan_passes_errors_on)
{
	model.config.retention_events = 1;
	model.fail = ANNALS_E_CORRUPT_DATA;
	ck_assert_int_eq(plan(model.time_us, PARTITIONS, 100), ANNALS_E_CORRUPT_DATA);
	ck_assert_uint_eq(answer.trim_count, 0);
}
END_TEST

/* Random topics: what is dropped is a prefix of each partition, oldest first, and no more than the
 * limits ask for. */
START_TEST(test_retention_plan_random)
{
	struct random random = {(uint64_t)_i};
	for (int round = 0; round < 200; round++) {
		set_up();
		model.config.retention_events = random_below(&random, 3) * 50;
		model.config.retention_bytes = random_below(&random, 3) * 2000;
		model.config.retention_age_us = random_below(&random, 3) * 200;
		size_t count = random_below(&random, 60);
		for (size_t i = 0; i < count; i++) {
			add_piece((uint32_t)random_below(&random, PARTITIONS),
				1 + random_below(&random, 9), 1 + random_below(&random, 500));
		}
		ck_assert_int_eq(plan(model.time_us, PARTITIONS, 1000), 0);
		uint64_t events = model.events, bytes = model.bytes;
		uint64_t newest_gone = 0, oldest_kept = UINT64_MAX;
		for (uint32_t p = 0; p < PARTITIONS; p++) {
			for (size_t i = 0; i < model.counts[p]; i++) {
				const struct retention_piece *piece = &model.pieces[p][i];
				if (piece->end_offset <= planned(p)) {
					events -= piece->events;
					bytes -= piece->bytes;
					newest_gone =
						ANNALS_MAX(newest_gone, piece->last_recorded_us);
				} else {
					oldest_kept =
						ANNALS_MIN(oldest_kept, piece->last_recorded_us);
				}
			}
		}
		ck_assert(newest_gone < oldest_kept);
		uint64_t age_us = model.config.retention_age_us;
		ck_assert(age_us == 0 || oldest_kept == UINT64_MAX ||
			  oldest_kept + age_us >= model.time_us);
		bool too_old = age_us != 0 && newest_gone + age_us < model.time_us;
		bool events_left = model.config.retention_events != 0 &&
				   events >= model.config.retention_events;
		bool bytes_left =
			model.config.retention_bytes != 0 && bytes >= model.config.retention_bytes;
		ck_assert(newest_gone == 0 || too_old || events_left || bytes_left);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("retention_plan");
	TCase *tcase = tcase_create("retention_plan");
	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_add_test(tcase, test_retention_plan_without_limits_keeps_everything);
	tcase_add_test(tcase, test_retention_plan_by_age);
	tcase_add_test(tcase, test_retention_plan_by_events_goes_over_the_whole_topic);
	tcase_add_test(tcase, test_retention_plan_by_events_never_goes_below_the_limit);
	tcase_add_test(tcase, test_retention_plan_by_bytes);
	tcase_add_test(tcase, test_retention_plan_starts_at_the_first_offset);
	tcase_add_test(tcase, test_retention_plan_is_bounded);
	tcase_add_test(tcase, test_retention_plan_passes_errors_on);
	tcase_add_loop_test(tcase, test_retention_plan_random, 0, 10);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
