#include "loop.h"
#include "net/conn.h"
#include "net/output.h"
#include "ops_internal.h"
#include "server.h"
#include <annals/thread.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- Pools ---- */

#define POOL_SPARE_MAX 2048u

static unsigned pool_index(size_t size)
{
	return (unsigned)((size + LOOP_POOL_STEP_BYTES - 1) / LOOP_POOL_STEP_BYTES - 1);
}

void *loop_alloc(struct loop *loop, size_t size)
{
	unsigned index = pool_index(size);
	void *memory;
	if (index >= LOOP_POOLS) {
		return malloc(size);
	}
	memory = loop->pools[index].spare;
	if (memory == NULL) {
		return malloc((index + 1) * (size_t)LOOP_POOL_STEP_BYTES);
	}
	memcpy(&loop->pools[index].spare, memory, sizeof(void *));
	loop->pools[index].count--;
	return memory;
}

void loop_free(struct loop *loop, void *memory, size_t size)
{
	unsigned index = pool_index(size);
	if (memory == NULL) {
		return;
	}
	if (index >= LOOP_POOLS || loop->pools[index].count >= POOL_SPARE_MAX) {
		free(memory);
		return;
	}
	memcpy(memory, &loop->pools[index].spare, sizeof(void *));
	loop->pools[index].spare = memory;
	loop->pools[index].count++;
}

static void pools_release(struct loop *loop)
{
	for (unsigned i = 0; i < LOOP_POOLS; i++) {
		void *memory = loop->pools[i].spare;
		while (memory != NULL) {
			void *next;
			memcpy(&next, memory, sizeof(next));
			free(memory);
			memory = next;
		}
		loop->pools[i].spare = NULL;
		loop->pools[i].count = 0;
	}
}

/* ---- Tasks ---- */

static void wake(int fd)
{
	uint64_t one = 1;
	ssize_t n;
	do {
		n = write(fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
	/* EAGAIN means that the counter is not zero: the loop will wake all the same. */
}

static void clear_wake(int fd)
{
	uint64_t value;
	ssize_t n = read(fd, &value, sizeof(value));
	(void)n;
}

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task))
{
	list_init(&task->node);
	task->run = run;
}

void loop_task_cancel(struct loop_task *task)
{
	list_remove(&task->node);
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (list_is_empty(&task->node)) {
		list_add_tail(&loop->deferred, &task->node);
	}
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	bool was_empty;
	pthread_mutex_lock(&loop->posted_mutex);
	was_empty = list_is_empty(&loop->posted);
	list_add_tail(&loop->posted, &task->node);
	pthread_mutex_unlock(&loop->posted_mutex);
	if (was_empty) {
		wake(loop->control_fd);
	}
}

static void run_tasks(struct list_node *tasks)
{
	struct list_node *node;
	while ((node = list_pop(tasks)) != NULL) {
		struct loop_task *task = LIST_ENTRY(node, struct loop_task, node);
		task->run(task);
	}
}

static void on_control(evutil_socket_t fd, short what ANNALS_UNUSED, void *arg)
{
	struct loop *loop = arg;
	struct list_node tasks;
	list_init(&tasks);
	clear_wake(fd);
	pthread_mutex_lock(&loop->posted_mutex);
	list_splice(&tasks, &loop->posted);
	pthread_mutex_unlock(&loop->posted_mutex);
	run_tasks(&tasks);
}

/* ---- Completions ---- */

static void notify_completions(void *arg)
{
	struct loop *loop = arg;
	wake(loop->completion_fd);
}

static void take_completions(struct loop *loop)
{
	struct list_node requests;
	struct list_node *node;
	list_init(&requests);
	completion_queue_take(&loop->completions, &requests);
	while ((node = list_pop(&requests)) != NULL) {
		op_returned(LIST_ENTRY(node, struct store_request, node));
	}
}

static void on_completions(evutil_socket_t fd, short what ANNALS_UNUSED, void *arg)
{
	struct loop *loop = arg;
	counter_add(&loop->counters.wakes, 1);
	clear_wake(fd);
	take_completions(loop);
}

/* ---- Timers: a hashed wheel (Varghese and Lauck 1987, scheme 6) ---- */

static uint64_t tick_of(uint64_t ns)
{
	return (ns + LOOP_WHEEL_TICK_NS - 1) / LOOP_WHEEL_TICK_NS;
}

