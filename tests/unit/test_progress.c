/* A group's progress: single rules, and random schedules against a model that is too simple to be
 * wrong. */
#include "delivery/progress.h"

#include <annals/hash.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS 40u
#define KEYS 5u
#define LEASE_US 100u
#define ROWS_MAX 64u

static struct progress_settings settings = {
	.attempts_max = 3, .backoff_first_us = 10, .backoff_max_us = 40};

struct fixture {
	struct member_names names;
	struct progress progress;
	uint32_t member;
};

static void fixture_init(struct fixture *f)
{
	settings = (struct progress_settings){
		.attempts_max = 3, .backoff_first_us = 10, .backoff_max_us = 40};
	member_names_init(&f->names);
	progress_init(&f->progress, &settings, &f->names, 0, 1);
	ck_assert_int_eq(member_names_get(&f->names, bytes_text("worker"), &f->member), 0);
}

static void fixture_release(struct fixture *f)
{
	progress_release(&f->progress);
	member_names_unref(&f->names, f->member);
	ck_assert_uint_eq(f->names.used, 0);
	member_names_release(&f->names);
}

START_TEST(test_progress_keeps_order_per_key)
{
	struct fixture f;
	struct lease first, second;

	fixture_init(&f);
	ck_assert_int_eq(progress_offer(&f.progress, 0, 7, f.member, 0, 100, &first), 1);
	ck_assert_int_eq(progress_offer(&f.progress, 1, 7, f.member, 0, 100, &second), 0);
	ck_assert_int_eq(progress_offer(&f.progress, 2, 8, f.member, 0, 100, &second), 1);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 100, &second), 0);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, first.lease), 0);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 100, &second), 1);
	ck_assert_uint_eq(second.offset, 1);
	fixture_release(&f);
}
END_TEST

START_TEST(test_progress_fences_old_leases)
{
	struct fixture f;
	struct lease lease, again;

	fixture_init(&f);
	ck_assert_int_eq(progress_offer(&f.progress, 0, 0, f.member, 0, 100, &lease), 1);
	ck_assert_uint_eq(progress_run_timers(&f.progress, 99, 10), 0);
	ck_assert_uint_eq(progress_run_timers(&f.progress, 100, 10), 1);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 200, &again), 1);
	ck_assert_uint_eq(again.attempts, 2);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, lease.lease), ANNALS_E_LEASE_LOST);
	ck_assert_int_eq(progress_extend(&f.progress, 0, lease.lease, 900), ANNALS_E_LEASE_LOST);
	ck_assert_int_eq(
		progress_refuse(&f.progress, 0, lease.lease, 100, 0, false), ANNALS_E_LEASE_LOST);
	ck_assert_int_eq(progress_extend(&f.progress, 0, again.lease, 900), 0);
	ck_assert_uint_eq(progress_next_timer(&f.progress), 900);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, again.lease), 0);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, again.lease), 1);
	ck_assert_int_eq(progress_seek(&f.progress, 0), 0);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, again.lease), ANNALS_E_LEASE_LOST);
	fixture_release(&f);
}
END_TEST

START_TEST(test_progress_takes_a_late_acknowledgement)
{
	struct fixture f;
	struct lease lease;

	fixture_init(&f);
	ck_assert_int_eq(progress_offer(&f.progress, 0, 0, f.member, 0, 100, &lease), 1);
	ck_assert_uint_eq(progress_run_timers(&f.progress, 100, 10), 1);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, lease.lease), 0);
	ck_assert_uint_eq(f.progress.item_count, 0);
	fixture_release(&f);
}
END_TEST

