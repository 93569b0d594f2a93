#include "net/bulk.h"
#include "loop.h"
#include "net/conn.h"
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define FOREGROUND_NS (20ull * 1000 * 1000) /* appends are going on so long after the last */
#define LEFT_MAX_NS (500 * 1000)
#define PAUSE_US 1000
#define LOOK_NS (5ull * 1000 * 1000)
/* The thread waited for a processor for this part of the time since the last look. */
#define CONTENDED_PART 20u

static void go_on(evutil_socket_t fd ANNALS_UNUSED, short what ANNALS_UNUSED, void *arg)
{
	struct loop *loop = arg;
	struct list_node *node;
	while ((node = list_pop(&loop->bulk.conns)) != NULL) {
		conn_touch(LIST_ENTRY(node, struct conn, bulk_node));
	}
}

int bulk_open(struct loop *loop)
{
	list_init(&loop->bulk.conns);
	loop->bulk.schedstat_fd = -1;
	loop->bulk.event = evtimer_new(loop->base, go_on, loop);
	return loop->bulk.event == NULL ? ANNALS_E_NO_MEMORY : 0;
}

void bulk_close(struct loop *loop)
{
	if (loop->bulk.event == NULL) {
		return;
	}
	event_free(loop->bulk.event);
	loop->bulk.event = NULL;
	if (loop->bulk.schedstat_fd >= 0) {
		close(loop->bulk.schedstat_fd);
	}
}

void bulk_foreground(struct loop *loop)
{
	loop->bulk.foreground_ns = loop_now_ns(loop);
}

/* Has the thread been waiting for a processor? The second number of its schedstat is how long in
 * all (Documentation/scheduler/sched-stats.rst). True where that is not known. */
static bool look_at_processors(struct loop_bulk *bulk, uint64_t now_ns)
{
	char text[96], *end;
	uint64_t waited;
	if (now_ns - bulk->looked_ns < LOOK_NS) {
		return bulk->contended;
	}
	if (bulk->schedstat_fd < 0) {
		bulk->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	}
	const ssize_t n =
		bulk->schedstat_fd >= 0 ? pread(bulk->schedstat_fd, text, sizeof(text) - 1, 0) : -1;
	if (n <= 0) {
		bulk->contended = true;
	} else {
		text[n] = '\0';
		(void)strtoull(text, &end, 10); /* how long it ran */
		waited = strtoull(end, NULL, 10);
		bulk->contended =
			(waited - bulk->waited_ns) * CONTENDED_PART > now_ns - bulk->looked_ns;
		bulk->waited_ns = waited;
	}
	bulk->looked_ns = now_ns;
	return bulk->contended;
}

bool bulk_may_run(struct loop *loop)
{
	struct loop_bulk *bulk = &loop->bulk;
	const uint64_t now_ns = loop_now_ns(loop);
	const bool alone = now_ns - bulk->foreground_ns > FOREGROUND_NS;
	if (!alone) {
		/* The writer may have woken on this processor, for a request or after its flush: a
		 * scheduler that did not let it run at once looks again only at its next tick. */
		(void)sched_yield();
	}
	if (alone || !look_at_processors(bulk, now_ns)) {
		bulk->refilled_ns = now_ns;
		return true;
	}
	bulk->left_ns += (int64_t)((now_ns - bulk->refilled_ns) / 2);
	bulk->left_ns = ANNALS_MIN(bulk->left_ns, (int64_t)LEFT_MAX_NS);
	bulk->refilled_ns = now_ns;
	return bulk->left_ns > 0;
}

void bulk_charge(struct loop *loop, uint64_t ns)
{
	loop->bulk.left_ns = ANNALS_MAX(
		loop->bulk.left_ns - (int64_t)ANNALS_MIN(2 * ns, (uint64_t)4 * LEFT_MAX_NS),
		-(int64_t)(4 * LEFT_MAX_NS));
}

void bulk_wait(struct loop *loop, struct list_node *node)
{
	static const struct timeval pause = {.tv_usec = PAUSE_US};
	if (list_is_empty(&loop->bulk.conns)) {
		(void)event_add(loop->bulk.event, &pause);
	}
	list_add_tail(&loop->bulk.conns, node);
}
