/*
 * Which calls should a server make? Over loopback, a second each:
 *
 *   requests   64 connections with one request of 150 bytes in flight, answers of 60 bytes; the
 *              server waits with epoll and calls recv and send, or does all three with io_uring
 *   streams    one connection that takes what it is given; the server sends 128 KiB a call as one
 *              piece, as 32 and 256 pieces (sendmsg), and with MSG_ZEROCOPY
 *
 * The other side is always the same. Prints rates and the processor time of the serving thread;
 * docs/performance.md has the figures. Built where liburing is installed (liburing-dev).
 *
 *   bench_network_calls [SECONDS per case, default 1]
 */
#include <annals/clock.h>
#include <annals/macros.h>
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 64
#define REQUEST_BYTES 150
#define ANSWER_BYTES 60
#define PIECE_BYTES ((size_t)128 << 10)
#define STREAM_BYTES                                                                               \
	((size_t)64 << 20) /* what is sent again and again: more than the caches hold */

static uint64_t limit_ns = 1000000000;

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_network_calls: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t thread_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Two ends of a loopback connection. */
static void connect_pair(int listener, int *ret_server, int *ret_client)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int one = 1;

	*ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*ret_client < 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
		connect(*ret_client, (struct sockaddr *)&address, size) != 0) {
		die("connect");
	}
	*ret_server = accept(listener, NULL, NULL);
	if (*ret_server < 0) {
		die("accept");
	}
	(void)setsockopt(*ret_server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(*ret_client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int listen_loopback(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(fd, CONNECTIONS) != 0) {
		die("listen");
	}
	return fd;
}

/* ---- Requests ---- */

struct requests {
	int fds[CONNECTIONS]; /* the clients' */
	atomic_bool stop;
	uint64_t answered;
};

static void *clients_main(void *arg)
{
	static const char request[REQUEST_BYTES];
	struct requests *requests = arg;
	struct epoll_event events[CONNECTIONS];
	char answer[ANSWER_BYTES];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < CONNECTIONS; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = requests->fds[i]};
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, requests->fds[i], &event) != 0 ||
			send(requests->fds[i], request, sizeof(request), 0) < 0) {
			die("send");
		}
	}
	while (!atomic_load(&requests->stop)) {
		int count = epoll_wait(epoll_fd, events, CONNECTIONS, 100);
		for (int i = 0; i < count; i++) {
			if (recv(events[i].data.fd, answer, sizeof(answer), 0) <= 0 ||
				send(events[i].data.fd, request, sizeof(request), MSG_NOSIGNAL) <
					0) {
				break;
			}
			requests->answered++;
		}
	}
	(void)close(epoll_fd);
	return NULL;
}

static void serve_epoll(const int *fds, uint64_t end_ns)
{
	struct epoll_event events[CONNECTIONS];
	char buffer[REQUEST_BYTES];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < CONNECTIONS; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &event) != 0) {
			die("add to epoll");
		}
	}
	while (clock_monotonic_ns() < end_ns) {
		int count = epoll_wait(epoll_fd, events, CONNECTIONS, 100);
		for (int i = 0; i < count; i++) {
			if (recv(events[i].data.fd, buffer, sizeof(buffer), 0) <= 0 ||
				send(events[i].data.fd, buffer, ANSWER_BYTES, 0) < 0) {
				die("answer");
			}
		}
	}
	(void)close(epoll_fd);
}

/* The operation in the low bit: 0 a receive, 1 a send. */
static void ask(struct io_uring *ring, const int *fds, char (*buffers)[REQUEST_BYTES], unsigned i,
	unsigned sends)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(ring);

	if (sends) {
		io_uring_prep_send(entry, fds[i], buffers[i], ANSWER_BYTES, 0);
	} else {
		io_uring_prep_recv(entry, fds[i], buffers[i], REQUEST_BYTES, 0);
	}
	io_uring_sqe_set_data64(entry, i * 2 + sends);
}

static void serve_uring(const int *fds, uint64_t end_ns)
{
	static char buffers[CONNECTIONS][REQUEST_BYTES];
	struct io_uring ring;
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
	struct io_uring_cqe *done[CONNECTIONS];

	if (io_uring_queue_init_params(4 * CONNECTIONS, &ring, &params) != 0) {
		die("make an io_uring");
	}
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		ask(&ring, fds, buffers, i, 0);
	}
	while (clock_monotonic_ns() < end_ns) {
		unsigned count;
		if (io_uring_submit_and_wait(&ring, 1) < 0) {
			die("submit");
		}
		count = io_uring_peek_batch_cqe(&ring, done, CONNECTIONS);
		for (unsigned i = 0; i < count; i++) {
			uint64_t what = io_uring_cqe_get_data64(done[i]);
			if (done[i]->res <= 0) {
				die("answer");
			}
			ask(&ring, fds, buffers, (unsigned)what / 2, what % 2 == 0 ? 1 : 0);
		}
		io_uring_cq_advance(&ring, count);
	}
	io_uring_queue_exit(&ring);
}

