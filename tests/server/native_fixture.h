/*
 * A real server in this process on free ports, and a client that speaks the binary protocol frame
 * by frame, as docs/protocol.md describes it. Everything fails the test at once when it does not go
 * as asked.
 */
#ifndef TESTS_SERVER_NATIVE_FIXTURE_H
#define TESTS_SERVER_NATIVE_FIXTURE_H

#include "options.h"
#include "server.h"
#include "wire.pb-c.h"
#include <annals/schemas.h>

extern struct server fixture_server;
extern struct options fixture_options;

/* Starts a server with these options ("idle-timeout=200ms", ..., NULL) over the defaults of the
 * tests. */
void fixture_start(const char *first, ...) __attribute__((sentinel));
/* Stops it and starts it again on the same data. */
void fixture_restart(void);
/* Stops it and removes its data; harmless when none runs. For checked teardown. */
void fixture_stop(void);
/* setup with the defaults. */
void fixture_setup(void);

struct client {
	int fd;
	uint32_t last_correlation;
	struct buf input;
	size_t consumed;
	struct unpack_arena arena; /* of the last message of client_message() */
};

/* Connects; client_open() also says hello. */
void client_connect(struct client *client);
void client_open(struct client *client);
void client_close(struct client *client);

/* Sends a request and returns its correlation. message may be NULL: no control bytes. */
uint32_t client_send(struct client *client, enum frame_operation operation,
	const ProtobufCMessage *message, struct bytes data);
uint32_t client_send_raw(struct client *client, enum frame_operation operation,
	struct bytes control, struct bytes data);
void client_send_bytes(struct client *client, const void *data, size_t size);
/* The next frame, valid until the next call. Fails after 5 s. */
struct frame client_receive(struct client *client);
/* Receives the response to this correlation and checks its status (0 or ANNALS_E_*). */
struct frame client_expect(struct client *client, uint32_t correlation, int status);
/* The server closes without sending anything more. Milliseconds it took. */
unsigned client_expect_close(struct client *client);
/* Nothing comes for so long. */
void client_expect_silence(struct client *client, unsigned ms);
/* Unpacks a control message into the client's arena. */
void *client_message(struct client *client, const struct frame *frame,
	const ProtobufCMessageDescriptor *descriptor);
/* Sends a request and expects an error with this status whose detail says so. Returns the Error. */
Annals__V1__Error *client_refused(
	struct client *client, uint32_t correlation, int status, const char *says);

/* ---- Requests ---- */

/* Creates a topic and returns its id. */
uint32_t create_topic(struct client *client, const char *name, uint32_t partitions);
/* A body of `count` events of `data_bytes` data each, with ids <tag>-<n>. */
struct buf make_body(const char *tag, uint32_t count, size_t data_bytes);
/* Sends an append of one batch as announced; count and crc as given. */
uint32_t send_append(struct client *client, const char *topic, uint32_t partition,
	uint32_t durability, struct bytes body);
/* The run of a successful append. */
struct wire_append_run append(struct client *client, const char *topic, uint32_t partition,
	const char *tag, uint32_t count);
uint32_t send_fetch(struct client *client, const char *topic, uint32_t partition, uint64_t offset,
	uint32_t wait_ms);
/* Fetches and checks all batches; returns how many events came from `offset` on. */
struct fetched {
	uint64_t first_offset, end_offset, next_offset;
	uint32_t batches, events;
	char first_id[64];
};
struct fetched receive_fetch(struct client *client, uint32_t correlation);
/* Checks stored batches laid end to end; returns the events in them. */
uint32_t check_batches(
	struct bytes batches, uint32_t partition, uint64_t offset, struct fetched *ret);

#endif
