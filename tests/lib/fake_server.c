#include "fake_server.h"

#include "wire.pb-c.h"
#include <annals/batch.h>
#include <annals/crc32c.h>
#include <annals/frame.h>
#include <annals/macros.h>
#include <annals/wire.h>
#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS_MAX 16
#define PARTITIONS_MAX 64
#define TOPIC_ID 7
#define PUSH_BYTES ((size_t)(256 << 10))

struct fake_partition {
	struct buf stored;
	uint64_t end;
};
struct fake_conn {
	int fd;
	struct buf in;
	bool subscribed;
	uint64_t subscription;
	int64_t credit;
	bool wanted[PARTITIONS_MAX];
	uint64_t next[PARTITIONS_MAX];
};
struct fake_server {
	pthread_t thread;
	int listener, control;
	uint16_t port;
	uint32_t partitions;
	struct fake_switches switches;
	atomic_int stop, disconnect, connections, appends;
	pthread_mutex_t lock; /* over partition[] */
	struct fake_partition partition[PARTITIONS_MAX];
	struct fake_conn conn[CONNS_MAX];
	uint64_t last_subscription, position;
	struct {
		bool used;
		char group[64];
		uint32_t partition;
		uint64_t offset;
	} offsets[64];
};

/* Counts a switch down; true when it reaches zero now. */
static bool fires(atomic_int *countdown)
{
	return atomic_load(countdown) > 0 && atomic_fetch_sub(countdown, 1) == 1;
}

static void hang_up(struct fake_conn *conn)
{
	if (conn->fd >= 0) {
		close(conn->fd);
	}
	buf_release(&conn->in);
	memset(conn, 0, sizeof(*conn));
	conn->fd = -1;
}

static void send_all(
	struct fake_server *server, struct fake_conn *conn, const void *data, size_t size)
{
	size_t step = atomic_load(&server->switches.byte_by_byte) ? 1 : size;
	for (size_t at = 0; at < size && conn->fd >= 0;) {
		size_t part = ANNALS_MIN(step, size - at);
		ssize_t sent = send(conn->fd, (const uint8_t *)data + at, part, MSG_NOSIGNAL);
		if (sent <= 0) {
			hang_up(conn);
			return;
		}
		at += (size_t)sent;
	}
}

static void send_frame(struct fake_server *server, struct fake_conn *conn, enum frame_kind kind,
	uint8_t operation, int status, uint32_t correlation, struct bytes control,
	struct bytes data)
{
	struct buf out = BUF_INIT;
	assert(buf_reserve(&out, FRAME_HEADER_BYTES + control.size + data.size) == ANNALS_OK);
	frame_write_header(out.data, kind, (enum frame_operation)operation, -status, correlation,
		control.size, data.size);
	if (atomic_exchange(&server->switches.huge_frame, 0)) {
		store_u32(out.data, 0x80000000u);
	}
	out.size = FRAME_HEADER_BYTES;
	assert(buf_add(&out, control.data, control.size) == ANNALS_OK);
	assert(buf_add(&out, data.data, data.size) == ANNALS_OK);
	bool cut = kind == FRAME_PUSH && fires(&server->switches.cut_push);
	send_all(server, conn, out.data, cut ? out.size / 2 : out.size);
	buf_release(&out);
	if (cut) {
		hang_up(conn);
	}
}

static void answer(struct fake_server *server, struct fake_conn *conn, const struct frame *request,
	const ProtobufCMessage *message)
{
	uint8_t packed[16384];
	assert(protobuf_c_message_get_packed_size(message) <= sizeof(packed));
	size_t size = protobuf_c_message_pack(message, packed);
	send_frame(server, conn, FRAME_RESPONSE, request->operation, 0, request->correlation,
		bytes_of(packed, size), bytes_of(NULL, 0));
}

