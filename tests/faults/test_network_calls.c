/*
 * The server while the n-th network call of a kind fails. Each row (call, effect) is a process with
 * a server in it and one client that appends events one after the other, each until it was
 * acknowledged, always with the event's own id; for each n one call fails meanwhile. Each event
 * must be acknowledged at the next offset, without a gap or a repeat, and one in 16 is read back
 * there. A server that ends, falls silent or acknowledges what it does not hold fails the row.
 *
 * usage: test_network_calls [--every K] [--seed S] [--last N] [--only CALL] [--verbose]
 * --every K runs one in K cells, chosen by the seed; n goes up to N (200).
 */
#include "server.h"
#include "shim.h"

#include <annals/buf.h>
#include <annals/clock.h>
#include <annals/log.h>
#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MS 2000
#define RECOVER_MS 8000
#define REQUESTS_PER_CELL 260u
#define EVENTS_MAX (REQUESTS_PER_CELL * 256u)
#define ANSWER_BYTES_MAX 65536u

struct row {
	enum shim_call call;
	int effect;
	uint32_t times;
};

static const struct row rows[] = {
	{SHIM_ACCEPT, EINTR, 1},
	{SHIM_ACCEPT, ECONNABORTED, 1},
	{SHIM_ACCEPT, EMFILE, 1},
	{SHIM_ACCEPT, ENFILE, 2},
	{SHIM_ACCEPT, ENOBUFS, 1},
	{SHIM_ACCEPT, ENOMEM, 1},
	{SHIM_ACCEPT, EPROTO, 1},
	{SHIM_RECV, EINTR, 3},
	{SHIM_RECV, ECONNRESET, 1},
	{SHIM_RECV, ETIMEDOUT, 1},
	{SHIM_RECV, ENOMEM, 1},
	{SHIM_SEND, EINTR, 3},
	{SHIM_SEND, EPIPE, 1},
	{SHIM_SEND, ECONNRESET, 1},
	{SHIM_SEND, ENOBUFS, 1},
	{SHIM_SEND, ENOMEM, 1},
	{SHIM_SEND, SHIM_SHORT, 1},
	{SHIM_READ, EINTR, 1},
	{SHIM_WRITE, EINTR, 1},
	{SHIM_EPOLL, EINTR, 2},
	{SHIM_EPOLL, ENOMEM, 1},
	{SHIM_EPOLL, ENOSPC, 1},
	{SHIM_ALLOC, ENOMEM, 1},
	{SHIM_ALLOC, ENOMEM, 4},
};

/* What a row found; shared with its process. */
struct outcome {
	uint32_t cells, fired, acknowledged, retried, refused, reconnected, reopened, n;
	bool finished;
	char failure[512];
};

static struct outcome *outcome;
static bool file_journal;
static struct server server;
static struct options options;
static char data_dir[64];
static uint64_t offsets[EVENTS_MAX];
static int connection = -1;
static char answer[ANSWER_BYTES_MAX + 1];

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(outcome->failure, sizeof(outcome->failure), format, arguments);
	va_end(arguments);
	_exit(1);
}

static void replace(char **text, const char *value)
{
	free(*text);
	*text = strdup(value);
	if (*text == NULL) {
		fail("out of memory");
	}
}

static void start(const char *journal)
{
	struct error err = {0};
	log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (options_init(&options) != 0) {
		fail("no options");
	}
	replace(&options.data_dir, data_dir);
	replace(&options.http, "127.0.0.1:0");
	replace(&options.binary, "127.0.0.1:0");
	replace(&options.journal, journal);
	options.map_bytes = 256u << 20;
	options.loops = 1;
	/* The server's threads are to fail, not its start. */
	if (server_start(&server, &options, &err) != 0) {
		fail("the server did not start: %s", err.text);
	}
}

/* ---- The client ---- */

static void hang_up(void)
{
	if (connection >= 0) {
		close(connection);
		connection = -1;
	}
}

/* Memory that runs out in the middle of a commit makes the store read-only until it is opened
 * again: nothing more is acknowledged, and nothing that was may be missing then. */
static void reopen(void)
{
	shim_disarm(shim_control());
	hang_up();
	server_stop(&server);
	options_release(&options);
	memset(&server, 0, sizeof(server));
	start("file");
	outcome->reopened++;
}

static bool dial(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(server.http_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	hang_up();
	outcome->reconnected++;
	connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection >= 0 &&
		connect(connection, (struct sockaddr *)&address, sizeof(address)) == 0) {
		return true;
	}
	hang_up();
	return false;
}