static void wheel_arm(struct loop *loop, uint64_t tick)
{
	uint64_t now = loop_now_ns(loop);
	uint64_t at = tick * LOOP_WHEEL_TICK_NS;
	uint64_t delay_us = at > now ? (at - now + 999) / 1000 : 0;
	struct timeval delay = {.tv_sec = (time_t)(delay_us / 1000000),
		.tv_usec = (suseconds_t)(delay_us % 1000000)};
	loop->wheel_armed_tick = tick;
	(void)event_add(loop->tick_event, &delay);
}

static void on_tick(evutil_socket_t fd ANNALS_UNUSED, short what ANNALS_UNUSED, void *arg)
{
	struct loop *loop = arg;
	uint64_t now = loop_now_ns(loop);
	uint64_t now_tick = now / LOOP_WHEEL_TICK_NS;
	struct list_node due;
	struct list_node *node;

	list_init(&due);
	loop->wheel_armed_tick = UINT64_MAX;
	if (now_tick > loop->wheel_tick + LOOP_WHEEL_SLOTS) {
		loop->wheel_tick = now_tick - LOOP_WHEEL_SLOTS;
	}
	while (loop->wheel_tick < now_tick) {
		struct list_node *slot = &loop->wheel[++loop->wheel_tick % LOOP_WHEEL_SLOTS];
		struct list_node *following;
		LIST_FOR_EACH_SAFE (node, following, slot) {
			if (LIST_ENTRY(node, struct loop_timer, node)->deadline_ns <= now) {
				list_remove(node);
				list_add_tail(&due, node);
			}
		}
	}
	while ((node = list_pop(&due)) != NULL) {
		struct loop_timer *timer = LIST_ENTRY(node, struct loop_timer, node);
		loop->wheel_count--;
		timer->fire(timer);
	}
	if (loop->wheel_count > 0 && loop->wheel_armed_tick == UINT64_MAX) {
		for (uint64_t i = 1; i <= LOOP_WHEEL_SLOTS; i++) {
			uint64_t tick = loop->wheel_tick + i;
			if (!list_is_empty(&loop->wheel[tick % LOOP_WHEEL_SLOTS])) {
				wheel_arm(loop, tick);
				break;
			}
		}
	} else if (loop->wheel_count > 0) {
		/* A timer set while others fired armed only itself: look again soon. */
		wheel_arm(loop, loop->wheel_tick + 1);
	}
}

void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *timer))
{
	list_init(&timer->node);
	timer->deadline_ns = 0;
	timer->fire = fire;
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
	return !list_is_empty(&timer->node);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
	if (loop_timer_is_set(timer)) {
		list_remove(&timer->node);
		loop->wheel_count--;
	}
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns)
{
	uint64_t tick;
	loop_timer_stop(loop, timer);
	timer->deadline_ns = loop_now_ns(loop) + delay_ns;
	tick = ANNALS_MAX(tick_of(timer->deadline_ns), loop->wheel_tick + 1);
	list_add_tail(&loop->wheel[tick % LOOP_WHEEL_SLOTS], &timer->node);
	loop->wheel_count++;
	if (tick < loop->wheel_armed_tick) {
		wheel_arm(loop, tick);
	}
}

/* ---- Life ---- */

static int open_event(struct loop *loop, int fd, event_callback_fn fn, struct event **ret)
{
	*ret = event_new(loop->base, fd, (short)(EV_READ | EV_PERSIST), fn, loop);
	return *ret == NULL || event_add(*ret, NULL) != 0 ? ANNALS_E_NO_MEMORY : 0;
}

