#include "loop.h"
#include "server.h"
#include "suite.h"
#include <annals/clock.h>
#include <stdatomic.h>
#include <unistd.h>

static struct server server;
static struct options options;
static struct loop loop;
static atomic_uint ran;

static void setup(void)
{
	struct error err = {0};
	atomic_init(&ran, 0);
	ck_assert_int_eq(options_init(&options), 0);
	server.options = &options;
	ck_assert_msg(loop_open(&loop, &server, 0, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	loop_stop(&loop);
	loop_close(&loop);
	options_release(&options);
}

static void start(void)
{
	ck_assert_int_eq(loop_start(&loop, NULL), 0);
}

static void wait_for(unsigned count)
{
	for (int i = 0; i < 2000 && atomic_load(&ran) < count; i++) {
		usleep(1000);
	}
	ck_assert_uint_eq(atomic_load(&ran), count);
}

struct job {
	struct loop_task task;
	struct loop_timer timer;
	uint64_t delay_ns, set_ns, fired_ns;
	struct loop_timer *victim;
};

static void count_task(struct loop_task *task)
{
	(void)task;
	atomic_fetch_add(&ran, 1);
}

START_TEST(test_loop_post_runs_each_task_once)
{
	struct loop_task tasks[100];
	start();
	for (int i = 0; i < 100; i++) {
		loop_task_init(&tasks[i], count_task);
		loop_post(&loop, &tasks[i]);
	}
	wait_for(100);
}
END_TEST

static void defer_again(struct loop_task *task)
{
	if (atomic_fetch_add(&ran, 1) < 4) {
		loop_defer(&loop, task);
		loop_defer(&loop, task); /* waits already: once only */
	}
}

START_TEST(test_loop_deferred_tasks_run_without_an_event)
{
	struct loop_task task;
	start();
	loop_task_init(&task, defer_again);
	loop_post(&loop, &task);
	wait_for(5);
	usleep(20000);
	ck_assert_uint_eq(atomic_load(&ran), 5);
}
END_TEST

static void on_fire(struct loop_timer *timer)
{
	struct job *job = ANNALS_CONTAINER_OF(timer, struct job, timer);
	job->fired_ns = clock_monotonic_ns();
	if (job->victim != NULL) {
		loop_timer_stop(&loop, job->victim);
	}
	atomic_fetch_add(&ran, 1);
}

static void set_timer(struct loop_task *task)
{
	struct job *job = ANNALS_CONTAINER_OF(task, struct job, task);
	loop_timer_init(&job->timer, on_fire);
	job->set_ns = loop_now_ns(&loop); /* deadlines count from the turn's time */
	loop_timer_set(&loop, &job->timer, job->delay_ns);
}

START_TEST(test_loop_timers_fire_soon_after_their_deadline)
{
	static const unsigned delays_ms[] = {300, 0, 1, 50, 120, 51, 200};
	struct job jobs[7];
	start();
	for (int i = 0; i < 7; i++) {
		memset(&jobs[i], 0, sizeof(jobs[i]));
		jobs[i].delay_ns = delays_ms[i] * 1000000ull;
		loop_task_init(&jobs[i].task, set_timer);
		loop_post(&loop, &jobs[i].task);
	}
	wait_for(7);
	for (int i = 0; i < 7; i++) {
		uint64_t took_ns = jobs[i].fired_ns - jobs[i].set_ns;
		ck_assert_uint_ge(took_ns, jobs[i].delay_ns);
		/* 16 ms of the wheel, and a busy machine. */
		ck_assert_uint_lt(took_ns, jobs[i].delay_ns + 400000000);
	}
}
END_TEST

static void set_and_stop(struct loop_task *task)
{
	struct job *job = ANNALS_CONTAINER_OF(task, struct job, task);
	set_timer(task);
	ck_assert(loop_timer_is_set(&job->timer));
	loop_timer_stop(&loop, &job->timer);
	ck_assert(!loop_timer_is_set(&job->timer));
	loop_timer_stop(&loop, &job->timer);
}

START_TEST(test_loop_stopped_timer_does_not_fire)
{
	struct job jobs[2];
	start();
	memset(jobs, 0, sizeof(jobs));
	jobs[0].delay_ns = jobs[1].delay_ns = 20000000;
	loop_task_init(&jobs[0].task, set_and_stop);
	loop_task_init(&jobs[1].task, set_timer);
	loop_post(&loop, &jobs[0].task);
	loop_post(&loop, &jobs[1].task);
	wait_for(1);
	usleep(60000);
	ck_assert_uint_eq(jobs[0].fired_ns, 0);
	ck_assert_uint_eq(atomic_load(&ran), 1);
}
END_TEST

START_TEST(test_loop_timer_may_stop_another_that_is_due)
{
	struct job jobs[2];
	start();
	memset(jobs, 0, sizeof(jobs));
	jobs[0].delay_ns = jobs[1].delay_ns = 30000000;
	jobs[0].victim = &jobs[1].timer;
	jobs[1].victim = &jobs[0].timer;
	for (int i = 0; i < 2; i++) {
		loop_task_init(&jobs[i].task, set_timer);
		loop_post(&loop, &jobs[i].task);
	}
	wait_for(1);
	usleep(60000);
	ck_assert_uint_eq(atomic_load(&ran), 1);
}
END_TEST

START_TEST(test_loop_memory_is_reused)
{
	void *one = loop_alloc(&loop, 300);
	void *large = loop_alloc(&loop, 100000);
	ck_assert_ptr_nonnull(one);
	ck_assert_ptr_nonnull(large);
	loop_free(&loop, one, 300);
	/* The same class: 257 to 512 bytes. */
	ck_assert_ptr_eq(loop_alloc(&loop, 500), one);
	loop_free(&loop, one, 500);
	loop_free(&loop, large, 100000);
	loop_free(&loop, NULL, 10);
}
END_TEST

SUITE_MAIN("loop", setup, teardown, test_loop_post_runs_each_task_once,
	test_loop_deferred_tasks_run_without_an_event,
	test_loop_timers_fire_soon_after_their_deadline, test_loop_stopped_timer_does_not_fire,
	test_loop_timer_may_stop_another_that_is_due, test_loop_memory_is_reused)
