/* The client handle and the turn of its I/O side. */
#include "io.h"

#include <annals/build.h>
#include <annals/clock.h>
#include <annals/macros.h>
#include <annals/parse.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A function that runs on the I/O side; the caller waits on its stack. */
struct io_call {
	struct list_node node;
	void (*function)(struct annals_client *, void *);
	void *arg;
	bool done;
};

const char *annals_version(void)
{
	return ANNALS_VERSION;
}

int client_error(struct annals_error *error, int status, const char *format, ...)
{
	if (error) {
		va_list args;
		va_start(args, format);
		memset(error, 0, sizeof(*error));
		error->status = status;
		error->event_index = -1;
		vsnprintf(error->text, sizeof(error->text), format, args);
		va_end(args);
	}
	return status;
}

int client_error_from(struct annals_error *error, const struct error *from)
{
	return client_error(error, from->code, "%s", from->text);
}

uint64_t deadline_after_ms(int timeout_ms)
{
	return clock_monotonic_ns() + (uint64_t)ANNALS_MAX(timeout_ms, 0) * 1000000u;
}

int cond_init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int failed = pthread_condattr_init(&attr);
	if (failed) {
		return ANNALS_E_NO_MEMORY;
	}
	failed = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!failed) {
		failed = pthread_cond_init(cond, &attr);
	}
	(void)pthread_condattr_destroy(&attr);
	return failed ? ANNALS_E_NO_MEMORY : ANNALS_OK;
}

void client_wake(struct annals_client *client)
{
	if (!atomic_exchange(&client->woken, true)) {
		uint64_t one = 1;
		/* Fails only when the counter is full, and then the reader is awake. */
		ssize_t written = write(client->wake_fd, &one, sizeof(one));
		(void)written;
	}
}

bool client_on_io_side(const struct annals_client *client)
{
	if (client->external) {
		return client->processing;
	}
	return client->has_thread && pthread_equal(pthread_self(), client->thread);
}

bool client_wait_step(struct annals_client *client, pthread_mutex_t *lock, pthread_cond_t *cond,
	uint64_t deadline_ns)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (client_on_io_side(client) || (now_ns >= deadline_ns && !client->external)) {
		return false;
	}
	if (!client->external) {
		struct timespec until = {
			(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
		(void)pthread_cond_timedwait(cond, lock, &until);
		return true;
	}
	/* A wait of nothing still gives the connection one turn. */
	pthread_mutex_unlock(lock);
	uint64_t left_ms = now_ns >= deadline_ns ? 0 : (deadline_ns - now_ns + 999999u) / 1000000u;
	struct pollfd pollfd = {.fd = client->epoll_fd, .events = POLLIN, .revents = 0};
	(void)poll(&pollfd, 1, (int)ANNALS_MIN(left_ms, 60000u));
	annals_client_process(client);
	pthread_mutex_lock(lock);
	return now_ns < deadline_ns;
}

void client_run(
	struct annals_client *client, void (*function)(struct annals_client *, void *), void *arg)
{
	if (client->external || client_on_io_side(client)) {
		function(client, arg);
		return;
	}
	struct io_call call = {.function = function, .arg = arg, .done = false};
	pthread_mutex_lock(&client->lock);
	list_add_tail(&client->calls, &call.node);
	pthread_mutex_unlock(&client->lock);
	client_wake(client);
	pthread_mutex_lock(&client->lock);
	while (!call.done) {
		pthread_cond_wait(&client->cond, &client->lock);
	}
	pthread_mutex_unlock(&client->lock);
}

void client_set_state(
	struct annals_client *client, enum annals_state state, const struct annals_error *error)
{
	pthread_mutex_lock(&client->lock);
	bool changed = client->state != state;
	client->state = state;
	if (error) {
		client->last_error = *error;
	}
	pthread_cond_broadcast(&client->cond);
	pthread_mutex_unlock(&client->lock);
	if ((changed || error) && client->options->on_state) {
		client->options->on_state(client, state, error, client->options->on_state_arg);
	}
}

/* Takes what other threads left. */
static void take_submitted(struct annals_client *client)
{
	struct list_node calls, submitted, *node;
	list_init(&calls);
	list_init(&submitted);
	pthread_mutex_lock(&client->lock);
	list_splice(&calls, &client->calls);
	list_splice(&submitted, &client->submitted);
	list_splice(&client->producers, &client->new_producers);
	list_splice(&client->consumers, &client->new_consumers);
	pthread_mutex_unlock(&client->lock);
	while ((node = list_pop(&submitted))) {
		request_enqueue(client, LIST_ENTRY(node, struct request, node));
	}
	while ((node = list_pop(&calls))) {
		struct io_call *call = LIST_ENTRY(node, struct io_call, node);
		call->function(client, call->arg);
		pthread_mutex_lock(&client->lock);
		call->done = true;
		pthread_cond_broadcast(&client->cond);
		pthread_mutex_unlock(&client->lock);
	}
}

static void set_timer(struct annals_client *client, uint64_t deadline_ns)
{
	if (client->timer_ns == deadline_ns) {
		return;
	}
	struct itimerspec spec = {{0, 0}, {0, 0}};
	if (deadline_ns != NO_DEADLINE) {
		/* 0 would disarm. */
		deadline_ns = ANNALS_MAX(deadline_ns, 1u);
		spec.it_value.tv_sec = (time_t)(deadline_ns / 1000000000u);
		spec.it_value.tv_nsec = (long)(deadline_ns % 1000000000u);
	}
	(void)timerfd_settime(client->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
	client->timer_ns = deadline_ns;
}

/* Everything the I/O side does between two waits. */
static void turn(struct annals_client *client, const struct epoll_event *events, int count)
{
	uint64_t now_ns = clock_monotonic_ns(), drained;
	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == client->wake_fd) {
			ssize_t got = read(client->wake_fd, &drained, sizeof(drained));
			(void)got;
			atomic_store(&client->woken, false);
		} else if (events[i].data.fd == client->timer_fd) {
			ssize_t got = read(client->timer_fd, &drained, sizeof(drained));
			(void)got;
			client->timer_ns = NO_DEADLINE;
		}
	}
	take_submitted(client);
	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == client->conn.fd && client->conn.fd >= 0) {
			conn_events(client, events[i].events, now_ns);
		}
	}
	conn_turn(client, now_ns);
	uint64_t next_ns = NO_DEADLINE;
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &client->producers) {
		uint64_t wants_ns = producer_turn(producer_of_node(node), now_ns);
		next_ns = ANNALS_MIN(next_ns, wants_ns);
	}
	LIST_FOR_EACH_SAFE (node, following, &client->consumers) {
		uint64_t wants_ns = consumer_turn(consumer_of_node(node), now_ns);
		next_ns = ANNALS_MIN(next_ns, wants_ns);
	}
	conn_flush(client);
	uint64_t conn_ns = conn_deadline(client);
	set_timer(client, ANNALS_MIN(next_ns, conn_ns));
}