/* Reads one answer with a Content-Length. Its status, or 0 when the connection ended or fell
 * silent. */
static int receive_answer(void)
{
	size_t size = 0;
	for (;;) {
		struct pollfd wait = {.fd = connection, .events = POLLIN};
		const char *end;
		const char *length;
		ssize_t n;
		if (poll(&wait, 1, ANSWER_MS) != 1 || size == ANSWER_BYTES_MAX) {
			return 0;
		}
		n = recv(connection, answer + size, ANSWER_BYTES_MAX - size, 0);
		if (n <= 0) {
			return 0;
		}
		size += (size_t)n;
		answer[size] = 0;
		end = strstr(answer, "\r\n\r\n");
		length = strcasestr(answer, "\r\nContent-Length:");
		if (end != NULL && length != NULL &&
			(size_t)(end + 4 - answer) + strtoul(length + 17, NULL, 10) <= size) {
			return atoi(answer + 9);
		}
	}
}

/* The answer's status, 0 when there was none. */
static int ask(const char *text)
{
	int status = 0;
	if ((connection < 0 && !dial()) ||
		send(connection, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text) ||
		(status = receive_answer()) == 0) {
		hang_up();
	} else if (strcasestr(answer, "\r\nConnection: close") != NULL) {
		hang_up();
	}
	return status;
}

/* Sends the request until it is answered with a success. */
static void insist(const char *text, const char *what)
{
	const uint64_t until = clock_monotonic_ns() + RECOVER_MS * UINT64_C(1000000);
	for (;;) {
		int status = ask(text);
		if (status >= 200 && status < 300) {
			return;
		}
		if (status != 0 && status < 500 && status != 429) {
			fail("n = %u: %s was refused for good: %.200s", outcome->n, what, answer);
		}
		outcome->refused += status != 0;
		outcome->retried++;
		if (status == 503 && file_journal && strstr(answer, "read-only") != NULL) {
			reopen();
			continue;
		}
		if (clock_monotonic_ns() > until) {
			fail("n = %u: %s was not answered for %d ms, last %d: %.300s", outcome->n,
				what, RECOVER_MS, status, status != 0 ? answer : "");
		}
		usleep(status != 0 ? 5000 : 500);
	}
}

static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	if (at == NULL) {
		fail("no %s in %.300s", key, text);
	}
	return strtoull(at + strlen(key), NULL, 10);
}

static void append_one(void)
{
	char text[512];
	const uint32_t i = outcome->acknowledged;
	(void)snprintf(text, sizeof(text),
		"POST /v1/topics/t/partitions/0/events HTTP/1.1\r\nHost: a\r\nce-specversion: "
		"1.0\r\n"
		"ce-id: e-%u\r\nce-source: /faults\r\nce-type: t\r\nContent-Length: 2\r\n"
		"Content-Type: application/json\r\n\r\n17",
		i);
	insist(text, "an append");
	offsets[i] = number_after(answer, "\"offset\":");
	outcome->acknowledged++;
}

/* ---- Rows ---- */