static size_t pack_error(uint8_t *out, int status)
{
	Annals__V1__Error error = ANNALS__V1__ERROR__INIT;
	char detail[] = "the fake server says no";
	error.status = (uint32_t)status;
	error.detail = detail;
	error.first_offset = 5;
	return annals__v1__error__pack(&error, out);
}

static void refuse(
	struct fake_server *server, struct fake_conn *conn, const struct frame *request, int status)
{
	uint8_t packed[256];
	send_frame(server, conn, FRAME_RESPONSE, request->operation, status, request->correlation,
		bytes_of(packed, pack_error(packed, status)), bytes_of(NULL, 0));
}

/* --- topics */

static void describe(struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	Annals__V1__TopicDescribeRequest *request = annals__v1__topic_describe_request__unpack(
		NULL, frame->control.size, frame->control.data);
	assert(request);
	bool known = strcmp(request->name, "t") == 0;
	annals__v1__topic_describe_request__free_unpacked(request, NULL);
	if (!known) {
		refuse(server, conn, frame, -ANNALS_E_UNKNOWN_TOPIC);
		return;
	}
	Annals__V1__TopicDescribeResponse response = ANNALS__V1__TOPIC_DESCRIBE_RESPONSE__INIT;
	Annals__V1__TopicInfo info = ANNALS__V1__TOPIC_INFO__INIT;
	Annals__V1__TopicConfig config = ANNALS__V1__TOPIC_CONFIG__INIT;
	Annals__V1__PartitionInfo parts[PARTITIONS_MAX], *list[PARTITIONS_MAX];
	char name[] = "t", uuid[] = "00000000-0000-4000-8000-000000000000";
	info.name = name;
	info.uuid = uuid;
	info.id = TOPIC_ID;
	info.config = &config;
	config.partitions = server->partitions;
	for (uint32_t i = 0; i < server->partitions; i++) {
		annals__v1__partition_info__init(&parts[i]);
		parts[i].partition = i;
		parts[i].end_offset = server->partition[i].end;
		list[i] = &parts[i];
	}
	info.partition = list;
	info.n_partition = server->partitions;
	response.topic = &info;
	answer(server, conn, frame, &response.base);
}

/* --- appends */

static int store_batch(
	struct fake_server *server, const struct wire_append_batch *batch, struct bytes body)
{
	if (batch->partition >= server->partitions) {
		return -ANNALS_E_UNKNOWN_PARTITION;
	}
	struct batch_limits limits = {4u << 20, 1u << 20, 1u << 20, 0, 0, NULL};
	struct batch_summary summary;
	struct buf scratch = BUF_INIT;
	struct error err;
	int status = crc32c(0, body.data, body.size) == batch->body_crc
			     ? batch_check_body(body, (enum batch_codec)batch->codec, &limits,
				       &scratch, &summary, &err)
			     : ANNALS_E_CORRUPT_BATCH;
	buf_release(&scratch);
	if (status != ANNALS_OK || summary.count != batch->count) {
		return status ? -status : -ANNALS_E_CORRUPT_BATCH;
	}
	pthread_mutex_lock(&server->lock);
	struct fake_partition *partition = &server->partition[batch->partition];
	struct stamp stamp = {.codec = (uint8_t)batch->codec,
		.body_format = BATCH_FORMAT_EVENTS,
		.body_bytes = (uint32_t)body.size,
		.body_crc = batch->body_crc,
		.plain_bytes = summary.plain_bytes,
		.count = batch->count,
		.topic_id = TOPIC_ID,
		.partition = batch->partition,
		.base_offset = partition->end,
		.base_position = server->position + 1,
		.recorded_us = 1000000};
	size_t size = batch_stored_size(body.size, 0);
	assert(buf_reserve(&partition->stored, size) == ANNALS_OK);
	batch_write(
		partition->stored.data + partition->stored.size, &stamp, bytes_of(NULL, 0), body);
	partition->stored.size += size;
	partition->end += batch->count;
	server->position += batch->count;
	pthread_mutex_unlock(&server->lock);
	return 0;
}