static void measure_requests(const char *name, void (*serve)(const int *fds, uint64_t end_ns))
{
	struct requests requests = {.answered = 0};
	int fds[CONNECTIONS], listener = listen_loopback();
	uint64_t begin_ns, used_ns;
	pthread_t thread;

	for (int i = 0; i < CONNECTIONS; i++) {
		connect_pair(listener, &fds[i], &requests.fds[i]);
	}
	if (pthread_create(&thread, NULL, clients_main, &requests) != 0) {
		die("make a thread");
	}
	begin_ns = clock_monotonic_ns();
	used_ns = thread_ns();
	serve(fds, begin_ns + limit_ns);
	used_ns = thread_ns() - used_ns;
	atomic_store(&requests.stop, true);
	(void)pthread_join(thread, NULL);
	(void)printf("requests  %-28s %10.0f/s %8.2f us of the server each\n", name,
		(double)requests.answered / ((double)limit_ns / 1e9),
		(double)used_ns / 1e3 / (double)requests.answered);
	for (int i = 0; i < CONNECTIONS; i++) {
		(void)close(fds[i]);
		(void)close(requests.fds[i]);
	}
	(void)close(listener);
}

/* ---- Streams ---- */

static void *reader_main(void *arg)
{
	char *buffer = malloc(PIECE_BYTES * 2);

	while (buffer != NULL && recv(*(int *)arg, buffer, PIECE_BYTES * 2, 0) > 0) {
	}
	free(buffer);
	return NULL;
}

/* Takes the notices of pages that are free again. */
static void take_notices(int fd)
{
	char control[256];
	struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};

	while (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) {
		message.msg_controllen = sizeof(control);
	}
}

static void measure_stream(const char *name, size_t pieces, int flags)
{
	static uint8_t *data;
	struct iovec parts[256];
	int server, client, one = 1, listener = listen_loopback();
	uint64_t begin_ns, used_ns, sent = 0, at = 0;
	pthread_t thread;

	if (data == NULL) {
		data = malloc(STREAM_BYTES);
		if (data == NULL) {
			die("get memory");
		}
		memset(data, 0x5a, STREAM_BYTES);
	}
	connect_pair(listener, &server, &client);
	if ((flags & MSG_ZEROCOPY) != 0 &&
		setsockopt(server, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) != 0) {
		die("ask for zero copies");
	}
	if (pthread_create(&thread, NULL, reader_main, &client) != 0) {
		die("make a thread");
	}
	begin_ns = clock_monotonic_ns();
	used_ns = thread_ns();
	while (clock_monotonic_ns() - begin_ns < limit_ns) {
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = pieces};
		ssize_t n;
		for (size_t i = 0; i < pieces; i++) {
			parts[i] = (struct iovec){
				data + at + i * (PIECE_BYTES / pieces), PIECE_BYTES / pieces};
		}
		n = sendmsg(server, &message, flags);
		if (n < 0 && errno != ENOBUFS) {
			die("send");
		}
		if ((flags & MSG_ZEROCOPY) != 0) {
			take_notices(server);
		}
		sent += n > 0 ? (uint64_t)n : 0;
		at = (at + PIECE_BYTES) % STREAM_BYTES;
	}
	used_ns = thread_ns() - used_ns;
	(void)shutdown(server, SHUT_RDWR);
	(void)close(server);
	(void)pthread_join(thread, NULL);
	(void)close(client);
	(void)close(listener);
	(void)printf("streams   %-28s %10.0f MB/s %6.1f us of the server each MB\n", name,
		(double)sent / 1e6 / ((double)limit_ns / 1e9),
		(double)used_ns / 1e3 / ((double)sent / 1e6));
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		limit_ns = (uint64_t)(strtod(argv[1], NULL) * 1e9);
	}
	for (int round = 0; round < 3; round++) {
		measure_requests("epoll, recv, send", serve_epoll);
		measure_requests("io_uring", serve_uring);
		measure_stream("128 KiB in one piece", 1, 0);
		measure_stream("in 32 pieces", 32, 0);
		measure_stream("in 256 pieces", 256, 0);
		measure_stream("in one piece, MSG_ZEROCOPY", 1, MSG_ZEROCOPY);
	}
	return 0;
}
