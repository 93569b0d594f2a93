#include "server.h"
#include "damage.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/tls.h"
#include "ops.h"
#include "protoc.h"
#include "webhooks/sender.h"
#include <annals/clock.h>
#include <annals/hash.h>
#include <annals/log.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Start ---- */

static int open_store(struct server *server, const struct options *options, struct error *err)
{
	struct store_options store;
	uint8_t uuid[16];
	int status;
	store_options_init(&store);
	store.data_dir = options->data_dir;
	store.journal = options->journal;
	store.journal_segment_bytes = options->journal_segment_bytes;
	store.map_bytes = options->map_bytes;
	store.tail_bytes_max = options->tail_bytes_max;
	store.queue_bytes_max = options->queue_bytes_max;
	store.retention_interval_us = options->retention_interval_us;
	store.disk_reserve_bytes = options->disk_reserve_bytes;
	store.topics_max = (uint32_t)options->topics_max;
	store.damaged = damage_stop;
	status = store_open(&store, &server->store, err);
	if (status == 0) {
		store_uuid(server->store, uuid);
		uuid_format(server->uuid, uuid);
	}
	return status;
}

static int open_loops(struct server *server, unsigned count, struct error *err)
{
	server->loops = calloc(count, sizeof(*server->loops));
	if (server->loops == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY,
			"cannot make %u event loops: out of memory", count);
	}
	for (unsigned i = 0; i < count; i++) {
		int status = loop_open(&server->loops[i], server, i, err);
		if (status != 0) {
			return status;
		}
		server->loop_count++;
	}
	return 0;
}

/* One listening socket per loop, all on the port that the first one got. */
static int listen_on(struct server *server, const char *address,
	const struct protocol_ops *protocol, uint16_t *ret_port, struct error *err)
{
	char reachable[300];
	uint16_t port = 0;
	if (strcmp(address, "off") == 0 || address[0] == 0) {
		return 0;
	}
	for (unsigned i = 0; i < server->loop_count; i++) {
		int fd;
		int status = listener_bind(address, port, server->loop_count > 1, &fd, &port, err);
		if (status != 0) {
			return status;
		}
		if (listener_open(&server->loops[i], fd, protocol) != 0) {
			close(fd);
			return error_fail(err, ANNALS_E_NO_MEMORY,
				"cannot listen on '%s': out of memory", address);
		}
	}
	*ret_port = port;
	/* The address as a client can use it: with the port that was picked. */
	(void)snprintf(reachable, sizeof(reachable), "%.*s:%u",
		(int)(strrchr(address, ':') - address), address, (unsigned)port);
	log_info("listening", "protocol", protocol->name, "address", reachable, "port",
		log_u64(port), "tls", server->tls != NULL ? "on" : "off");
	return 0;
}

static int start_all(struct server *server, const struct options *options, struct error *err)
{
	const struct registry_options schemas = {.compile = protoc_compile};
	int status = 0;
	if (options->tls_cert[0] != 0) {
		status = tls_context_new(options->tls_cert, options->tls_key, &server->tls, err);
	}
	if (status == 0) {
		status = open_store(server, options, err);
	}
	if (status == 0) {
		status = registry_open(server->store, &schemas, &server->registry, err);
	}
	if (status == 0) {
		status = delivery_open(server->store, &server->delivery, err);
	}
	if (status == 0) {
		status = schedule_open(server->store, &server->schedule, err);
	}
	if (status == 0) {
		status = webhooks_open(
			server->store, server->delivery, options, &server->webhooks, err);
	}
	if (status == 0) {
		status = open_loops(server, (unsigned)options->loops, err);
	}
	if (status == 0) {
		status = listen_on(
			server, options->binary, &protocol_native, &server->binary_port, err);
	}
	if (status == 0) {
		status = listen_on(server, options->http, &protocol_http, &server->http_port, err);
	}
	atomic_store(&server->state, status == 0 ? SERVER_READY : SERVER_STARTING);
	for (unsigned i = 0; i < server->loop_count && status == 0; i++) {
		status = loop_start(&server->loops[i], err);
	}
	return status;
}