static void append(struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	struct wire_append_request request;
	struct wire_append_batch batch;
	struct wire_append_run runs[PARTITIONS_MAX];
	size_t cursor = 0, at = 0, count = 0;
	atomic_fetch_add(&server->appends, 1);
	assert(wire_append_request_decode(frame->control, &request, NULL) == ANNALS_OK);
	if (fires(&server->switches.drop_before_append)) {
		hang_up(conn);
		return;
	}
	if (atomic_load(&server->switches.refuse_appends) > 0) {
		atomic_fetch_sub(&server->switches.refuse_appends, 1);
		refuse(server, conn, frame, atomic_load(&server->switches.refuse_status));
		return;
	}
	if (!bytes_is(request.topic, "t")) {
		refuse(server, conn, frame, -ANNALS_E_UNKNOWN_TOPIC);
		return;
	}
	while (wire_append_next_batch(&request, &cursor, &batch) > 0) {
		assert(count < PARTITIONS_MAX && at + batch.body_bytes <= frame->data.size);
		int status = store_batch(
			server, &batch, bytes_of(frame->data.data + at, batch.body_bytes));
		if (status) {
			refuse(server, conn, frame, status);
			return;
		}
		at += batch.body_bytes;
		runs[count++] = (struct wire_append_run){.partition = batch.partition,
			.count = batch.count,
			.base_offset = server->partition[batch.partition].end - batch.count};
	}
	if (fires(&server->switches.drop_after_append)) {
		hang_up(conn);
		return;
	}
	struct buf control = BUF_INIT;
	assert(wire_append_response_encode(
		       &control, TOPIC_ID, 1000000, DURABILITY_FSYNC, runs, count) == ANNALS_OK);
	send_frame(server, conn, FRAME_RESPONSE, FRAME_APPEND, 0, frame->correlation,
		buf_bytes(&control), bytes_of(NULL, 0));
	buf_release(&control);
}

/* --- subscriptions */

static void subscribe(struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	Annals__V1__SubscribeRequest *request = annals__v1__subscribe_request__unpack(
		NULL, frame->control.size, frame->control.data);
	assert(request);
	Annals__V1__SubscribeResponse response = ANNALS__V1__SUBSCRIBE_RESPONSE__INIT;
	Annals__V1__SubscribePartition parts[PARTITIONS_MAX], *list[PARTITIONS_MAX];
	int status = strcmp(request->topic, "t") == 0 ? 0 : -ANNALS_E_UNKNOWN_TOPIC;
	memset(conn->wanted, 0, sizeof(conn->wanted));
	size_t asked = request->n_partition ? request->n_partition : server->partitions;
	for (size_t i = 0; i < asked && !status; i++) {
		uint32_t partition =
			request->n_partition ? request->partition[i]->partition : (uint32_t)i;
		if (partition >= server->partitions) {
			status = -ANNALS_E_UNKNOWN_PARTITION;
			break;
		}
		uint64_t offset = request->n_partition ? request->partition[i]->offset : 0;
		if (request->start == ANNALS__V1__SUBSCRIBE_START__SUBSCRIBE_START_LATEST) {
			offset = server->partition[partition].end;
		}
		if (offset > server->partition[partition].end) {
			status = -ANNALS_E_OFFSET_BEYOND_END;
		}
		conn->wanted[partition] = true;
		conn->next[partition] = offset;
		annals__v1__subscribe_partition__init(&parts[i]);
		parts[i].partition = partition;
		parts[i].offset = offset;
		list[i] = &parts[i];
	}
	conn->credit = (int64_t)request->credit_bytes;
	annals__v1__subscribe_request__free_unpacked(request, NULL);
	if (status) {
		refuse(server, conn, frame, status);
		return;
	}
	conn->subscribed = true;
	conn->subscription = ++server->last_subscription;
	response.subscription = conn->subscription;
	response.topic_id = TOPIC_ID;
	response.partition = list;
	response.n_partition = asked;
	answer(server, conn, frame, &response.base);
}

