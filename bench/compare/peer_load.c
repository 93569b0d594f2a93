/*
 * peer-load: the same closed loop as annals-bench's, spoken to other systems in their own protocols
 * over raw sockets, so that no client library's cost is measured in their place.
 *
 *   peer-load PEER append  PORT CONNECTIONS IN_FLIGHT BATCH BYTES SECONDS
 *   peer-load PEER replay  PORT EVENTS BYTES
 *   peer-load file sync    DIRECTORY BYTES 0|1            1: preallocated
 *   peer-load loopback stream  GIBIBYTES
 *
 * PEER: redis (XADD, RESP), nats (JetStream publish with acknowledgement), postgres (INSERT of
 * BATCH rows in one transaction, simple protocol, user "bench" without password). A request is
 * BATCH events; it is answered when all of them are. Prints one JSON object. The first fifth of
 * SECONDS more is warm-up and not counted.
 */
#include <annals/buf.h>
#include <annals/clock.h>
#include <annals/histogram.h>
#include <annals/macros.h>
#include <annals/thread.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peers.h"

#define IN_BYTES ((size_t)(1 << 20))

struct sender {
	int fd;
	uint8_t *in;
	size_t in_size;
	struct buf request, out;
	size_t out_at;
	uint64_t *sent_ns; /* ring: answers come in order */
	uint64_t head, tail;
	uint64_t left; /* answers the oldest request still waits for */
	bool waits_for_room;
};

static void die(const char *what)
{
	fprintf(stderr, "peer-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int dial(const struct peer *peer, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		die("connect");
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (peer->greet(fd) != 0) {
		die("the greeting");
	}
	return fd;
}

static void flush(int epoll_fd, struct sender *sender)
{
	while (sender->out_at < sender->out.size) {
		ssize_t sent = send(sender->fd, sender->out.data + sender->out_at,
			sender->out.size - sender->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EAGAIN) {
			break;
		}
		if (sent < 0) {
			die("send");
		}
		sender->out_at += (size_t)sent;
	}
	bool waits = sender->out_at < sender->out.size;
	if (!waits) {
		buf_reset(&sender->out);
		sender->out_at = 0;
	}
	if (waits != sender->waits_for_room) {
		struct epoll_event event = {
			.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data = {.ptr = sender}};
		sender->waits_for_room = waits;
		(void)epoll_ctl(epoll_fd, EPOLL_CTL_MOD, sender->fd, &event);
	}
}

/* Counts the whole answers in what came; what is left of one stays for the next time. */
static uint64_t receive(const struct peer *peer, struct sender *sender)
{
	ssize_t got = recv(
		sender->fd, sender->in + sender->in_size, IN_BYTES - sender->in_size, MSG_DONTWAIT);
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		die("the connection ended");
	}
	sender->in_size += got > 0 ? (size_t)got : 0;
	size_t used = 0;
	uint64_t answers = 0;
	int status = peer->count_answers(sender->in, sender->in_size, &used, &answers);
	if (status != 0) {
		fprintf(stderr, "peer-load: %s answered an error: %.*s\n", peer->name,
			(int)ANNALS_MIN(sender->in_size, 200u), (const char *)sender->in);
		exit(1);
	}
	sender->in_size -= used;
	memmove(sender->in, sender->in + used, sender->in_size);
	return answers;
}

static void print_result(const char *peer, double seconds, uint64_t requests, uint64_t events,
	uint64_t bytes, const struct histogram *latency)
{
	printf("{\"peer\":\"%s\",\"events_per_second\":%.1f,\"requests_per_second\":%.1f,"
	       "\"megabytes_per_second\":%.2f",
		peer, (double)events / seconds, (double)requests / seconds,
		(double)bytes / seconds / 1e6);
	static const struct {
		const char *name;
		double percent;
	} percentiles[] = {{"p50_ms", 50}, {"p90_ms", 90}, {"p99_ms", 99}, {"p999_ms", 99.9},
		{"p9999_ms", 99.99}, {"max_ms", 100}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(percentiles); i++) {
		printf(",\"%s\":%.3f", percentiles[i].name,
			(double)histogram_percentile(latency, percentiles[i].percent) / 1e6);
	}
	printf("}\n");
}

struct shape {
	uint64_t connections, in_flight, batch, bytes;
	double seconds;
};

static void append_request(
	const struct peer *peer, const struct shape *shape, struct sender *sender)
{
	if (buf_add(&sender->out, sender->request.data, sender->request.size) != ANNALS_OK) {
		die("memory");
	}
	sender->sent_ns[sender->head++ % shape->in_flight] = clock_monotonic_ns();
	if (sender->left == 0) {
		sender->left = peer->answers_per_request(shape->batch);
	}
}

