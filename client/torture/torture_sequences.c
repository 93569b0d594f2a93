/*
 * Named producers: their batches have sequence numbers, are sent again until they are answered and
 * are stored once; and whoever opens a producer of the same name fences the one before, which here
 * goes on writing all the same.
 */
#include "torture_clients.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define SENT_MAX 160u
#define DATA_BYTES_MAX 300u
#define BATCH_EVENTS 8u
#define CLOSE_MS_MAX 3000u

/* One event on its way, as its record needs it. */
struct sent {
	uint64_t value, sequence, epoch, invoke_ns;
};
struct sequencer {
	struct worker *worker;
	struct sent sent[SENT_MAX];
	size_t sent_count;
	uint64_t epoch;
	uint64_t batches; /* on the client's I/O thread only */
	struct buf scratch;
};

/* A batch was answered or given up. On the client's I/O thread. */
static void batch_ended(
	struct annals_producer *producer, const struct annals_delivery *delivery, void *arg)
{
	struct sequencer *sequencer = arg;
	const struct sent *first = delivery->cookies[0];
	uint8_t values[BATCH_EVENTS * 8];
	struct history_op op =
		worker_begin(sequencer->worker, HISTORY_APPEND, ++sequencer->batches);
	struct history_part part = {.partition = delivery->partition,
		.offset = delivery->offset,
		.count = ANNALS_MIN(delivery->count, BATCH_EVENTS),
		.values = values,
		.mask = HISTORY_PART_COUNT | HISTORY_PART_VALUES |
			(delivery->status == 0 ? HISTORY_PART_OFFSET : 0)};

	(void)producer;
	for (uint32_t i = 0; i < part.count; i++) {
		const struct sent *sent = delivery->cookies[i];
		store_u64(values + (size_t)i * 8, sent->value);
	}
	op.invoke_ns = first->invoke_ns;
	op.return_ns = clock_monotonic_ns();
	op.outcome = torture_outcome(delivery->status);
	if (op.outcome == HISTORY_REFUSED && delivery->attempts > 1) {
		op.outcome = HISTORY_UNKNOWN; /* the attempts before may have stored it */
	}
	op.mask = HISTORY_OP_PRODUCER | HISTORY_OP_IDEMPOTENT |
		  (delivery->status != 0 ? HISTORY_OP_STATUS : 0);
	op.status = delivery->status;
	op.producer_id = sequencer->worker->number;
	op.producer_epoch = first->epoch;
	op.producer_sequence = first->sequence;
	op.parts = &part;
	op.part_count = 1;
	torture_record(sequencer->worker->torture, &op);
}

/* NULL while there is no server. */
static struct annals_producer *open_producer(struct sequencer *sequencer)
{
	struct worker *worker = sequencer->worker;
	struct annals_options *options = annals_options_new();
	struct annals_producer *producer = NULL;
	char name[48];

	(void)snprintf(name, sizeof(name), "sequence-%u-%u", worker->torture->era, worker->number);
	sequencer->epoch++;
	if (options != NULL &&
		annals_options_set(options, ANNALS_OPTION_LINGER_US, 500, NULL) == 0 &&
		annals_options_set(options, ANNALS_OPTION_BATCH_EVENTS, BATCH_EVENTS, NULL) == 0 &&
		annals_options_set_producer_name(options, name) == 0) {
		annals_options_on_delivery(options, batch_ended, sequencer);
		if (annals_producer_open(worker->client, worker->torture->topic, options,
			    TORTURE_CALL_MS, &producer, NULL) != 0) {
			producer = NULL;
		}
	}
	annals_options_free(options);
	return producer;
}

static void send_event(
	struct sequencer *sequencer, struct annals_producer *producer, uint64_t epoch)
{
	struct worker *worker = sequencer->worker;
	uint8_t data[DATA_BYTES_MAX];
	char id[48];
	struct sent *sent;
	struct annals_event event = {.source = annals_text("/torture"),
		.type = annals_text("torture.sequence"),
		.has_data = 1,
		.data = {data, 8 + random_below(&worker->random, DATA_BYTES_MAX - 8)}};

	if (producer == NULL || sequencer->sent_count == SENT_MAX) {
		return;
	}
	for (size_t i = 0; i < event.data.size; i++) {
		data[i] = (uint8_t)random_next(&worker->random);
	}
	(void)snprintf(id, sizeof(id), "%u-%u-%" PRIu64, worker->torture->era, worker->number,
		++worker->next_event);
	event.id = annals_text(id);
	sent = &sequencer->sent[sequencer->sent_count];
	*sent = (struct sent){.value = torture_value(&event, &sequencer->scratch),
		.sequence = worker->next_event,
		.epoch = epoch,
		.invoke_ns = clock_monotonic_ns()};
	if (annals_producer_send_to(producer,
		    (uint32_t)random_below(&worker->random, TORTURE_PARTITIONS), &event, sent, 0,
		    NULL) == 0) {
		sequencer->sent_count++;
	}
}

/* A producer, and as a rule its successor, between whose opening and the end both write. */
static void live(struct sequencer *sequencer)
{
	struct random *random = &sequencer->worker->random;
	struct annals_producer *old, *new = NULL;
	uint64_t epoch;

	sequencer->sent_count = 0;
	old = open_producer(sequencer);
	epoch = sequencer->epoch;
	if (old == NULL) {
		torture_sleep_ms(5);
		return;
	}
	for (uint64_t i = 1 + random_below(random, SENT_MAX / 2); i > 0; i--) {
		send_event(sequencer, old, epoch);
		if (random_below(random, 16) == 0) {
			(void)annals_producer_flush(old, 50, NULL);
		}
	}
	if (random_below(random, 3) > 0) {
		new = open_producer(sequencer);
		for (uint64_t i = random_below(random, SENT_MAX / 2); i > 0; i--) {
			bool to_old = random_below(random, 3) == 0;
			send_event(
				sequencer, to_old ? old : new, to_old ? epoch : sequencer->epoch);
		}
	}
	(void)annals_producer_close(old, (int)random_below(random, CLOSE_MS_MAX));
	(void)annals_producer_close(new, CLOSE_MS_MAX);
}

void sequencer_run(struct worker *worker)
{
	struct sequencer *sequencer = calloc(1, sizeof(*sequencer));

	if (sequencer == NULL) {
		torture_problem(worker->torture, "no memory for a named producer");
		return;
	}
	sequencer->worker = worker;
	while (worker_gate(worker)) {
		live(sequencer);
	}
	buf_release(&sequencer->scratch);
	free(sequencer);
}
