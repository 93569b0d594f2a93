/*
 * A connection of a real server with its journal in memory: the input is a script of what a client
 * sends, in which pieces, and when it reads, ends or leaves. Whatever it does, the server's bytes
 * are well-formed answers, what it held is released, and the next one is served.
 *
 * First byte: 0 HTTP, 1 the binary protocol, 2 the same after a hello. Then steps, a byte each:
 * 0 to 239: send so many bytes, and one more, of what follows; 240: read what is there; 241: end
 * the sending side; 242: read one byte; others: let the server turn.
 */
#include <annals/frame.h>
#include <annals/log.h>
#include <annals/schemas.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "net/conn.h"
#include "server.h"
#include "wire.pb-c.h"

#define INPUTS_PER_SERVER 4096u
#define OUTPUT_BYTES_MAX (1u << 20)
#define CLOSE_TURNS_MAX 1000

static struct server server;
static struct options options;
static char data_dir[64];
static bool running;
static unsigned inputs;
static int server_fd, fd;
static const struct protocol_ops *protocol;
static struct buf output;

/* ---- The server ---- */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path);
}

static void stop(void)
{
	if (running) {
		running = false;
		server_stop(&server);
		options_release(&options);
		(void)nftw(data_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	}
	buf_release(&output);
}

static void replace(char **text, const char *value)
{
	free(*text);
	*text = strdup(value);
	FUZZ_REQUIRE(*text != NULL);
}

struct turn {
	struct loop_task task;
	sem_t done;
};

static void on_turn(struct loop_task *task)
{
	struct turn *turn = ANNALS_CONTAINER_OF(task, struct turn, task);
	FUZZ_REQUIRE(sem_post(&turn->done) == 0);
}

static void on_open(struct loop_task *task)
{
	const struct sockaddr_storage peer = {.ss_family = AF_INET};
	FUZZ_REQUIRE(
		conn_open(server.loops, server_fd, &peer, protocol, &transport_plain, NULL) == 0);
	on_turn(task);
}

static void run_on_loop(void (*run)(struct loop_task *task))
{
	struct turn turn;
	FUZZ_REQUIRE(sem_init(&turn.done, 0, 0) == 0);
	loop_task_init(&turn.task, run);
	loop_post(server.loops, &turn.task);
	while (sem_wait(&turn.done) != 0) {
	}
	(void)sem_destroy(&turn.done);
}

/* The wake-up that runs the first may have come before the socket's. */
static void let_turn(void)
{
	run_on_loop(on_turn);
	run_on_loop(on_turn);
}

/* ---- The client ---- */

static void open_connection(const struct protocol_ops *with)
{
	int fds[2];
	FUZZ_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	server_fd = fds[0];
	fd = fds[1];
	protocol = with;
	output.size = 0;
	run_on_loop(on_open);
}

static void read_some(size_t room)
{
	FUZZ_REQUIRE(buf_reserve(&output, room) == 0);
	ssize_t got = recv(fd, output.data + output.size, room, 0);
	if (got > 0) {
		output.size += (size_t)got;
	}
}

static void read_all(void)
{
	size_t before;
	do {
		before = output.size;
		let_turn();
		read_some(65536);
	} while (output.size > before && output.size < OUTPUT_BYTES_MAX);
}

static void send_all(struct bytes bytes)
{
	while (bytes.size > 0) {
		ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN || output.size >= OUTPUT_BYTES_MAX) {
				return;
			}
			let_turn();
			read_some(65536);
			struct pollfd wait = {.fd = fd, .events = POLLOUT};
			if (poll(&wait, 1, 10) == 0) {
				return; /* held back: nothing to find there */
			}
			continue;
		}
		bytes = bytes_of(bytes.data + sent, bytes.size - (size_t)sent);
	}
}

static void check_output(void)
{
	if (protocol == &protocol_http) {
		FUZZ_REQUIRE(output.size < 9 || memcmp(output.data, "HTTP/1.1 ", 9) == 0);
		return;
	}
	struct bytes rest = buf_bytes(&output);
	struct frame frame;
	struct error err;
	size_t needed;
	int found;
	while ((found = frame_parse(rest, 64u << 20, &frame, &needed, &err)) == 1) {
		rest = bytes_of(rest.data + frame.size, rest.size - frame.size);
	}
	FUZZ_REQUIRE(found == 0);
}

/* A stream with a request behind it learns that its client left when it next writes, after up to 15
 * s: the server is stopped then, which has to release everything as well. */
static void close_connection(void)
{
	close(fd);
	for (int waited = 0; atomic_load(&server.connections) > 0; waited++) {
		if (waited == CLOSE_TURNS_MAX) {
			stop();
			return;
		}
		let_turn();
		if (waited > 100) {
			usleep(100);
		}
	}
}

static void start(void)
{
	static const char topic[] = "PUT /v1/topics/t HTTP/1.1\r\nHost: a\r\nContent-Length: "
				    "16\r\n\r\n{\"partitions\":2}";
	struct error err;
	log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	(void)snprintf(data_dir, sizeof(data_dir), "/tmp/annals-fuzz-connection-XXXXXX");
	FUZZ_REQUIRE(mkdtemp(data_dir) != NULL && options_init(&options) == 0);
	replace(&options.data_dir, data_dir);
	replace(&options.http, "127.0.0.1:0");
	replace(&options.binary, "127.0.0.1:0");
	replace(&options.journal, "memory");
	options.map_bytes = 256u << 20;
	options.loops = 1;
	memset(&server, 0, sizeof(server));
	FUZZ_REQUIRE(server_start(&server, &options, &err) == 0);
	running = true;
	open_connection(&protocol_http);
	send_all(bytes_of(topic, sizeof(topic) - 1));
	for (int i = 0; i < 1000 && output.size == 0; i++) {
		read_all();
		usleep(1000);
	}
	FUZZ_REQUIRE(output.size > 12 && memcmp(output.data, "HTTP/1.1 201", 12) == 0);
	close_connection();
}

static void send_hello(void)
{
	Annals__V1__HelloRequest hello = ANNALS__V1__HELLO_REQUEST__INIT;
	struct buf control = BUF_INIT;
	uint8_t header[FRAME_HEADER_BYTES];
	hello.magic = FRAME_HELLO_MAGIC;
	hello.version_min = 1;
	hello.version_max = 1;
	FUZZ_REQUIRE(pack_message(&hello.base, &control) == 0);
	frame_write_header(header, FRAME_REQUEST, FRAME_HELLO, 0, 1, control.size, 0);
	send_all(bytes_of(header, sizeof(header)));
	send_all(buf_bytes(&control));
	buf_release(&control);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool registered;
	if (!registered) {
		registered = true;
		FUZZ_REQUIRE(atexit(stop) == 0);
	}
	if (size == 0) {
		return 0;
	}
	if (running && inputs++ % INPUTS_PER_SERVER == INPUTS_PER_SERVER - 1) {
		stop();
	}
	if (!running) {
		start();
	}
	open_connection(data[0] % 3 == 0 ? &protocol_http : &protocol_native);
	if (data[0] % 3 == 2) {
		send_hello();
	}
	for (size_t at = 1; at < size;) {
		const uint8_t step = data[at++];
		if (step < 240) {
			const size_t piece = ANNALS_MIN((size_t)step + 1, size - at);
			send_all(bytes_of(data + at, piece));
			at += piece;
		} else if (step == 240) {
			read_all();
		} else if (step == 241) {
			(void)shutdown(fd, SHUT_WR);
		} else if (step == 242) {
			read_some(1);
		} else {
			let_turn();
		}
	}
	read_all();
	check_output();
	close_connection();
	return 0;
}