static int append(const struct peer *peer, int port, const struct shape *shape)
{
	static struct histogram latency;
	struct epoll_event events[64];
	struct sender *senders = calloc(shape->connections, sizeof(*senders));
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	uint64_t requests = 0, per_request = peer->answers_per_request(shape->batch);
	if (!senders) {
		die("memory");
	}
	for (uint64_t i = 0; i < shape->connections; i++) {
		senders[i].fd = dial(peer, port);
		senders[i].in = malloc(IN_BYTES);
		senders[i].sent_ns = calloc(shape->in_flight, sizeof(uint64_t));
		struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &senders[i]}};
		if (!senders[i].in || !senders[i].sent_ns ||
			peer->build(&senders[i].request, senders[i].fd, shape->batch,
				shape->bytes) != ANNALS_OK ||
			epoll_ctl(epoll_fd, EPOLL_CTL_ADD, senders[i].fd, &event) != 0) {
			die("epoll");
		}
	}
	uint64_t begin_ns = clock_monotonic_ns();
	uint64_t measure_ns = begin_ns + (uint64_t)(shape->seconds * 2e8);
	uint64_t end_ns = measure_ns + (uint64_t)(shape->seconds * 1e9), now_ns = begin_ns;
	for (uint64_t i = 0; i < shape->connections; i++) {
		for (uint64_t j = 0; j < shape->in_flight; j++) {
			append_request(peer, shape, &senders[i]);
		}
		flush(epoll_fd, &senders[i]);
	}
	/* Longer where nothing was answered in the time, so that a slow system has a rate too. */
	while (now_ns < end_ns || (requests == 0 && now_ns < end_ns + 30000000000u)) {
		int count = epoll_wait(epoll_fd, events, ANNALS_COUNT_OF(events), 100);
		now_ns = clock_monotonic_ns();
		for (int i = 0; i < count; i++) {
			struct sender *sender = events[i].data.ptr;
			uint64_t answers = events[i].events & EPOLLIN ? receive(peer, sender) : 0;
			while (answers > 0 && answers >= sender->left) {
				answers -= sender->left;
				sender->left = 0;
				uint64_t sent_ns =
					sender->sent_ns[sender->tail++ % shape->in_flight];
				if (now_ns >= measure_ns) {
					requests++;
					histogram_add(&latency, now_ns - sent_ns);
				}
				sender->left = sender->head > sender->tail ? per_request : 0;
				append_request(peer, shape, sender);
			}
			sender->left -= answers;
			flush(epoll_fd, sender);
		}
	}
	print_result(peer->name, (double)(now_ns - measure_ns) / 1e9, requests,
		requests * shape->batch, requests * shape->batch * shape->bytes, &latency);
	return 0;
}

/* Stores EVENTS and reads them back on one connection. */
static int replay(const struct peer *peer, int port, uint64_t events, uint64_t bytes)
{
	static struct histogram none;
	struct sender sender = {.fd = dial(peer, port), .in = malloc(IN_BYTES)};
	uint64_t done = 0, asked = 0, step = ANNALS_MIN(events, 10000u);
	if (!sender.in) {
		die("memory");
	}
	uint64_t begin_ns = clock_monotonic_ns();
	while (done < events) {
		/* Two requests under way, so that the server never waits for us. */
		while (asked < events && asked < done + 2 * step) {
			if (peer->ask(&sender.out, sender.fd, asked, step, events) != ANNALS_OK) {
				die("memory");
			}
			asked = peer->one_ask ? events : asked + step;
		}
		while (sender.out_at < sender.out.size) {
			ssize_t sent = send(sender.fd, sender.out.data + sender.out_at,
				sender.out.size - sender.out_at, MSG_NOSIGNAL);
			if (sent < 0) {
				die("send");
			}
			sender.out_at += (size_t)sent;
		}
		ssize_t got =
			recv(sender.fd, sender.in + sender.in_size, IN_BYTES - sender.in_size, 0);
		if (got <= 0) {
			die("the connection ended");
		}
		sender.in_size += (size_t)got;
		size_t used = 0;
		uint64_t count = 0;
		if (peer->count_events(sender.in, sender.in_size, &used, &count) != 0) {
			fprintf(stderr, "peer-load: an error: %.200s\n", (char *)sender.in);
			return 1;
		}
		done += count;
		sender.in_size -= used;
		memmove(sender.in, sender.in + used, sender.in_size);
	}
	print_result(peer->name, (double)(clock_monotonic_ns() - begin_ns) / 1e9, done, done,
		done * bytes, &none);
	return 0;
}