int server_start(struct server *server, const struct options *options, struct error *err)
{
	int status;
	memset(server, 0, sizeof(*server));
	server->options = options;
	server->started_us = clock_wall_us();
	atomic_init(&server->state, SERVER_STARTING);
	atomic_init(&server->connections, 0);
	status = start_all(server, options, err);
	if (status != 0) {
		server_stop(server);
	}
	return status;
}

/* ---- Messages to the loops ---- */

struct loop_call {
	struct loop_task task;
	struct loop *loop;
	const struct options *options;
	atomic_uint *left;
};

static void call_loops(
	struct server *server, void (*run)(struct loop_task *task), const struct options *options)
{
	struct loop_call calls[SERVER_LOOPS_MAX];
	atomic_uint left;
	struct timespec pause = {.tv_nsec = 1000000};
	atomic_init(&left, server->loop_count);
	for (unsigned i = 0; i < server->loop_count; i++) {
		calls[i].loop = &server->loops[i];
		calls[i].options = options;
		calls[i].left = &left;
		loop_task_init(&calls[i].task, run);
		loop_post(&server->loops[i], &calls[i].task);
	}
	while (atomic_load(&left) > 0) {
		(void)nanosleep(&pause, NULL);
	}
}

static void run_publish(struct loop_task *task)
{
	struct loop_call *call = ANNALS_CONTAINER_OF(task, struct loop_call, task);
	call->loop->options = call->options;
	atomic_fetch_sub(call->left, 1);
}

void server_publish_options(struct server *server, const struct options *options)
{
	server->options = options;
	call_loops(server, run_publish, options);
}

static void run_drain(struct loop_task *task)
{
	struct loop_call *call = ANNALS_CONTAINER_OF(task, struct loop_call, task);
	struct loop *loop = call->loop;
	loop->draining = true;
	listener_close_all(loop);
	op_drain_all(loop);
	conn_drain_all(loop);
	atomic_fetch_sub(call->left, 1);
}

/* ---- Stop ---- */

bool server_drain(struct server *server)
{
	struct timespec pause = {.tv_nsec = 5000000};
	uint64_t deadline = clock_monotonic_ns() + server->options->drain_timeout_us * 1000;
	unsigned open;
	atomic_store(&server->state, SERVER_DRAINING);
	webhooks_drain(server->webhooks);
	call_loops(server, run_drain, NULL);
	while (((open = atomic_load(&server->connections)) > 0 ||
		       !webhooks_is_drained(server->webhooks)) &&
		clock_monotonic_ns() < deadline) {
		(void)nanosleep(&pause, NULL);
	}
	if (open > 0) {
		log_warning("connections were still busy when drain-timeout had passed",
			"connections", log_u64(open));
	}
	if (!webhooks_is_drained(server->webhooks)) {
		log_warning("webhooks' receivers had not answered when drain-timeout had passed");
		return false;
	}
	return open == 0;
}

void server_stop(struct server *server)
{
	if (server == NULL || server->options == NULL) {
		return;
	}
	atomic_store(&server->state, SERVER_STOPPED);
	for (unsigned i = 0; i < server->loop_count; i++) {
		loop_stop(&server->loops[i]);
		listener_close_all(&server->loops[i]);
	}
	/* The loops' completion queues take what storage still gives back. */
	for (unsigned i = 0; i < server->loop_count; i++) {
		registry_view_release(&server->loops[i].schemas);
	}
	webhooks_close(server->webhooks);
	registry_close(server->registry);
	schedule_close(server->schedule);
	delivery_close(server->delivery);
	store_close(server->store);
	for (unsigned i = 0; i < server->loop_count; i++) {
		loop_close(&server->loops[i]);
	}
	free(server->loops);
	tls_context_free(server->tls);
	server->loops = NULL;
	server->loop_count = 0;
	server->store = NULL;
	server->delivery = NULL;
	server->schedule = NULL;
	server->registry = NULL;
	server->webhooks = NULL;
	server->tls = NULL;
	server->options = NULL;
}