START_TEST(test_progress_backs_off_and_parks)
{
	struct fixture f;
	struct lease lease;
	bool finished;

	fixture_init(&f);
	ck_assert_int_eq(progress_offer(&f.progress, 0, 5, f.member, 0, 100, &lease), 1);
	ck_assert_int_eq(progress_offer(&f.progress, 1, 5, f.member, 0, 100, &lease), 0);
	lease.lease = UINT64_C(1) << 32 | 1;
	ck_assert_int_eq(progress_refuse(&f.progress, 0, lease.lease, 0, TIME_NEVER, false), 0);
	ck_assert_uint_eq(progress_next_timer(&f.progress), 10);
	ck_assert_uint_eq(progress_run_timers(&f.progress, 10, 9), 1);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 100, &lease), 1);
	ck_assert_int_eq(progress_refuse(&f.progress, 0, lease.lease, 10, TIME_NEVER, false), 0);
	ck_assert_uint_eq(progress_next_timer(&f.progress), 30);
	ck_assert_uint_eq(progress_run_timers(&f.progress, 30, 9), 1);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 130, &lease), 1);
	ck_assert_int_eq(progress_refuse(&f.progress, 0, lease.lease, 30, TIME_NEVER, false), 0);
	ck_assert_uint_eq(f.progress.counts[ITEM_PARKED], 1);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 130, &lease), 0);
	ck_assert_uint_eq(progress_floor(&f.progress), 2); /* all of it is parked or behind */
	ck_assert_int_eq(progress_replay(&f.progress, 0, &finished), 0);
	ck_assert(!finished);
	ck_assert_uint_eq(progress_floor(&f.progress), 0);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 230, &lease), 1);
	ck_assert_uint_eq(lease.attempts, 1);
	ck_assert_int_eq(progress_refuse(&f.progress, 0, lease.lease, 30, 0, true), 0);
	ck_assert_int_eq(progress_drop(&f.progress, 0), 0);
	ck_assert_int_eq(progress_drop(&f.progress, 0), ANNALS_E_NOT_FOUND);
	ck_assert_int_eq(progress_lease_ready(&f.progress, f.member, 0, 230, &lease), 1);
	ck_assert_uint_eq(lease.offset, 1);
	fixture_release(&f);
}
END_TEST

/* Given back for a while: however often, it is no attempt, and never parked. */
START_TEST(test_progress_return_is_no_attempt)
{
	struct fixture f;
	struct lease lease;

	fixture_init(&f);
	ck_assert_int_eq(progress_offer(&f.progress, 0, 5, f.member, 0, 100, &lease), 1);
	for (unsigned i = 0; i < 20; i++) {
		const uint64_t now_us = i * 50;
		const uint64_t lost = lease.lease + 1;
		ck_assert_uint_eq(lease.attempts, 1);
		ck_assert_uint_eq(member_names_held(&f.names, f.member), 1);
		ck_assert_int_eq(
			progress_return(&f.progress, 0, lost, now_us, 50), ANNALS_E_LEASE_LOST);
		ck_assert_int_eq(progress_return(&f.progress, 0, lease.lease, now_us, 50), 0);
		ck_assert_int_eq(progress_return(&f.progress, 0, lease.lease, now_us, 50),
			ANNALS_E_LEASE_LOST);
		ck_assert_uint_eq(member_names_held(&f.names, f.member), 0);
		ck_assert_uint_eq(progress_next_timer(&f.progress), now_us + 50);
		ck_assert_uint_eq(progress_run_timers(&f.progress, now_us + 50, 9), 1);
		ck_assert_int_eq(progress_lease_ready(
					 &f.progress, f.member, now_us + 50, now_us + 150, &lease),
			1);
	}
	ck_assert_uint_eq(f.progress.counts[ITEM_PARKED], 0);
	fixture_release(&f);
}
END_TEST

START_TEST(test_progress_bounds_its_window)
{
	struct fixture f;
	struct lease lease;

	fixture_init(&f);
	ck_assert_int_eq(progress_offer(&f.progress, 0, 0, f.member, 0, 100, &lease), 1);
	ck_assert_int_eq(progress_skip_to(&f.progress, PROGRESS_WINDOW - 1, false), 0);
	ck_assert_int_eq(
		progress_offer(&f.progress, PROGRESS_WINDOW - 1, 0, f.member, 0, 100, &lease), 1);
	ck_assert_int_eq(progress_offer(&f.progress, PROGRESS_WINDOW, 0, f.member, 0, 100, &lease),
		ANNALS_E_LIMIT);
	ck_assert_int_eq(progress_acknowledge(&f.progress, 0, UINT64_C(1) << 32 | 1), 0);
	ck_assert_int_eq(
		progress_offer(&f.progress, PROGRESS_WINDOW, 0, f.member, 0, 100, &lease), 1);
	fixture_release(&f);
}
END_TEST

