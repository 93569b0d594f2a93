/*
 * A small server of the binary protocol in the process, for tests of the client: one topic "t" in
 * memory, no durability, and switches that make it behave badly. Everything runs on one thread of
 * its own; the switches may be set from any thread.
 */
#ifndef TESTS_FAKE_SERVER_H
#define TESTS_FAKE_SERVER_H

#include <stdatomic.h>
#include <stdint.h>

struct fake_switches {
	atomic_int refuse_appends;     /* so many appends are answered with refuse_status */
	atomic_int refuse_status;      /* positive number of a status code */
	atomic_int drop_before_append; /* the n-th append is not stored and the connection ends */
	atomic_int drop_after_append;  /* the n-th append is stored and the connection ends without
					  an answer */
	atomic_int mute;               /* 1: nothing is answered */
	atomic_int byte_by_byte;       /* 1: answers leave one byte at a time */
	atomic_int cut_push;     /* the n-th push is cut in the middle and the connection ends */
	atomic_int damage_push;  /* the n-th push has one byte of its last batch changed */
	atomic_int refuse_hello; /* status for every hello */
	atomic_int end_subscription; /* the n-th push is an error of this status instead:
					offset-gone */
	atomic_int huge_frame;       /* the next answer announces 2^31 bytes */
};

struct fake_server;
/* Listens on 127.0.0.1; port 0 picks one. Aborts the test when it cannot. */
struct fake_server *fake_server_start(uint32_t partitions, uint16_t port);
uint16_t fake_server_port(const struct fake_server *server);
struct fake_switches *fake_server_switches(struct fake_server *server);
/* Events stored in a partition. */
uint64_t fake_server_end(struct fake_server *server, uint32_t partition);
/* Connections accepted, appends seen, largest number of appends of one partition unanswered at a
 * time. */
int fake_server_connections(struct fake_server *server);
int fake_server_appends(struct fake_server *server);
/* Ends every connection. */
void fake_server_disconnect(struct fake_server *server);
void fake_server_stop(struct fake_server *server);

#endif