static void *io_thread(void *arg)
{
	struct annals_client *client = arg;
	struct epoll_event events[8];
	for (;;) {
		int count = epoll_wait(client->epoll_fd, events, ANNALS_COUNT_OF(events), -1);
		turn(client, events, ANNALS_MAX(count, 0));
		pthread_mutex_lock(&client->lock);
		bool closing = client->closing;
		pthread_mutex_unlock(&client->lock);
		if (closing) {
			return NULL;
		}
	}
}

void annals_client_process(struct annals_client *client)
{
	if (!client->external || client->processing) {
		return;
	}
	struct epoll_event events[8];
	client->processing = true;
	int count = epoll_wait(client->epoll_fd, events, ANNALS_COUNT_OF(events), 0);
	turn(client, events, ANNALS_MAX(count, 0));
	client->processing = false;
}

int annals_client_fd(const struct annals_client *client)
{
	return client->epoll_fd;
}

static int watch(struct annals_client *client, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
	return fd < 0 || epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 ? ANNALS_E_IO
										     : ANNALS_OK;
}

static void split_servers(struct annals_client *client)
{
	const char *at = client->options->servers ? client->options->servers : "127.0.0.1:7450";
	while (at && client->server_count < SERVERS_MAX) {
		const char *comma = strchr(at, ',');
		size_t size = comma ? (size_t)(comma - at) : strlen(at);
		snprintf(client->servers[client->server_count++], sizeof(client->servers[0]),
			"%.*s", (int)size, at);
		at = comma ? comma + 1 : NULL;
	}
}

static void client_free(struct annals_client *client)
{
	struct list_node *node;
	while ((node = list_pop(&client->topics))) {
		free(LIST_ENTRY(node, struct topic_cache, node));
	}
	conn_release(&client->conn);
	pages_release(&client->pages);
	if (client->timer_fd >= 0) {
		close(client->timer_fd);
	}
	if (client->wake_fd >= 0) {
		close(client->wake_fd);
	}
	if (client->epoll_fd >= 0) {
		close(client->epoll_fd);
	}
	pthread_cond_destroy(&client->cond);
	pthread_mutex_destroy(&client->lock);
	annals_options_free(client->options);
	free(client);
}

