#include "peers.h"

#include <annals/bytes.h>
#include <annals/macros.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t one_each(uint64_t batch)
{
	return batch;
}

static uint64_t one_answer(uint64_t batch)
{
	(void)batch;
	return 1;
}

static int add_text(struct buf *out, const char *text)
{
	return buf_add(out, text, strlen(text));
}

static int add_data(struct buf *out, uint64_t bytes)
{
	int status = ANNALS_OK;
	for (uint64_t i = 0; i < bytes && status == ANNALS_OK; i++) {
		uint8_t letter = (uint8_t)('a' + (i * 7) % 26);
		status = buf_add(out, &letter, 1);
	}
	return status;
}

/* Reads until `text` came, for the short talks of a greeting. */
static int wait_for(int fd, const char *text)
{
	char in[4096];
	size_t size = 0;
	while (size < sizeof(in)) {
		ssize_t got = recv(fd, in + size, sizeof(in) - size, 0);
		if (got <= 0) {
			return -1;
		}
		size += (size_t)got;
		if (memmem(in, size, text, strlen(text))) {
			return 0;
		}
	}
	errno = EPROTO;
	return -1;
}

/* --- Redis: RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/ */

static int redis_greet(int fd)
{
	(void)fd;
	return 0;
}

static int redis_build(struct buf *out, int fd, uint64_t batch, uint64_t bytes)
{
	(void)fd;
	char head[128];
	int status = ANNALS_OK;
	for (uint64_t i = 0; i < batch && status == ANNALS_OK; i++) {
		snprintf(head, sizeof(head),
			"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nd\r\n$%llu\r\n",
			(unsigned long long)bytes);
		status = add_text(out, head);
		if (status == ANNALS_OK) {
			status = add_data(out, bytes);
		}
		if (status == ANNALS_OK) {
			status = add_text(out, "\r\n");
		}
	}
	return status;
}

/* An answer to XADD is a bulk string with the new id. */
static int redis_count(const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_answers)
{
	size_t at = 0;
	for (;;) {
		const uint8_t *end = memchr(text + at, '\n', size - at);
		if (!end) {
			break;
		}
		if (text[at] != '$') {
			return -1;
		}
		size_t length = strtoul((const char *)text + at + 1, NULL, 10);
		size_t next = (size_t)(end - text) + 1 + length + 2;
		if (next > size) {
			break;
		}
		at = next;
		(*ret_answers)++;
	}
	*ret_used = at;
	return 0;
}

/* The events were stored with ids 1-1, 2-1 and so on. */
static int redis_ask(struct buf *out, int fd, uint64_t from, uint64_t count, uint64_t total)
{
	(void)fd;
	char first[24], last[24], request[160];
	(void)total;
	snprintf(first, sizeof(first), "%llu", (unsigned long long)from + 1);
	snprintf(last, sizeof(last), "%llu", (unsigned long long)(from + count));
	snprintf(request, sizeof(request),
		"*4\r\n$6\r\nXRANGE\r\n$5\r\nbench\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(first),
		first, strlen(last), last);
	return add_text(out, request);
}

/* An event is *2, its id, *2, the field "d" and its data: counted by the field's "$1\r\nd\r\n",
 * which the data cannot hold. */
static int redis_count_events(
	const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_events)
{
	static const char field[] = "$1\r\nd\r\n$";
	const uint8_t *at = text, *end = text + size;
	if (size > 0 && text[0] == '-') {
		return -1;
	}
	for (;;) {
		const uint8_t *found = memmem(at, (size_t)(end - at), field, sizeof(field) - 1);
		if (!found) {
			break;
		}
		const uint8_t *line = memchr(found + 8, '\n', (size_t)(end - found) - 8);
		size_t length = strtoul((const char *)found + 8, NULL, 10);
		if (!line || (size_t)(end - line) < length + 3) {
			break;
		}
		at = line + 1 + length + 2;
		(*ret_events)++;
	}
	*ret_used = (size_t)(at - text);
	return 0;
}

/* --- NATS: https://docs.nats.io/reference/reference-protocols/nats-protocol and JetStream on it */

