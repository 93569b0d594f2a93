/* What the parts of a torture run share. */
#ifndef CLIENT_TORTURE_STATE_H
#define CLIENT_TORTURE_STATE_H

#include "torture.h"

#include <annals/client.h>
#include <annals/hash.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define TORTURE_PARTITIONS 4u
#define TORTURE_SECOND 1u              /* the number of the second topic in histories */
#define TORTURE_STREAMS 4u             /* of the conditional writers */
#define TORTURE_STREAM_KEY "writer-%u" /* their keys */
#define TORTURE_EVENTS_MAX 12u
#define TORTURE_EVENT_BYTES_MAX (80u << 10)
#define TORTURE_CALL_MS 500
#define TORTURE_WORKERS_MAX 64u

/* What the workers are to do; they move on together. */
enum torture_phase {
	TORTURE_RUN,
	TORTURE_DRAIN,    /* finish what is in flight; tails go on */
	TORTURE_CATCH_UP, /* tails read to the ends and stop as well */
	TORTURE_STOP,
};

enum worker_kind {
	WORKER_PRODUCER,
	WORKER_READER,
	WORKER_TAIL,
	WORKER_COMMITTER,
	WORKER_WRITER,
	WORKER_MEMBER,
	WORKER_SEQUENCER,
	WORKER_BROWSER,
	WORKER_MIXER,
	WORKER_HANDLER,
	WORKER_GARDENER,
	WORKER_REGISTRAR
};

struct torture;

struct worker {
	struct torture *torture;
	enum worker_kind kind;
	uint32_t number; /* its client number in the history */
	struct random random;
	struct annals_client *client;
	pthread_t thread;
	uint64_t next_request, next_event;
};

struct server {
	pid_t pid;                  /* 0: not running */
	char address[64], http[64]; /* of the binary protocol, of HTTP; set by the first start */
	char kill_at[96];           /* for the next start: ANNALS_KILL_AT */
	bool list_points;           /* for the next start: ANNALS_FAULT_LIST */
	bool struck;                /* the last start ended by itself through kill_at */
};

struct torture {
	const struct torture_options *options;
	struct torture_report *report;
	struct random random; /* the main thread's */
	char dir[TORTURE_PATH_MAX], data_dir[TORTURE_PATH_MAX + 16], log[TORTURE_PATH_MAX + 16],
		history[TORTURE_PATH_MAX + 32], points[TORTURE_PATH_MAX + 16];
	struct server server;

	/* The era's history and topic. They change while all workers wait. */
	unsigned era, era_rounds;
	char topic[32], second[40];
	bool has_streams; /* the topic has: versions, conditions, ids stored once */
	int history_fd;
	struct history_writer writer;

	/* Under the mutex. */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	enum torture_phase phase;
	unsigned idle, worker_count, tail_count;
	uint64_t ends[TORTURE_PARTITIONS]; /* in CATCH_UP: what tails must reach */

	struct worker workers[TORTURE_WORKERS_MAX];
	atomic_uint_fast64_t retries;
	uint64_t started_ns;
};

/* --- torture_server.c: main thread only */

/* Starts the server with options drawn anew and waits until it is ready, through deaths by
 * ANNALS_KILL_AT. ANNALS_E_IO when it does not come up; the text quotes its log. */
int server_start(struct torture *torture, struct error *err) ANNALS_MUST_CHECK;
/* SIGKILL, and waits for the end. */
void server_kill(struct torture *torture);
/* SIGTERM; a problem is noted if it does not end with 0 within half a minute. */
void server_terminate(struct torture *torture);
/* SIGSTOP for so long, then SIGCONT. */
void server_pause(struct torture *torture, unsigned pause_ms);
/* Waits until the server dies by its kill point; false if it does not in time (then it runs on). */
bool server_wait_struck(struct torture *torture, unsigned timeout_ms);
/* annalsd verify on the dead store; what it says is a problem. */
void server_verify(struct torture *torture);

/* --- torture_clients.c: worker threads */

void *worker_main(void *arg);
/* Reads both topics' ends (a record) and every event from the start, once nothing waits to be due;
 * notes problems. The ends are the first topic's. */
void torture_audit(struct torture *torture, struct annals_client *client, uint64_t *ret_ends);
/* Waits until no event waits to be due; a problem is noted if one still does after the time. */
void torture_wait_for_delayed(struct torture *torture, unsigned timeout_ms);
/* A client that reconnects fast. NULL without memory. */
struct annals_client *torture_connect(const struct torture *torture);

/* --- torture_record.c: any thread */

/* The value of an event for the history. `scratch` is reused. */
uint64_t torture_value(const struct annals_event *event, struct buf *scratch);
void torture_record(struct torture *torture, const struct history_op *op);
/* A record of what was done to the server, now. */
void torture_record_server(struct torture *torture, const char *format, ...) ANNALS_PRINTF(2, 3);
/* How a call that ended with this status went. */
enum history_outcome torture_outcome(int status);
/* Notes a problem that is no violation of an invariant; the run ends after its round. */
void torture_problem(struct torture *torture, const char *format, ...) ANNALS_PRINTF(2, 3);
void torture_sleep_ms(unsigned ms);

#endif