/* One push of a partition; false when there is nothing to push. */
static bool push_partition(struct fake_server *server, struct fake_conn *conn, uint32_t partition)
{
	struct fake_partition *from = &server->partition[partition];
	struct buf data = BUF_INIT;
	struct wire_push push = {.subscription = conn->subscription,
		.partition = partition,
		.end_offset = from->end,
		.next_offset = conn->next[partition]};
	struct batch batch;
	size_t last = 0;
	for (size_t at = 0; at < from->stored.size && data.size < PUSH_BYTES;
		at += batch.stored.size) {
		assert(batch_view(bytes_of(from->stored.data + at, from->stored.size - at),
			       &batch) == ANNALS_OK);
		uint64_t end = batch.stamp.base_offset + batch.stamp.count;
		if (end > conn->next[partition]) {
			last = data.size;
			assert(buf_add(&data, batch.stored.data, batch.stored.size) == ANNALS_OK);
			push.next_offset = end;
		}
	}
	if (data.size == 0) {
		return false;
	}
	if (fires(&server->switches.damage_push)) {
		data.data[last + BATCH_STAMP_BYTES + 3] ^= 0x20;
	}
	uint8_t error[256];
	bool ends = fires(&server->switches.end_subscription);
	if (ends) {
		push.error = bytes_of(error, pack_error(error, -ANNALS_E_OFFSET_GONE));
		data.size = 0;
		conn->subscribed = false;
	}
	struct buf control = BUF_INIT;
	assert(wire_push_encode(&control, &push) == ANNALS_OK);
	conn->next[partition] = push.next_offset;
	conn->credit = ANNALS_MAX(conn->credit - (int64_t)data.size, 0);
	send_frame(server, conn, FRAME_PUSH, FRAME_SUBSCRIBE, ends ? -ANNALS_E_OFFSET_GONE : 0,
		(uint32_t)conn->subscription, buf_bytes(&control), buf_bytes(&data));
	buf_release(&control);
	buf_release(&data);
	return true;
}

static void push(struct fake_server *server, struct fake_conn *conn)
{
	bool more = true;
	while (more) {
		more = false;
		for (uint32_t i = 0; i < server->partitions; i++) {
			if (conn->fd >= 0 && conn->subscribed && conn->credit > 0 &&
				conn->wanted[i]) {
				more |= push_partition(server, conn, i);
			}
		}
	}
}

/* --- offsets */

static void commit(struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	Annals__V1__OffsetCommitRequest *request = annals__v1__offset_commit_request__unpack(
		NULL, frame->control.size, frame->control.data);
	assert(request);
	for (size_t i = 0; i < request->n_offset; i++) {
		for (size_t at = 0; at < ANNALS_COUNT_OF(server->offsets); at++) {
			if (!server->offsets[at].used ||
				(strcmp(server->offsets[at].group, request->group) == 0 &&
					server->offsets[at].partition ==
						request->offset[i]->partition)) {
				server->offsets[at].used = true;
				snprintf(server->offsets[at].group,
					sizeof(server->offsets[at].group), "%s", request->group);
				server->offsets[at].partition = request->offset[i]->partition;
				server->offsets[at].offset = request->offset[i]->offset;
				break;
			}
		}
	}
	annals__v1__offset_commit_request__free_unpacked(request, NULL);
	Annals__V1__OffsetCommitResponse response = ANNALS__V1__OFFSET_COMMIT_RESPONSE__INIT;
	answer(server, conn, frame, &response.base);
}