static void run_cell(const struct row *row, uint32_t n)
{
	struct shim_control *shim = shim_control();
	uint32_t after = 3;
	outcome->n = n;
	shim_arm(shim, row->call, row->effect, n, row->times);
	for (uint32_t i = 0; i < REQUESTS_PER_CELL && after > 0; i++) {
		/* Calls that only a new connection makes would else never be the n-th. */
		if (row->call == SHIM_ACCEPT || row->call == SHIM_EPOLL || i % 8 == 0) {
			hang_up();
		}
		append_one();
		after -= shim->fired >= row->times;
	}
	shim_disarm(shim);
	outcome->cells++;
	outcome->fired += shim->fired;
	hang_up();
	insist("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "a look at a server without faults");
}

/* Every event was acknowledged at its own offset; a sample is read back. */
static void check_all(void)
{
	for (uint32_t i = 0; i < outcome->acknowledged; i++) {
		char text[256];
		char id[64];
		(void)snprintf(text, sizeof(text),
			"GET /v1/topics/t/partitions/0/events?offset=%u&limit=1 HTTP/1.0\r\n\r\n",
			i);
		(void)snprintf(id, sizeof(id), "\"id\":\"e-%u\"", i);
		if (offsets[i] != i) {
			fail("event %u was acknowledged at offset %llu", i,
				(unsigned long long)offsets[i]);
		}
		if (i % 16 == 0 || i + 1 == outcome->acknowledged) {
			size_t size = 0;
			ssize_t got;
			if (!dial() || send(connection, text, strlen(text), MSG_NOSIGNAL) < 0) {
				fail("the server cannot be read");
			}
			while (size < ANSWER_BYTES_MAX &&
				(got = recv(connection, answer + size, ANSWER_BYTES_MAX - size,
					 0)) > 0) {
				size += (size_t)got;
			}
			answer[size] = 0;
			if (strstr(answer, id) == NULL) {
				fail("offset %u does not hold %s: %.300s", i, id, answer);
			}
		}
	}
	insist("GET /v1/topics/t HTTP/1.1\r\nHost: a\r\n\r\n", "the topic");
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info;
	(void)kind;
	(void)walk;
	return remove(path);
}

static void run_row(
	const struct row *row, uint32_t row_index, uint32_t last, uint32_t every, uint32_t seed)
{
	shim_exempt(1);
	file_journal = row->call == SHIM_ALLOC;
	start(file_journal ? "file" : "memory");
	insist("PUT /v1/topics/t HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n"
	       "{\"partitions\":1,\"dedupe\":true}",
		"the topic's creation");
	for (uint32_t n = 1; n <= last; n++) {
		/* Spread over the rows, so that each n is met. */
		if ((n * 7 + row_index * 5 + seed) % every == 0) {
			run_cell(row, n);
		}
	}
	check_all();
	hang_up();
	server_stop(&server);
	options_release(&options);
	outcome->finished = true;
	_exit(0);
}

static bool row_passes(uint32_t index, uint32_t last, uint32_t every, uint32_t seed, bool verbose)
{
	const struct row *row = &rows[index];
	int status = 0;
	pid_t child;
	memset(outcome, 0, sizeof(*outcome));
	(void)snprintf(data_dir, sizeof(data_dir), "/tmp/annals-network-calls-XXXXXX");
	if (mkdtemp(data_dir) == NULL) {
		perror("mkdtemp");
		return false;
	}
	child = fork();
	if (child == 0) {
		run_row(row, index, last, every, seed);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		return false;
	}
	(void)nftw(data_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	if (!outcome->finished) {
		fprintf(stderr, "%s x %s x %u, n = %u: %s (status %d)\n", shim_call_name(row->call),
			shim_effect_name(row->effect), row->times, outcome->n,
			outcome->failure[0] != 0 ? outcome->failure : "the server died", status);
		return false;
	}
	if (verbose) {
		printf("%-8s %-13s x %u: %u cells, %u faults, %u events, %u retries, %u refusals, "
		       "%u reopened\n",
			shim_call_name(row->call), shim_effect_name(row->effect), row->times,
			outcome->cells, outcome->fired, outcome->acknowledged, outcome->retried,
			outcome->refused, outcome->reopened);
		fflush(stdout);
	}
	return true;
}

int main(int argc, char **argv)
{
	uint32_t last = 200, every = 1, failed = 0, cells = 0, faults = 0, events = 0;
	uint32_t seed = 1;
	const char *only = NULL;
	bool verbose = false;
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "1";
		if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
			continue;
		}
		if (strcmp(argv[i], "--every") == 0) {
			every = (uint32_t)ANNALS_MAX(1, atoi(value));
		} else if (strcmp(argv[i], "--seed") == 0) {
			seed = (uint32_t)strtoul(value, NULL, 10);
		} else if (strcmp(argv[i], "--last") == 0) {
			last = (uint32_t)ANNALS_MIN(255, ANNALS_MAX(1, atoi(value)));
		} else if (strcmp(argv[i], "--only") == 0) {
			only = value;
		} else {
			fprintf(stderr, "unknown option %s\n", argv[i]);
			return 2;
		}
		i++;
	}
	outcome = mmap(
		NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (uint32_t i = 0; i < ANNALS_COUNT_OF(rows); i++) {
		if (only == NULL || strcmp(only, shim_call_name(rows[i].call)) == 0) {
			failed += !row_passes(i, last, every, seed, verbose);
			cells += outcome->cells;
			faults += outcome->fired;
			events += outcome->acknowledged;
		}
	}
	printf("%u network cells, %u faults, %u events acknowledged, %u rows failed\n", cells,
		faults, events, failed);
	return failed == 0 ? 0 : 1;
}