static int open_base(struct loop *loop)
{
	struct event_config *config = event_config_new();
	if (config == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (loop->base == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	loop->tick_event = evtimer_new(loop->base, on_tick, loop);
	if (loop->tick_event == NULL || bulk_open(loop) != 0 ||
		open_event(loop, loop->control_fd, on_control, &loop->control_event) != 0 ||
		open_event(loop, loop->completion_fd, on_completions, &loop->completion_event) !=
			0) {
		return ANNALS_E_NO_MEMORY;
	}
	return 0;
}

int loop_open(struct loop *loop, struct server *server, unsigned index, struct error *err)
{
	memset(loop, 0, sizeof(*loop));
	loop->server = server;
	loop->index = index;
	loop->options = server->options;
	loop->store = server->store;
	pthread_mutex_init(&loop->posted_mutex, NULL);
	completion_queue_init(&loop->completions, notify_completions, loop);
	unpack_arena_init(&loop->arena, UNPACK_ARENA_BYTES_MAX);
	list_init(&loop->posted);
	list_init(&loop->deferred);
	list_init(&loop->conns);
	list_init(&loop->conns_turn);
	list_init(&loop->listeners);
	list_init(&loop->waiting);
	for (unsigned i = 0; i < LOOP_WHEEL_SLOTS; i++) {
		list_init(&loop->wheel[i]);
	}
	loop->wheel_tick = clock_monotonic_ns() / LOOP_WHEEL_TICK_NS;
	loop->wheel_armed_tick = UINT64_MAX;
	loop->control_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->completion_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->output_pool = output_pool_new();
	loop->read_buffer = malloc(LOOP_READ_BYTES);
	if (loop->control_fd < 0 || loop->completion_fd < 0) {
		int status = error_errno(err, ANNALS_E_IO, errno, "cannot make an eventfd");
		loop_close(loop);
		return status;
	}
	if (loop->output_pool == NULL || loop->read_buffer == NULL || open_base(loop) != 0) {
		loop_close(loop);
		return error_fail(
			err, ANNALS_E_NO_MEMORY, "cannot make an event loop: out of memory");
	}
	return 0;
}

static void wake_writer(struct loop *loop)
{
	if (loop->submitted) {
		loop->submitted = false;
		bulk_foreground(loop);
		store_wake_writer(loop->store);
	}
}

/* What is left to do after the callbacks of one wake-up. */
static void end_turn(struct loop *loop)
{
	struct list_node tasks;
	list_init(&tasks);
	list_splice(&tasks, &loop->deferred);
	run_tasks(&tasks);
	/* Before the answers of this turn leave, so that the flush runs beside them; and again for
	 * what a connection submits when it reads on. */
	wake_writer(loop);
	conn_end_turn(loop);
	wake_writer(loop);
	counter_add(&loop->counters.turns, 1);
	loop->now_ns = 0;
}

static void *loop_main(void *arg)
{
	struct loop *loop = arg;
	thread_set_name("annals-loop");
	thread_set_slice(THREAD_SLICE_LOOP_NS);
	while (!loop->stopping) {
		bool busy = !list_is_empty(&loop->deferred) || !list_is_empty(&loop->conns_turn);
		(void)event_base_loop(loop->base, EVLOOP_ONCE | (busy ? EVLOOP_NONBLOCK : 0));
		end_turn(loop);
	}
	conn_close_all(loop, CONN_CLOSE_DRAIN);
	while (!list_is_empty(&loop->conns) || !list_is_empty(&loop->deferred)) {
		end_turn(loop);
	}
	return NULL;
}

int loop_start(struct loop *loop, struct error *err)
{
	int failed = pthread_create(&loop->thread, NULL, loop_main, loop);
	if (failed != 0) {
		return error_errno(err, ANNALS_E_IO, failed, "cannot start an event loop thread");
	}
	loop->started = true;
	return 0;
}

struct stop_task {
	struct loop_task task;
	struct loop *loop;
};

static void run_stop(struct loop_task *task)
{
	ANNALS_CONTAINER_OF(task, struct stop_task, task)->loop->stopping = true;
}

void loop_stop(struct loop *loop)
{
	struct stop_task stop = {.loop = loop};
	if (!loop->started) {
		return;
	}
	loop_task_init(&stop.task, run_stop);
	loop_post(loop, &stop.task);
	pthread_join(loop->thread, NULL);
	loop->started = false;
}

void loop_close(struct loop *loop)
{
	if (loop->server == NULL) {
		return;
	}
	take_completions(loop);
	if (loop->control_event != NULL) {
		event_free(loop->control_event);
	}
	if (loop->completion_event != NULL) {
		event_free(loop->completion_event);
	}
	if (loop->tick_event != NULL) {
		bulk_close(loop);
		event_free(loop->tick_event);
	}
	if (loop->base != NULL) {
		event_base_free(loop->base);
	}
	if (loop->control_fd >= 0) {
		close(loop->control_fd);
	}
	if (loop->completion_fd >= 0) {
		close(loop->completion_fd);
	}
	output_pool_free(loop->output_pool);
	free(loop->read_buffer);
	buf_release(&loop->scratch);
	buf_release(&loop->reply);
	unpack_arena_release(&loop->arena);
	pools_release(loop);
	completion_queue_release(&loop->completions);
	pthread_mutex_destroy(&loop->posted_mutex);
	memset(loop, 0, sizeof(*loop));
}