static void fetch_offsets(
	struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	Annals__V1__OffsetFetchRequest *request = annals__v1__offset_fetch_request__unpack(
		NULL, frame->control.size, frame->control.data);
	assert(request);
	Annals__V1__OffsetFetchResponse response = ANNALS__V1__OFFSET_FETCH_RESPONSE__INIT;
	Annals__V1__OffsetEntry entries[64], *list[64];
	char topic[] = "t";
	for (size_t at = 0; at < ANNALS_COUNT_OF(server->offsets); at++) {
		if (server->offsets[at].used &&
			strcmp(server->offsets[at].group, request->group) == 0) {
			Annals__V1__OffsetEntry *entry = &entries[response.n_offset];
			annals__v1__offset_entry__init(entry);
			entry->topic = topic;
			entry->partition = server->offsets[at].partition;
			entry->offset = server->offsets[at].offset;
			list[response.n_offset++] = entry;
		}
	}
	response.offset = list;
	annals__v1__offset_fetch_request__free_unpacked(request, NULL);
	answer(server, conn, frame, &response.base);
}

/* --- the thread */

static void hello(struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	int status = atomic_load(&server->switches.refuse_hello);
	if (status) {
		refuse(server, conn, frame, status);
		return;
	}
	char name[] = "fake", version[] = "1", uuid[] = "u";
	Annals__V1__HelloResponse response = ANNALS__V1__HELLO_RESPONSE__INIT;
	response.version = 1;
	response.server_name = name;
	response.server_version = version;
	response.store_uuid = uuid;
	answer(server, conn, frame, &response.base);
}

static void handle(struct fake_server *server, struct fake_conn *conn, const struct frame *frame)
{
	if (atomic_load(&server->switches.mute)) {
		return;
	}
	switch (frame->operation) {
	case FRAME_HELLO:
		hello(server, conn, frame);
		break;
	case FRAME_PING: {
		Annals__V1__PingResponse response = ANNALS__V1__PING_RESPONSE__INIT;
		response.time_us = 42;
		answer(server, conn, frame, &response.base);
		break;
	}
	case FRAME_TOPIC_DESCRIBE:
		describe(server, conn, frame);
		break;
	case FRAME_APPEND:
		append(server, conn, frame);
		break;
	case FRAME_SUBSCRIBE:
		subscribe(server, conn, frame);
		break;
	case FRAME_CREDIT: {
		Annals__V1__CreditRequest *request = annals__v1__credit_request__unpack(
			NULL, frame->control.size, frame->control.data);
		assert(request);
		conn->credit += (int64_t)request->credit_bytes;
		annals__v1__credit_request__free_unpacked(request, NULL);
		Annals__V1__CreditResponse response = ANNALS__V1__CREDIT_RESPONSE__INIT;
		answer(server, conn, frame, &response.base);
		break;
	}
	case FRAME_UNSUBSCRIBE: {
		conn->subscribed = false;
		Annals__V1__UnsubscribeResponse response = ANNALS__V1__UNSUBSCRIBE_RESPONSE__INIT;
		answer(server, conn, frame, &response.base);
		break;
	}
	case FRAME_OFFSET_COMMIT:
		commit(server, conn, frame);
		break;
	case FRAME_OFFSET_FETCH:
		fetch_offsets(server, conn, frame);
		break;
	default:
		refuse(server, conn, frame, -ANNALS_E_UNSUPPORTED_OPERATION);
	}
}

static void input(struct fake_server *server, struct fake_conn *conn)
{
	assert(buf_reserve(&conn->in, 65536) == ANNALS_OK);
	ssize_t got = recv(conn->fd, conn->in.data + conn->in.size, 65536, 0);
	if (got <= 0) {
		hang_up(conn);
		return;
	}
	conn->in.size += (size_t)got;
	struct frame frame;
	size_t needed, at = 0;
	while (conn->fd >= 0 && at < conn->in.size) {
		int status = frame_parse(bytes_of(conn->in.data + at, conn->in.size - at),
			64u << 20, &frame, &needed, NULL);
		assert(status >= 0);
		if (status == 0) {
			break;
		}
		handle(server, conn, &frame);
		at += frame.size;
	}
	if (conn->fd >= 0) {
		buf_consume(&conn->in, at);
	}
}

