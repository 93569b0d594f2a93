#include "native_fixture.h"
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/unpack.h>
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 5000

struct server fixture_server;
struct options fixture_options;
static char data_dir[64];
static bool running;
static char arguments[16][96];
static int argument_count;

/* ---- Server ---- */

static void start(void)
{
	char *argv[24] = {(char *)(uintptr_t) "annalsd"};
	char *environment[] = {NULL};
	struct options_request request;
	struct error err = {0};
	int argc = 1;
	for (int i = 0; i < argument_count; i++) {
		argv[argc++] = arguments[i];
	}
	ck_assert_msg(options_load(argc, argv, environment, &fixture_options, &request, &err) == 0,
		"%s", err.text);
	ck_assert_msg(server_start(&fixture_server, &fixture_options, &err) == 0, "%s", err.text);
	running = true;
}

static void add_argument(const char *argument)
{
	ck_assert_int_lt(argument_count, 16);
	(void)snprintf(arguments[argument_count++], sizeof(arguments[0]), "--%.90s", argument);
}

void fixture_start(const char *first, ...)
{
	char text[96];
	const char *journal = getenv("ANNALS_TEST_JOURNAL");
	va_list args;
	(void)snprintf(data_dir, sizeof(data_dir), "/tmp/annals-server-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(data_dir));
	argument_count = 0;
	(void)snprintf(text, sizeof(text), "data-dir=%s", data_dir);
	add_argument(text);
	(void)snprintf(text, sizeof(text), "journal=%s", journal != NULL ? journal : "memory");
	add_argument(text);
	add_argument("http=off");
	add_argument("binary=127.0.0.1:0");
	add_argument("map-bytes=256MiB");
	add_argument("journal-segment-bytes=16MiB");
	va_start(args, first);
	for (const char *argument = first; argument != NULL;
		argument = va_arg(args, const char *)) {
		add_argument(argument);
	}
	va_end(args);
	start();
}

void fixture_setup(void)
{
	fixture_start(NULL, NULL);
}

static void stop(void)
{
	if (running) {
		running = false;
		server_stop(&fixture_server);
		options_release(&fixture_options);
	}
}

void fixture_restart(void)
{
	stop();
	start();
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info;
	(void)kind;
	(void)walk;
	return remove(path);
}

void fixture_stop(void)
{
	stop();
	if (data_dir[0] != 0) {
		(void)nftw(data_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
		data_dir[0] = 0;
	}
}

/* ---- Connection ---- */

void client_connect(struct client *client)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(fixture_server.binary_port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	memset(client, 0, sizeof(*client));
	unpack_arena_init(&client->arena, UNPACK_ARENA_BYTES_MAX);
	client->fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(client->fd, 0);
	ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void client_open(struct client *client)
{
	Annals__V1__HelloRequest hello = ANNALS__V1__HELLO_REQUEST__INIT;
	client_connect(client);
	hello.magic = FRAME_HELLO_MAGIC;
	hello.version_min = 1;
	hello.version_max = 1;
	client_expect(client, client_send(client, FRAME_HELLO, &hello.base, bytes_of(NULL, 0)), 0);
}

void client_close(struct client *client)
{
	if (client->fd >= 0) {
		close(client->fd);
		client->fd = -1;
	}
	buf_release(&client->input);
	unpack_arena_release(&client->arena);
}

void client_send_bytes(struct client *client, const void *data, size_t size)
{
	const uint8_t *at = data;
	while (size > 0) {
		ssize_t n = send(client->fd, at, size, MSG_NOSIGNAL);
		ck_assert_msg(n > 0, "send: %s", strerror(errno));
		at += n;
		size -= (size_t)n;
	}
}

uint32_t client_send_raw(struct client *client, enum frame_operation operation,
	struct bytes control, struct bytes data)
{
	uint8_t header[FRAME_HEADER_BYTES];
	uint32_t correlation = ++client->last_correlation;
	frame_write_header(
		header, FRAME_REQUEST, operation, 0, correlation, control.size, data.size);
	client_send_bytes(client, header, sizeof(header));
	client_send_bytes(client, control.data, control.size);
	client_send_bytes(client, data.data, data.size);
	return correlation;
}

uint32_t client_send(struct client *client, enum frame_operation operation,
	const ProtobufCMessage *message, struct bytes data)
{
	struct buf control = BUF_INIT;
	uint32_t correlation;
	if (message != NULL) {
		ck_assert_int_eq(pack_message(message, &control), 0);
	}
	correlation = client_send_raw(client, operation, buf_bytes(&control), data);
	buf_release(&control);
	return correlation;
}

/* Waits for bytes; 0 at the end of the stream. */
static ssize_t receive_some(struct client *client, int timeout_ms)
{
	struct pollfd wait = {.fd = client->fd, .events = POLLIN};
	ssize_t n;
	ck_assert_msg(
		poll(&wait, 1, timeout_ms) == 1, "the server sent nothing for %d ms", timeout_ms);
	ck_assert_int_eq(buf_reserve(&client->input, 65536), 0);
	n = recv(client->fd, client->input.data + client->input.size, 65536, 0);
	if (n > 0) {
		client->input.size += (size_t)n;
	}
	return n;
}

struct frame client_receive(struct client *client)
{
	struct frame frame;
	struct error err = {0};
	size_t needed;
	buf_consume(&client->input, client->consumed);
	client->consumed = 0;
	for (;;) {
		int found =
			frame_parse(buf_bytes(&client->input), 64u << 20, &frame, &needed, &err);
		ck_assert_msg(found >= 0, "%s", err.text);
		if (found == 1) {
			client->consumed = frame.size;
			return frame;
		}
		ck_assert_msg(
			receive_some(client, WAIT_MS) > 0, "the server closed the connection");
	}
}

static void fail_with(struct client *client, const struct frame *frame, int status)
{
	const char *text = "";
	if (frame->status != 0) {
		Annals__V1__Error *error =
			client_message(client, frame, &annals__v1__error__descriptor);
		text = error->detail;
	}
	ck_abort_msg("operation %u answered %s (%s), not %s", frame->operation,
		annals_status_name(-frame->status), text, annals_status_name(status));
}

struct frame client_expect(struct client *client, uint32_t correlation, int status)
{
	struct frame frame = client_receive(client);
	ck_assert_int_eq(frame.kind, FRAME_RESPONSE);
	if (frame.status != -status) {
		fail_with(client, &frame, status);
	}
	ck_assert_uint_eq(frame.correlation, correlation);
	return frame;
}

unsigned client_expect_close(struct client *client)
{
	uint64_t before = clock_monotonic_ns();
	ck_assert_uint_eq(client->input.size, client->consumed);
	ck_assert_int_le(receive_some(client, WAIT_MS), 0);
	return (unsigned)((clock_monotonic_ns() - before) / 1000000);
}

void client_expect_silence(struct client *client, unsigned ms)
{
	struct pollfd wait = {.fd = client->fd, .events = POLLIN};
	ck_assert_uint_eq(client->input.size, client->consumed);
	ck_assert_int_eq(poll(&wait, 1, (int)ms), 0);
}

void *client_message(struct client *client, const struct frame *frame,
	const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = NULL;
	struct error err = {0};
	unpack_arena_reset(&client->arena);
	ck_assert_msg(
		unpack_message(&client->arena, descriptor, frame->control, &message, &err) == 0,
		"%s", err.text);
	return message;
}

Annals__V1__Error *client_refused(
	struct client *client, uint32_t correlation, int status, const char *says)
{
	struct frame frame = client_expect(client, correlation, status);
	Annals__V1__Error *error = client_message(client, &frame, &annals__v1__error__descriptor);
	ck_assert_int_eq((int)error->status, -status);
	ck_assert_str_eq(error->name, annals_status_name(status));
	ck_assert_msg(
		strstr(error->detail, says) != NULL, "'%s' does not say '%s'", error->detail, says);
	ck_assert_uint_eq(frame.data.size, 0);
	return error;
}

/* ---- Requests ---- */

uint32_t create_topic(struct client *client, const char *name, uint32_t partitions)
{
	Annals__V1__TopicCreateRequest request = ANNALS__V1__TOPIC_CREATE_REQUEST__INIT;
	Annals__V1__TopicConfig config = ANNALS__V1__TOPIC_CONFIG__INIT;
	Annals__V1__TopicCreateResponse *response;
	struct frame frame;
	config.partitions = partitions;
	request.name = (char *)(uintptr_t)name;
	request.config = &config;
	frame = client_expect(client,
		client_send(client, FRAME_TOPIC_CREATE, &request.base, bytes_of(NULL, 0)), 0);
	response = client_message(client, &frame, &annals__v1__topic_create_response__descriptor);
	return response->topic->id;
}

struct buf make_body(const char *tag, uint32_t count, size_t data_bytes)
{
	struct buf body = BUF_INIT;
	char *data = calloc(1, data_bytes + 1);
	for (uint32_t i = 0; i < count; i++) {
		struct record record = {0};
		char id[64];
		(void)snprintf(id, sizeof(id), "%s-%u", tag, i);
		memset(data, 'a' + (int)(i % 26), data_bytes);
		record.id = bytes_text(id);
		record.source = bytes_text("/test");
		record.type = bytes_text("test");
		record.has_data = true;
		record.data = bytes_of(data, data_bytes);
		ck_assert_int_eq(record_encode_in_batch(&record, &body), 0);
	}
	free(data);
	return body;
}

uint32_t send_append(struct client *client, const char *topic, uint32_t partition,
	uint32_t durability, struct bytes body)
{
	struct wire_append_batch batch = {
		.partition = partition,
		.body_bytes = (uint32_t)body.size,
		.body_crc = crc32c(0, body.data, body.size),
	};
	struct buf control = BUF_INIT;
	uint32_t correlation;
	ck_assert_int_eq(
		wire_append_request_encode(&control, bytes_text(topic), durability, &batch, 1), 0);
	correlation = client_send_raw(client, FRAME_APPEND, buf_bytes(&control), body);
	buf_release(&control);
	return correlation;
}

struct wire_append_run append(struct client *client, const char *topic, uint32_t partition,
	const char *tag, uint32_t count)
{
	struct buf body = make_body(tag, count, 20);
	struct wire_append_response response;
	struct wire_append_run run;
	struct frame frame;
	size_t cursor = 0;
	frame = client_expect(
		client, send_append(client, topic, partition, 0, buf_bytes(&body)), 0);
	ck_assert_int_eq(wire_append_response_decode(frame.control, &response, NULL), 0);
	ck_assert_int_eq(wire_append_next_run(&response, &cursor, &run), 1);
	ck_assert_uint_eq(run.count, count);
	ck_assert_uint_eq(run.partition, partition);
	buf_release(&body);
	return run;
}

uint32_t send_fetch(struct client *client, const char *topic, uint32_t partition, uint64_t offset,
	uint32_t wait_ms)
{
	struct wire_fetch_request request = {.topic = bytes_text(topic),
		.partition = partition,
		.offset = offset,
		.wait_ms = wait_ms};
	struct buf control = BUF_INIT;
	uint32_t correlation;
	ck_assert_int_eq(wire_fetch_request_encode(&control, &request), 0);
	correlation = client_send_raw(client, FRAME_FETCH, buf_bytes(&control), bytes_of(NULL, 0));
	buf_release(&control);
	return correlation;
}

uint32_t check_batches(
	struct bytes batches, uint32_t partition, uint64_t offset, struct fetched *ret)
{
	uint32_t events = 0;
	while (batches.size > 0) {
		struct batch batch;
		struct bytes event;
		struct record record;
		size_t cursor = 0;
		ck_assert_int_eq(batch_view(batches, &batch), 0);
		ck_assert_int_eq(batch_verify(&batch, NULL), 0);
		ck_assert_uint_eq(batch.stamp.partition, partition);
		ck_assert_uint_eq(batch.stamp.codec, BATCH_PLAIN);
		if (ret->batches == 0) {
			ck_assert_uint_le(batch.stamp.base_offset, offset);
			ck_assert_int_eq(batch_next_event(batch.body, &cursor, &event), 1);
			ck_assert_int_eq(record_decode(event, &record, NULL), 0);
			(void)snprintf(ret->first_id, sizeof(ret->first_id), "%.*s",
				(int)record.id.size, (const char *)record.id.data);
		} else {
			ck_assert_uint_eq(batch.stamp.base_offset, offset);
		}
		offset = batch.stamp.base_offset + batch.stamp.count;
		events += batch.stamp.count;
		ret->batches++;
		batches = bytes_of(
			batches.data + batch.stored.size, batches.size - batch.stored.size);
	}
	return events;
}

struct fetched receive_fetch(struct client *client, uint32_t correlation)
{
	struct frame frame = client_expect(client, correlation, 0);
	struct wire_fetch_response response;
	struct fetched fetched = {0};
	ck_assert_int_eq(wire_fetch_response_decode(frame.control, &response, NULL), 0);
	fetched.first_offset = response.first_offset;
	fetched.end_offset = response.end_offset;
	fetched.next_offset = response.next_offset;
	if (frame.data.size > 0) {
		struct batch batch;
		ck_assert_int_eq(batch_view(frame.data, &batch), 0);
		fetched.events = check_batches(
			frame.data, batch.stamp.partition, batch.stamp.base_offset, &fetched);
	}
	return fetched;
}