/* The limit of the disk: write and fdatasync of so many bytes, one after the other. */
static int file_limit(const char *directory, size_t bytes, bool preallocated, double seconds)
{
	static struct histogram latency;
	char path[4096];
	const size_t file_bytes = 64u << 20;
	snprintf(path, sizeof(path), "%s/limit.%d", directory, (int)getpid());
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *data = malloc(file_bytes);
	if (fd < 0 || !data) {
		die("the file");
	}
	memset(data, 'x', file_bytes);
	if (preallocated &&
		(pwrite(fd, data, file_bytes, 0) != (ssize_t)file_bytes || fsync(fd) != 0)) {
		die("writing");
	}
	uint64_t begin_ns = clock_monotonic_ns(), now_ns = begin_ns, count = 0;
	off_t at = 0;
	while ((double)(now_ns - begin_ns) < seconds * 1e9) {
		if (preallocated && (size_t)at + bytes > file_bytes) {
			at = 0;
		}
		if (pwrite(fd, data, bytes, at) != (ssize_t)bytes || fdatasync(fd) != 0) {
			die("writing");
		}
		at += (off_t)bytes;
		uint64_t before_ns = now_ns;
		now_ns = clock_monotonic_ns();
		histogram_add(&latency, now_ns - before_ns);
		count++;
	}
	(void)unlink(path);
	print_result(preallocated ? "file preallocated" : "file growing",
		(double)(now_ns - begin_ns) / 1e9, count, count, count * bytes, &latency);
	return 0;
}

static void *pour(void *arg)
{
	static uint8_t data[256 << 10];
	while (send(*(int *)arg, data, sizeof(data), MSG_NOSIGNAL) > 0) {
	}
	return NULL;
}

/* The limit of the network: one TCP connection over loopback, as fast as it goes. */
static int loopback_limit(uint64_t gib)
{
	static struct histogram none;
	static uint8_t in[256 << 10];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t thread;
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *)&at, &size) != 0 ||
		connect(out, (struct sockaddr *)&at, sizeof(at)) != 0) {
		die("loopback");
	}
	int fd = accept(listener, NULL, NULL);
	uint64_t total = 0, wanted = gib << 30, begin_ns = clock_monotonic_ns();
	if (fd < 0 || pthread_create(&thread, NULL, pour, &out) != 0) {
		die("loopback");
	}
	while (total < wanted) {
		ssize_t got = recv(fd, in, sizeof(in), 0);
		if (got <= 0) {
			die("loopback");
		}
		total += (uint64_t)got;
	}
	double seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
	close(fd);
	pthread_join(thread, NULL);
	print_result("loopback socket", seconds, 0, 0, total, &none);
	return 0;
}

static uint64_t number(const char *text)
{
	uint64_t value = strtoull(text, NULL, 10);
	if (value == 0) {
		fprintf(stderr, "peer-load: '%s' is no number above 0\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	const struct peer *peer = argc > 1 ? peer_find(argv[1]) : NULL;
	thread_set_slice(THREAD_SLICE_WRITER_NS); /* as annals-bench does */
	if (argc == 6 && strcmp(argv[1], "file") == 0) {
		return file_limit(argv[3], number(argv[4]), strcmp(argv[5], "1") == 0, 1.5);
	}
	if (argc == 4 && strcmp(argv[1], "loopback") == 0) {
		return loopback_limit(number(argv[3]));
	}
	if (peer && argc == 9 && strcmp(argv[2], "append") == 0) {
		const struct shape shape = {number(argv[4]), number(argv[5]), number(argv[6]),
			number(argv[7]), strtod(argv[8], NULL)};
		return append(peer, (int)number(argv[3]), &shape);
	}
	if (peer && argc == 6 && strcmp(argv[2], "replay") == 0) {
		return replay(peer, (int)number(argv[3]), number(argv[4]), number(argv[5]));
	}
	fputs("usage: peer-load redis|nats|postgres append PORT CONNECTIONS IN_FLIGHT BATCH BYTES "
	      "SECONDS\n"
	      "       peer-load redis|nats|postgres replay PORT EVENTS BYTES\n"
	      "       peer-load file sync DIRECTORY BYTES 0|1 (1: preallocated)\n"
	      "       peer-load loopback stream GIBIBYTES\n",
		stderr);
	return 2;
}