static void accept_one(struct fake_server *server)
{
	int fd = accept(server->listener, NULL, NULL);
	for (size_t i = 0; i < CONNS_MAX && fd >= 0; i++) {
		if (server->conn[i].fd < 0) {
			server->conn[i].fd = fd;
			atomic_fetch_add(&server->connections, 1);
			return;
		}
	}
	close(fd);
}

static void *run(void *arg)
{
	struct fake_server *server = arg;
	while (!atomic_load(&server->stop)) {
		struct pollfd fds[CONNS_MAX + 2];
		for (size_t i = 0; i < CONNS_MAX; i++) {
			fds[i] = (struct pollfd){server->conn[i].fd, POLLIN, 0};
		}
		fds[CONNS_MAX] = (struct pollfd){server->listener, POLLIN, 0};
		fds[CONNS_MAX + 1] = (struct pollfd){server->control, POLLIN, 0};
		(void)poll(fds, CONNS_MAX + 2, -1);
		if (fds[CONNS_MAX + 1].revents) {
			uint64_t drained;
			ssize_t got = read(server->control, &drained, sizeof(drained));
			(void)got;
		}
		if (atomic_exchange(&server->disconnect, 0)) {
			for (size_t i = 0; i < CONNS_MAX; i++) {
				hang_up(&server->conn[i]);
			}
			continue;
		}
		for (size_t i = 0; i < CONNS_MAX; i++) {
			if (fds[i].fd >= 0 && fds[i].revents) {
				input(server, &server->conn[i]);
			}
		}
		if (fds[CONNS_MAX].revents) {
			accept_one(server);
		}
		for (size_t i = 0; i < CONNS_MAX; i++) {
			push(server, &server->conn[i]);
		}
	}
	return NULL;
}

static void poke(struct fake_server *server)
{
	uint64_t one = 1;
	ssize_t sent = write(server->control, &one, sizeof(one));
	(void)sent;
}

struct fake_server *fake_server_start(uint32_t partitions, uint16_t port)
{
	struct fake_server *server = calloc(1, sizeof(*server));
	assert(server && partitions <= PARTITIONS_MAX);
	server->partitions = partitions;
	for (size_t i = 0; i < CONNS_MAX; i++) {
		server->conn[i].fd = -1;
	}
	(void)pthread_mutex_init(&server->lock, NULL);
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	server->control = eventfd(0, EFD_CLOEXEC);
	int one = 1;
	(void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(address);
	assert(bind(server->listener, (struct sockaddr *)&address, size) == 0);
	assert(listen(server->listener, 16) == 0);
	assert(getsockname(server->listener, (struct sockaddr *)&address, &size) == 0);
	server->port = ntohs(address.sin_port);
	assert(pthread_create(&server->thread, NULL, run, server) == 0);
	return server;
}

uint16_t fake_server_port(const struct fake_server *server)
{
	return server->port;
}

struct fake_switches *fake_server_switches(struct fake_server *server)
{
	return &server->switches;
}

uint64_t fake_server_end(struct fake_server *server, uint32_t partition)
{
	pthread_mutex_lock(&server->lock);
	uint64_t result = server->partition[partition].end;
	pthread_mutex_unlock(&server->lock);
	return result;
}

int fake_server_connections(struct fake_server *server)
{
	return atomic_load(&server->connections);
}

int fake_server_appends(struct fake_server *server)
{
	return atomic_load(&server->appends);
}

void fake_server_disconnect(struct fake_server *server)
{
	atomic_store(&server->disconnect, 1);
	poke(server);
}

void fake_server_stop(struct fake_server *server)
{
	if (!server) {
		return;
	}
	atomic_store(&server->stop, 1);
	poke(server);
	pthread_join(server->thread, NULL);
	for (size_t i = 0; i < CONNS_MAX; i++) {
		hang_up(&server->conn[i]);
	}
	for (size_t i = 0; i < PARTITIONS_MAX; i++) {
		buf_release(&server->partition[i].stored);
	}
	close(server->listener);
	close(server->control);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