START_TEST(test_progress_refuses_damaged_rows)
{
	struct fixture f;
	static const uint8_t rows[][16] = {
		{2},                   /* version */
		{1, 65},               /* names */
		{1, 1, 9, 'a'},        /* a name cut short */
		{1, 0, 0, 1},          /* an item cut short */
		{1, 0, 0, 1, 0x80},    /* a number cut short */
		{1, 0, 0, 31, 1, 1},   /* an unknown state */
		{1, 0, 0x80, 1, 1, 1}, /* in a chain without a key */
		{1, 0, 0, 2, 1, 1, 0}, /* leased, no deadline */
		{1, 0, 0, 0x82, 1, 1}, /* leased by nobody */
	};
	static const size_t sizes[] = {1, 2, 4, 4, 5, 6, 6, 7, 6};

	for (size_t i = 0; i < ANNALS_COUNT_OF(sizes); i++) {
		fixture_init(&f);
		f.progress.cursor = 10;
		ck_assert_int_eq(progress_load_slice(&f.progress, 0, bytes_of(rows[i], sizes[i])),
			ANNALS_E_CORRUPT_DATA);
		fixture_release(&f);
	}
	fixture_init(&f);
	ck_assert_int_eq(
		progress_load_head(&f.progress, bytes_of(rows[0], 1)), ANNALS_E_CORRUPT_DATA);
	fixture_release(&f);
}
END_TEST

/* ---- The model ---- */

enum model_state { MODEL_NEW, MODEL_LEASED, MODEL_DELAYED, MODEL_PARKED, MODEL_FINISHED };
struct model_event {
	enum model_state state;
	uint64_t due_us, lease;
	unsigned attempts, finished, member;
};
struct model {
	struct model_event events[EVENTS];
};

struct row {
	uint64_t base;
	uint8_t bytes[2048];
	size_t size;
};
struct world {
	struct random random;
	uint64_t now_us;
	struct member_names names;
	struct progress progress;
	struct model model, committed;
	uint64_t keys[EVENTS];
	struct row rows[ROWS_MAX];
	size_t row_count;
	uint8_t head[64];
	size_t head_size;
	uint64_t seed;
};