static int nats_greet(int fd)
{
	/* Numbered inboxes would tell answers apart; JetStream answers one publisher in order. */
	static const char hello[] =
		"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\","
		"\"protocol\":1}\r\nPING\r\n";
	char inbox[128];
	if (send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) < 0 || wait_for(fd, "PONG") != 0) {
		return -1;
	}
	/* Three names, not a wildcard: a consumer pushes only where the very subject is listened
	 * to. */
	snprintf(inbox, sizeof(inbox),
		"SUB _INBOX.%d.a 1\r\nSUB _INBOX.%d.c 2\r\nSUB _INBOX.%d.d 3\r\nPING\r\n", fd, fd,
		fd);
	return send(fd, inbox, strlen(inbox), MSG_NOSIGNAL) < 0 ? -1 : wait_for(fd, "PONG");
}

static int nats_build(struct buf *out, int fd, uint64_t batch, uint64_t bytes)
{
	char head[128];
	int status = ANNALS_OK;
	for (uint64_t i = 0; i < batch && status == ANNALS_OK; i++) {
		snprintf(head, sizeof(head), "PUB bench _INBOX.%d.a %llu\r\n", fd,
			(unsigned long long)bytes);
		status = add_text(out, head);
		if (status == ANNALS_OK) {
			status = add_data(out, bytes);
		}
		if (status == ANNALS_OK) {
			status = add_text(out, "\r\n");
		}
	}
	return status;
}

/* Counts messages whose subject begins with `subject`; -1 when one holds "error". */
static int nats_count_messages(const uint8_t *text, size_t size, const char *subject,
	size_t *ret_used, uint64_t *ret_count)
{
	size_t at = 0, subject_size = strlen(subject);
	for (;;) {
		const uint8_t *end = memchr(text + at, '\n', size - at);
		if (!end) {
			break;
		}
		size_t next = (size_t)(end - text) + 1;
		if (text[at] == '-') {
			return -1;
		}
		if (memcmp(text + at, "MSG ", 4) == 0) {
			const uint8_t *last = memrchr(text + at, ' ', (size_t)(end - text) - at);
			size_t length = last ? strtoul((const char *)last + 1, NULL, 10) : 0;
			if (next + length + 2 > size) {
				break;
			}
			if (memcmp(text + at + 4, subject, subject_size) == 0) {
				(*ret_count)++;
			}
			/* Only answers of the server are JSON with "error". */
			if (memcmp(text + at + 4, "_INBOX", 6) == 0 &&
				memmem(text + next, length, "\"error\"", 7)) {
				return -1;
			}
			next += length + 2;
		}
		at = next;
	}
	*ret_used = at;
	return 0;
}

static int nats_count(const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_answers)
{
	return nats_count_messages(text, size, "_INBOX", ret_used, ret_answers);
}

/* A consumer that pushes everything, without acknowledgements: the fastest way it has. */
static int nats_ask(struct buf *out, int fd, uint64_t from, uint64_t count, uint64_t total)
{
	char config[256], head[128];
	(void)from;
	(void)count;
	(void)total;
	snprintf(config, sizeof(config),
		"{\"stream_name\":\"bench\",\"config\":{\"deliver_subject\":\"_INBOX.%d.d\","
		"\"ack_policy\":\"none\",\"deliver_policy\":\"all\","
		"\"replay_policy\":\"instant\"}}",
		fd);
	snprintf(head, sizeof(head), "PUB $JS.API.CONSUMER.CREATE.bench _INBOX.%d.c %zu\r\n", fd,
		strlen(config));
	int status = add_text(out, head);
	if (status == ANNALS_OK) {
		status = add_text(out, config);
	}
	return status == ANNALS_OK ? add_text(out, "\r\n") : status;
}

static int nats_count_events(
	const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_events)
{
	return nats_count_messages(text, size, "bench ", ret_used, ret_events);
}

/* --- PostgreSQL: https://www.postgresql.org/docs/15/protocol-message-formats.html */