/* Everything but the descriptors and the thread. */
static int client_new(const struct annals_options *options, struct annals_client **ret)
{
	struct annals_client *client = calloc(1, sizeof(*client));
	if (!client) {
		return ANNALS_E_NO_MEMORY;
	}
	if (options_copy(options, &client->options) != ANNALS_OK ||
		conn_init(&client->conn) != ANNALS_OK ||
		cond_init_monotonic(&client->cond) != ANNALS_OK) {
		conn_release(&client->conn);
		annals_options_free(client->options);
		free(client);
		return ANNALS_E_NO_MEMORY;
	}
	(void)pthread_mutex_init(&client->lock, NULL);
	pages_init(&client->pages);
	list_init(&client->submitted);
	list_init(&client->calls);
	list_init(&client->new_producers);
	list_init(&client->new_consumers);
	list_init(&client->topics);
	list_init(&client->producers);
	list_init(&client->consumers);
	client->external = client->options->numbers[ANNALS_OPTION_EXTERNAL_LOOP] != 0;
	client->timer_ns = NO_DEADLINE;
	random_bytes(&client->jitter, sizeof(client->jitter));
	split_servers(client);
	client_error(&client->last_error, ANNALS_E_TIMEOUT, "no connection was tried yet");
	client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	client->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	client->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	*ret = client;
	return ANNALS_OK;
}

int annals_client_open(const struct annals_options *options, struct annals_client **ret_client,
	struct annals_error *error)
{
	struct annals_client *client;
	if (client_new(options, &client) != ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a client");
	}
	if (client->epoll_fd < 0 || watch(client, client->wake_fd) != ANNALS_OK ||
		watch(client, client->timer_fd) != ANNALS_OK) {
		client_error(error, ANNALS_E_IO, "cannot make the client's descriptors: %s",
			strerror(errno));
		client_free(client);
		return ANNALS_E_IO;
	}
	client_wake(client);
	if (!client->external) {
		/* The thread compares itself with client->thread, so it may not start before it is
		 * set. */
		pthread_mutex_lock(&client->lock);
		int failed = pthread_create(&client->thread, NULL, io_thread, client);
		client->has_thread = failed == 0;
		pthread_mutex_unlock(&client->lock);
		if (failed) {
			client_error(error, ANNALS_E_IO, "cannot start the client's thread: %s",
				strerror(failed));
			client_free(client);
			return ANNALS_E_IO;
		}
	}
	*ret_client = client;
	return ANNALS_OK;
}

int annals_client_wait(struct annals_client *client, int timeout_ms, struct annals_error *error)
{
	uint64_t deadline_ns = deadline_after_ms(timeout_ms);
	pthread_mutex_lock(&client->lock);
	while (client->state != ANNALS_STATE_READY && !client->fatal) {
		if (!client_wait_step(client, &client->lock, &client->cond, deadline_ns)) {
			break;
		}
	}
	int status = ANNALS_OK;
	if (client->state != ANNALS_STATE_READY) {
		status = client->fatal ? client->fatal : ANNALS_E_TIMEOUT;
		client_error(error, status, "%s%s",
			client->fatal ? "" : "not connected in time: ", client->last_error.text);
	}
	pthread_mutex_unlock(&client->lock);
	return status;
}

int annals_connect(const struct annals_options *options, int timeout_ms,
	struct annals_client **ret_client, struct annals_error *error)
{
	struct annals_client *client;
	int status = annals_client_open(options, &client, error);
	if (status != ANNALS_OK) {
		return status;
	}
	status = annals_client_wait(client, timeout_ms, error);
	if (status != ANNALS_OK) {
		annals_client_close(client);
		return status;
	}
	*ret_client = client;
	return ANNALS_OK;
}

int annals_client_server(struct annals_client *client, struct annals_server_info *ret)
{
	pthread_mutex_lock(&client->lock);
	int status = client->state == ANNALS_STATE_READY ? ANNALS_OK : ANNALS_E_DISCONNECTED;
	if (status == ANNALS_OK) {
		*ret = client->server;
	}
	pthread_mutex_unlock(&client->lock);
	return status;
}

void annals_client_close(struct annals_client *client)
{
	if (!client) {
		return;
	}
	pthread_mutex_lock(&client->lock);
	client->closing = true;
	pthread_mutex_unlock(&client->lock);
	client_wake(client);
	if (client->has_thread) {
		pthread_join(client->thread, NULL);
		client->has_thread = false;
	}
	/* From here on this thread is the I/O side. */
	take_submitted(client);
	conn_fail_all(client, ANNALS_E_CLOSED, "the client is being closed");
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &client->consumers) {
		consumer_client_closed(consumer_of_node(node));
	}
	client_set_state(client, ANNALS_STATE_CLOSED, NULL);
	client_free(client);
}