#define CHECK(world, condition)                                                                    \
	do {                                                                                       \
		if (!(condition)) { /* check writes down every assertion: too slow for millions */ \
			ck_abort_msg(                                                              \
				"seed %llu: %s", (unsigned long long)(world)->seed, #condition);   \
		}                                                                                  \
	} while (0)

static int keep_row(void *arg, uint64_t base, struct bytes bytes)
{
	struct world *w = arg;
	size_t i = 0;

	while (i < w->row_count && w->rows[i].base != base) {
		i++;
	}
	if (bytes.size == 0) {
		if (i < w->row_count) {
			w->rows[i] = w->rows[--w->row_count];
		}
		return 0;
	}
	ck_assert_uint_le(bytes.size, sizeof(w->rows[i].bytes));
	w->row_count += i == w->row_count ? 1 : 0;
	w->rows[i].base = base;
	w->rows[i].size = bytes.size;
	memcpy(w->rows[i].bytes, bytes.data, bytes.size);
	return 0;
}

static void commit(struct world *w)
{
	struct buf head = BUF_INIT;

	CHECK(w, progress_write_slices(&w->progress, keep_row, w) == 0);
	CHECK(w, progress_write_head(&w->progress, &head) == 0);
	memcpy(w->head, head.data, head.size);
	w->head_size = head.size;
	buf_release(&head);
	w->committed = w->model;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	return left->base < right->base ? -1 : left->base > right->base;
}

static void crash(struct world *w)
{
	progress_release(&w->progress);
	CHECK(w, w->names.used == 0);
	progress_init(&w->progress, &settings, &w->names, 0, 0);
	CHECK(w, progress_load_head(&w->progress, bytes_of(w->head, w->head_size)) == 0);
	qsort(w->rows, w->row_count, sizeof(w->rows[0]), compare_rows);
	for (size_t i = 0; i < w->row_count; i++) {
		CHECK(w, progress_load_slice(&w->progress, w->rows[i].base,
				 bytes_of(w->rows[i].bytes, w->rows[i].size)) == 0);
	}
	progress_load_end(&w->progress);
	w->model = w->committed;
}

static bool is_over(const struct world *w, uint64_t offset)
{
	return w->model.events[offset].state == MODEL_FINISHED;
}

static bool is_eligible(const struct world *w, uint64_t offset)
{
	const struct model_event *event = &w->model.events[offset];

	if (is_over(w, offset) || event->state == MODEL_PARKED ||
		((event->state == MODEL_LEASED || event->state == MODEL_DELAYED) &&
			event->due_us > w->now_us)) {
		return false;
	}
	for (uint64_t i = 0; i < offset && w->keys[offset] != 0; i++) {
		if (w->keys[i] == w->keys[offset] && !is_over(w, i) &&
			!(w->model.events[i].state == MODEL_PARKED && settings.parked_pass)) {
			return false;
		}
	}
	return true;
}

static void run_model_timers(struct world *w)
{
	for (uint64_t i = 0; i < EVENTS; i++) {
		struct model_event *event = &w->model.events[i];
		if (event->state == MODEL_LEASED && event->due_us <= w->now_us &&
			event->attempts >= settings.attempts_max) {
			event->state = MODEL_PARKED;
		}
	}
}

/* What the owner of a progress does for one event of a poll. */
static int poll_one(struct world *w, struct lease *ret, unsigned *ret_member)
{
	char name[16];
	uint32_t member;
	int found;

	*ret_member = (unsigned)random_below(&w->random, 3);
	(void)snprintf(name, sizeof(name), "m%u", *ret_member);
	CHECK(w, member_names_get(&w->names, bytes_text(name), &member) == 0);
	while (progress_run_timers(&w->progress, w->now_us, 2) > 0) {
	}
	run_model_timers(w);
	found = progress_lease_ready(&w->progress, member, w->now_us, w->now_us + LEASE_US, ret);
	while (found == 0 && w->progress.cursor < EVENTS) {
		uint64_t offset = w->progress.cursor;
		found = progress_offer(&w->progress, offset, w->keys[offset], member, w->now_us,
			w->now_us + LEASE_US, ret);
	}
	member_names_unref(&w->names, member);
	return found;
}

static void step_poll(struct world *w)
{
	struct model_event *event;
	struct lease lease;
	unsigned member;
	int found = poll_one(w, &lease, &member);

	CHECK(w, found >= 0);
	if (found == 0) { /* nothing that could be worked on is held back */
		for (uint64_t i = 0; i < EVENTS; i++) {
			CHECK(w, !is_eligible(w, i));
		}
		return;
	}
	CHECK(w, is_eligible(w, lease.offset));
	event = &w->model.events[lease.offset];
	event->attempts++;
	CHECK(w, lease.attempts == event->attempts);
	CHECK(w, lease.lease != event->lease);
	event->state = MODEL_LEASED;
	event->lease = lease.lease;
	event->due_us = w->now_us + LEASE_US;
	event->member = member;
}

static bool may_answer(const struct world *w, uint64_t offset)
{
	return w->model.events[offset].state == MODEL_LEASED && !is_over(w, offset);
}

static void step_answer(struct world *w)
{
	uint64_t offset = random_below(&w->random, EVENTS);
	struct model_event *event = &w->model.events[offset];
	bool mine = may_answer(w, offset), fresh = event->due_us > w->now_us;
	uint64_t lease = event->lease;

	/* An old lease never works. */
	CHECK(w, progress_acknowledge(&w->progress, offset, lease - 1) != 0);
	switch (random_below(&w->random, 4)) {
	case 0:
	case 1:
		if (mine) {
			run_model_timers(w);
			while (progress_run_timers(&w->progress, w->now_us, 1) > 0) {
			}
			mine = may_answer(w, offset);
		}
		CHECK(w, (progress_acknowledge(&w->progress, offset, lease) == 0) == mine);
		if (mine) {
			event->state = MODEL_FINISHED;
			event->finished++;
		}
		break;
	case 2:
		if (mine && fresh) {
			bool at_once = random_below(&w->random, 8) == 0;
			CHECK(w, progress_refuse(
					 &w->progress, offset, lease, w->now_us, 20, at_once) == 0);
			event->state = at_once || event->attempts >= settings.attempts_max
					       ? MODEL_PARKED
					       : MODEL_DELAYED;
			event->due_us = w->now_us + 20;
		}
		break;
	default:
		if (mine && fresh) {
			CHECK(w, progress_extend(&w->progress, offset, lease,
					 w->now_us + 2 * LEASE_US) == 0);
			event->due_us = w->now_us + 2 * LEASE_US;
		}
		break;
	}
}

static void step_parked(struct world *w)
{
	uint64_t offset = random_below(&w->random, EVENTS);
	struct model_event *event = &w->model.events[offset];
	bool parked, finished, ahead = offset >= w->progress.cursor;

	run_model_timers(w);
	while (progress_run_timers(&w->progress, w->now_us, 9) > 0) {
	}
	parked = event->state == MODEL_PARKED;
	/* Replayed where later ones pass, an event has no place in the order: out of the model. */
	if (settings.parked_pass || random_below(&w->random, 2) == 0) {
		CHECK(w, (progress_drop(&w->progress, offset) == 0) == parked);
		if (parked) { /* one that seeking back has put ahead comes again, like all */
			event->state = ahead ? MODEL_NEW : MODEL_FINISHED;
			event->attempts = 0;
		}
	} else {
		CHECK(w, (progress_replay(&w->progress, offset, &finished) == 0) == parked);
		if (parked) {
			event->state = MODEL_NEW;
			event->attempts = 0;
		}
	}
}

static void step_seek(struct world *w)
{
	uint64_t offset = random_below(&w->random, EVENTS + 1);

	run_model_timers(w);
	while (progress_run_timers(&w->progress, w->now_us, 9) > 0) {
	}
	CHECK(w, progress_seek(&w->progress, offset) == 0);
	for (uint64_t i = 0; i < EVENTS; i++) {
		struct model_event *event = &w->model.events[i];
		if (event->state != MODEL_PARKED) {
			event->state = i < offset ? MODEL_FINISHED : MODEL_NEW;
			event->attempts = 0;
		}
	}
}

/* A member goes and gives back what it has: as if never delivered. It joins again by polling. */
static void step_leave(struct world *w)
{
	unsigned member = (unsigned)random_below(&w->random, 3);
	uint32_t number, left, expected = 0;
	char name[16];

	run_model_timers(w);
	while (progress_run_timers(&w->progress, w->now_us, 9) > 0) {
	}
	(void)snprintf(name, sizeof(name), "m%u", member);
	for (uint64_t i = 0; i < EVENTS; i++) {
		struct model_event *event = &w->model.events[i];
		if (event->state == MODEL_LEASED && event->member == member &&
			event->due_us > w->now_us) {
			event->state = MODEL_DELAYED;
			event->due_us = w->now_us;
			event->attempts--;
			expected++;
		}
	}
	number = member_names_find(&w->names, bytes_text(name));
	left = number == 0 ? 0 : progress_leave(&w->progress, number);
	CHECK(w, left == expected);
}

/* A commit that carries acknowledgements, and may be refused. */
static void step_transaction(struct world *w)
{
	uint64_t offset = random_below(&w->random, EVENTS);
	struct model_event *event = &w->model.events[offset];
	bool done = random_below(&w->random, 2) == 0;

	if (!may_answer(w, offset) || event->due_us <= w->now_us) {
		return;
	}
	commit(w);
	CHECK(w, progress_finish_begin(&w->progress, offset, event->lease) == 0);
	if (done) {
		event->state = MODEL_FINISHED;
		event->finished++;
		commit(w); /* rows without the event */
		if (random_below(&w->random, 2) == 0) {
			crash(w); /* the answer is lost, the commit is not */
			return;
		}
	}
	progress_finish_end(&w->progress, offset, done);
}

static void run_schedule(uint64_t seed)
{
	static struct world world;
	struct world *w = &world;
	bool seeks;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->random.state = seed;
	seeks = random_below(&w->random, 3) == 0;
	settings.parked_pass = random_below(&w->random, 2) == 0;
	settings.attempts_max = 1 + (uint32_t)random_below(&w->random, 4);
	member_names_init(&w->names);
	for (unsigned i = 0; i < EVENTS; i++) {
		w->keys[i] = random_below(&w->random, KEYS + 1);
	}
	progress_init(&w->progress, &settings, &w->names, 0, 1);
	commit(w);
	for (unsigned step = 0; step < 150; step++) {
		uint64_t choice = random_below(&w->random, 100);
		w->now_us += random_below(&w->random, 12);
		if (choice < 40) {
			step_poll(w);
		} else if (choice < 75) {
			step_answer(w);
		} else if (choice < 82) {
			step_transaction(w);
		} else if (choice < 86) {
			step_parked(w);
		} else if (choice < 88 && seeks) {
			step_seek(w);
		} else if (choice < 90) {
			step_leave(w);
		} else if (choice < 95) {
			commit(w);
		} else {
			crash(w);
		}
	}
	/* Whoever goes on polling and acknowledging gets everything that is not parked. */
	for (unsigned turn = 0; turn < 10 * EVENTS; turn++) {
		struct lease lease;
		unsigned member;
		w->now_us += LEASE_US;
		if (poll_one(w, &lease, &member) == 1) {
			CHECK(w, is_eligible(w, lease.offset));
			CHECK(w,
				progress_acknowledge(&w->progress, lease.offset, lease.lease) == 0);
			w->model.events[lease.offset].state = MODEL_FINISHED;
		}
	}
	for (uint64_t i = 0; i < EVENTS; i++) {
		CHECK(w, !is_eligible(w, i));
		CHECK(w, is_over(w, i) || progress_item(&w->progress, i) != NULL);
		CHECK(w, settings.parked_pass == false || is_over(w, i) ||
				 w->model.events[i].state == MODEL_PARKED);
	}
	progress_release(&w->progress);
	member_names_release(&w->names);
}

START_TEST(test_progress_random_schedules)
{
	/* ANNALS_TEST_SCHEDULES=n: so many more */
	const char *more = getenv("ANNALS_TEST_SCHEDULES");
	uint64_t count = 2500 + (more == NULL ? 0 : strtoull(more, NULL, 10));

	for (uint64_t seed = 1; seed <= count; seed++) {
		run_schedule((uint64_t)_i * 1000000 + seed);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("progress");
	TCase *rules = tcase_create("rules"), *model = tcase_create("model");

	tcase_add_test(rules, test_progress_keeps_order_per_key);
	tcase_add_test(rules, test_progress_fences_old_leases);
	tcase_add_test(rules, test_progress_takes_a_late_acknowledgement);
	tcase_add_test(rules, test_progress_backs_off_and_parks);
	tcase_add_test(rules, test_progress_return_is_no_attempt);
	tcase_add_test(rules, test_progress_bounds_its_window);
	tcase_add_test(rules, test_progress_refuses_damaged_rows);
	tcase_add_loop_test(model, test_progress_random_schedules, 0, 4);
	tcase_set_timeout(model, 120);
	suite_add_tcase(suite, rules);
	suite_add_tcase(suite, model);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