static int postgres_message(struct buf *out, char type, const uint8_t *body, size_t size)
{
	uint8_t head[5] = {(uint8_t)type};
	uint32_t length = htonl((uint32_t)size + 4);
	memcpy(head + 1, &length, 4);
	int status = buf_add(out, head, sizeof(head));
	return status == ANNALS_OK ? buf_add(out, body, size) : status;
}

static int postgres_greet(int fd)
{
	static const char start[] =
		"\0\0\0\0\0\3\0\0user\0bench\0database\0postgres\0"; /* ends with a second 0 */
	char message[sizeof(start)];
	uint32_t length = htonl(sizeof(start));
	uint8_t in[4096];
	size_t size = 0;
	memcpy(message, start, sizeof(start));
	memcpy(message, &length, 4);
	if (send(fd, message, sizeof(message), MSG_NOSIGNAL) < 0) {
		return -1;
	}
	/* ReadyForQuery, idle: 'Z', length 5, 'I' is what a greeting ends with. */
	while (size < 6 || memcmp(in + size - 6, "Z\0\0\0\5I", 6) != 0) {
		ssize_t got = recv(fd, in + size, sizeof(in) - size, 0);
		if (got <= 0 || in[0] == 'E') {
			errno = EPROTO;
			return -1;
		}
		size += (size_t)got;
	}
	return 0;
}

static int postgres_build(struct buf *out, int fd, uint64_t batch, uint64_t bytes)
{
	struct buf sql = BUF_INIT;
	(void)fd;
	int status = add_text(&sql, "INSERT INTO bench (data) VALUES ");
	for (uint64_t i = 0; i < batch && status == ANNALS_OK; i++) {
		status = add_text(&sql, i == 0 ? "('" : ",('");
		if (status == ANNALS_OK) {
			status = add_data(&sql, bytes);
		}
		if (status == ANNALS_OK) {
			status = add_text(&sql, "')");
		}
	}
	if (status == ANNALS_OK) {
		status = buf_add(&sql, "", 1);
	}
	if (status == ANNALS_OK) {
		status = postgres_message(out, 'Q', sql.data, sql.size);
	}
	buf_release(&sql);
	return status;
}

static int postgres_count_type(
	const uint8_t *text, size_t size, uint8_t type, size_t *ret_used, uint64_t *ret_count)
{
	size_t at = 0;
	while (size - at >= 5) {
		uint32_t length;
		memcpy(&length, text + at + 1, 4);
		length = ntohl(length);
		if (size - at < (size_t)length + 1) {
			break;
		}
		if (text[at] == 'E') {
			return -1;
		}
		*ret_count += text[at] == type;
		at += (size_t)length + 1;
	}
	*ret_used = at;
	return 0;
}

static int postgres_count(const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_answers)
{
	return postgres_count_type(text, size, 'Z', ret_used, ret_answers);
}

static int postgres_ask(struct buf *out, int fd, uint64_t from, uint64_t count, uint64_t total)
{
	char sql[160];
	(void)fd;
	(void)from;
	(void)count;
	snprintf(sql, sizeof(sql),
		"COPY (SELECT id, data FROM bench ORDER BY id LIMIT %llu) TO STDOUT (FORMAT "
		"binary)",
		(unsigned long long)total);
	return postgres_message(out, 'Q', (const uint8_t *)sql, strlen(sql) + 1);
}

static int postgres_count_events(
	const uint8_t *text, size_t size, size_t *ret_used, uint64_t *ret_events)
{
	return postgres_count_type(text, size, 'd', ret_used, ret_events);
}

/* --- */

static const struct peer peers[] = {
	{"redis", false, redis_greet, redis_build, one_each, redis_count, redis_ask,
		redis_count_events},
	{"nats", true, nats_greet, nats_build, one_each, nats_count, nats_ask, nats_count_events},
	{"postgres", true, postgres_greet, postgres_build, one_answer, postgres_count, postgres_ask,
		postgres_count_events},
};

const struct peer *peer_find(const char *name)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(peers); i++) {
		if (strcmp(peers[i].name, name) == 0) {
			return &peers[i];
		}
	}
	return NULL;
}
