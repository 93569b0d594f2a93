#include "history_sim.h"

#include "history.h"

#include <annals/hash.h>
#include <stdlib.h>

#define CLIENTS 12u
#define PARTITIONS 3u
#define STREAMS 4u
#define EVENTS_MAX 8u
#define READ_MAX 64u
#define LATE_MAX 32u

struct series {
	uint64_t *values;
	size_t count, capacity, start;
};

struct request {
	uint32_t client, partition, stream, count;
	uint64_t number, sequence, expected;
	uint32_t attempts;
	bool idempotent, has_stream, conditional;
	uint8_t values[EVENTS_MAX * 8];
};

/* What an operation in flight will say. */
struct client {
	uint32_t number;
	bool busy, applied, retry;
	uint64_t invoke_ns, apply_ns, return_ns;
	bool answer_lost, never_applied;
	struct history_op op;
	struct history_part parts[2];
	uint8_t values[READ_MAX * 8];
	struct request request;
	uint64_t next_number, next_sequence, next_place[PARTITIONS], committed[PARTITIONS];
};

struct sim {
	struct random random;
	struct history_writer writer;
	struct series logs[PARTITIONS], streams[STREAMS];
	struct client clients[CLIENTS];
	struct {
		struct request request;
		uint64_t apply_ns;
	} late[LATE_MAX];
	size_t late_count;
	uint64_t now_ns, next_value;
	uint64_t group[PARTITIONS];
	bool group_set[PARTITIONS];
	struct stored {
		uint64_t number, offset, version;
	} stored[CLIENTS]; /* each client's newest stored idempotent request */
	uint64_t newest_sequence[CLIENTS];
};

static void series_add(struct series *series, const uint8_t *values, uint32_t count)
{
	while (series->count + count > series->capacity) {
		series->capacity = series->capacity * 2 + 256;
		series->values = realloc(series->values, series->capacity * sizeof(uint64_t));
		if (series->values == NULL) {
			abort();
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		series->values[series->count++] = load_u64(values + (size_t)i * 8);
	}
}

static uint64_t draw(struct sim *sim, uint64_t below)
{
	return random_below(&sim->random, below);
}

enum verdict { STORED, REPLAYED, CONFLICT, DROPPED };

/* The store's one true order of things. */
static enum verdict store(
	struct sim *sim, const struct request *request, uint64_t *ret_offset, uint64_t *ret_version)
{
	struct series *log = &sim->logs[request->partition];
	struct series *stream = &sim->streams[request->stream];
	struct stored *stored = &sim->stored[request->client];

	*ret_version = request->has_stream ? stream->count : 0;
	if (request->idempotent && stored->number == request->number) {
		*ret_offset = stored->offset;
		*ret_version = stored->version;
		return REPLAYED;
	}
	if (request->idempotent && request->sequence <= sim->newest_sequence[request->client]) {
		return DROPPED;
	}
	if (request->conditional && stream->count != request->expected) {
		return CONFLICT;
	}
	*ret_offset = log->count;
	series_add(log, request->values, request->count);
	if (request->has_stream) {
		series_add(stream, request->values, request->count);
	}
	if (request->idempotent) {
		*stored = (struct stored){request->number, *ret_offset, *ret_version};
		sim->newest_sequence[request->client] = request->sequence;
	}
	return STORED;
}

static void begin_append(struct sim *sim, struct client *client)
{
	struct request *request = &client->request;

	if (!client->retry) {
		*request = (struct request){.client = client->number,
			.number = ++client->next_number,
			.sequence = ++client->next_sequence,
			.partition = (uint32_t)draw(sim, PARTITIONS),
			.count = 1 + (uint32_t)draw(sim, EVENTS_MAX),
			.idempotent = client->number % 2 == 0,
			.has_stream = client->number % 3 == 0};
		request->stream = (uint32_t)draw(sim, STREAMS);
		if (request->has_stream) {
			request->partition = request->stream % PARTITIONS;
			request->conditional = draw(sim, 2) == 0;
			uint64_t head = sim->streams[request->stream].count;
			request->expected = draw(sim, 3) > 0 ? head : head / 2;
		}
		for (uint32_t i = 0; i < request->count; i++) {
			store_u64(request->values + (size_t)i * 8, ++sim->next_value);
		}
	}
	client->retry = false;
	request->attempts++;
	client->op = (struct history_op){.kind = HISTORY_APPEND,
		.client = client->number,
		.number = request->number,
		.attempt = request->attempts,
		.producer_id = client->number,
		.producer_sequence = request->sequence,
		.mask = request->idempotent ? HISTORY_OP_IDEMPOTENT | HISTORY_OP_PRODUCER : 0};
	client->parts[0] = (struct history_part){.partition = request->partition,
		.count = request->count,
		.values = request->values,
		.stream = request->stream,
		.expected = request->expected,
		.mask = HISTORY_PART_VALUES | HISTORY_PART_COUNT |
			(request->has_stream ? HISTORY_PART_STREAM : 0) |
			(request->conditional ? HISTORY_PART_EXPECTED : 0)};
}

static void apply_append(struct sim *sim, struct client *client)
{
	struct history_part *part = &client->parts[0];

	switch (store(sim, &client->request, &part->offset, &part->version)) {
	case STORED:
		part->mask |= HISTORY_PART_OFFSET;
		break;
	case REPLAYED:
		part->mask |= HISTORY_PART_OFFSET | HISTORY_PART_REPLAYED;
		break;
	case CONFLICT:
		client->op.outcome = HISTORY_CONFLICT;
		break;
	case DROPPED:
		client->op.outcome = HISTORY_REFUSED;
		break;
	}
	part->mask |= client->request.has_stream ? HISTORY_PART_VERSION : 0;
}

static void begin_read(struct sim *sim, struct client *client)
{
	client->op =
		(struct history_op){.kind = HISTORY_READ, .client = client->number, .number = 1};
	client->parts[0] = (struct history_part){.partition = (uint32_t)draw(sim, PARTITIONS)};
}

static void apply_read(struct sim *sim, struct client *client)
{
	struct history_part *part = &client->parts[0];
	const struct series *log = &sim->logs[part->partition];
	uint64_t *next = &client->next_place[part->partition];

	part->mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT | HISTORY_PART_START |
		     HISTORY_PART_END | HISTORY_PART_VALUES;
	part->start = log->start;
	part->end = log->count;
	if (*next < log->start) {
		*next = log->start;
	} else if (draw(sim, 20) == 0) {
		*next = log->start + draw(sim, log->count - log->start + 1);
		client->op.mask |= HISTORY_OP_SEEK;
	}
	part->offset = *next;
	part->count = (uint32_t)ANNALS_MIN(log->count - *next, READ_MAX);
	for (uint32_t i = 0; i < part->count; i++) {
		store_u64(client->values + (size_t)i * 8, log->values[*next + i]);
	}
	part->values = client->values;
	*next += part->count;
}

/* A whole stream's newest page, in a session of its own. */
static void apply_stream_read(struct sim *sim, struct client *client)
{
	struct history_part *part = &client->parts[0];
	const struct series *stream = &sim->streams[part->stream];

	client->op.number = 1000 + ++client->next_number;
	part->end = stream->count;
	part->version = stream->count - ANNALS_MIN(stream->count, READ_MAX);
	part->count = (uint32_t)(stream->count - part->version);
	part->mask = HISTORY_PART_STREAM | HISTORY_PART_VERSION | HISTORY_PART_COUNT |
		     HISTORY_PART_END | HISTORY_PART_VALUES;
	for (uint32_t i = 0; i < part->count; i++) {
		store_u64(client->values + (size_t)i * 8, stream->values[part->version + i]);
	}
	part->values = client->values;
}

static void begin_stream_read(struct sim *sim, struct client *client)
{
	uint32_t stream = (uint32_t)draw(sim, STREAMS);

	begin_read(sim, client);
	client->parts[0] =
		(struct history_part){.partition = stream % PARTITIONS, .stream = stream};
}

static void begin_commit(struct sim *sim, struct client *client)
{
	uint32_t partition = (uint32_t)draw(sim, PARTITIONS);

	(void)sim;
	client->committed[partition] =
		ANNALS_MAX(client->committed[partition], client->next_place[partition]);
	client->op = (struct history_op){.kind = HISTORY_COMMIT,
		.client = client->number,
		.mask = HISTORY_OP_GROUP,
		.group = 77};
	client->parts[0] = (struct history_part){.partition = partition,
		.offset = client->committed[partition],
		.mask = HISTORY_PART_OFFSET};
}

static void begin_fetch(struct sim *sim, struct client *client)
{
	begin_read(sim, client);
	client->op.kind = HISTORY_FETCH;
	client->op.mask = HISTORY_OP_GROUP;
	client->op.group = 77;
}

static void apply(struct sim *sim, struct client *client)
{
	struct history_part *part = &client->parts[0];

	client->applied = true;
	switch (client->op.kind) {
	case HISTORY_APPEND:
		apply_append(sim, client);
		break;
	case HISTORY_COMMIT:
		sim->group[part->partition] = part->offset;
		sim->group_set[part->partition] = true;
		break;
	case HISTORY_FETCH:
		part->offset = sim->group[part->partition];
		part->mask = sim->group_set[part->partition] ? HISTORY_PART_OFFSET : 0;
		break;
	case HISTORY_TRIM:
		sim->logs[part->partition].start = part->offset;
		break;
	default:
		if (part->mask == 0 && part->stream == 0) {
			apply_read(sim, client);
		} else {
			apply_stream_read(sim, client);
		}
		break;
	}
}

/* Clients 0 to 6 append, 7 to 9 read, 10 commits, 11 fetches and removes. */
static void begin(struct sim *sim, struct client *client)
{
	uint64_t length_ns = 1000 + draw(sim, 200000);

	client->busy = true;
	client->applied = client->answer_lost = client->never_applied = false;
	client->invoke_ns = sim->now_ns;
	client->apply_ns = sim->now_ns + draw(sim, length_ns);
	client->return_ns = sim->now_ns + length_ns;
	if (client->number < 7) {
		begin_append(sim, client);
		client->answer_lost = draw(sim, 8) == 0;
		client->never_applied = client->answer_lost && draw(sim, 2) == 0;
	} else if (client->number < 10) {
		if (client->number == 9 && draw(sim, 2) == 0) {
			begin_stream_read(sim, client);
			client->parts[0].stream += client->parts[0].stream == 0 ? 1 : 0;
			client->parts[0].partition = client->parts[0].stream % PARTITIONS;
		} else {
			begin_read(sim, client);
		}
	} else if (client->number == 10) {
		uint32_t partition = (uint32_t)draw(sim, PARTITIONS);
		client->next_place[partition] = ANNALS_MAX(
			client->next_place[partition], draw(sim, sim->logs[partition].count + 1));
		begin_commit(sim, client);
		client->answer_lost = draw(sim, 8) == 0;
	} else if (draw(sim, 10) == 0) {
		uint32_t partition = (uint32_t)draw(sim, PARTITIONS);
		const struct series *log = &sim->logs[partition];
		client->op = (struct history_op){.kind = HISTORY_TRIM, .client = client->number};
		client->parts[0] = (struct history_part){.partition = partition,
			.offset = log->start + draw(sim, (log->count - log->start) / 4 + 1),
			.mask = HISTORY_PART_OFFSET};
	} else {
		begin_fetch(sim, client);
	}
}

static void finish(struct sim *sim, struct client *client)
{
	client->op.invoke_ns = client->invoke_ns;
	client->op.return_ns = client->return_ns;
	client->op.parts = client->parts;
	client->op.part_count = 1;
	if (client->answer_lost) {
		client->op.outcome = HISTORY_UNKNOWN;
		client->parts[0].mask &= ~(uint32_t)(HISTORY_PART_VERSION | HISTORY_PART_REPLAYED);
		if (client->op.kind == HISTORY_APPEND) {
			client->parts[0].mask &= ~(uint32_t)HISTORY_PART_OFFSET;
			client->retry = draw(sim, 2) == 0;
		}
		/* Some requests are carried out after their client gave up. */
		if (!client->applied && client->op.kind == HISTORY_APPEND && draw(sim, 2) == 0 &&
			sim->late_count < LATE_MAX) {
			sim->late[sim->late_count].request = client->request;
			sim->late[sim->late_count++].apply_ns = sim->now_ns + 1 + draw(sim, 300000);
		}
	}
	if (history_write(&sim->writer, &client->op, NULL) != 0) {
		abort();
	}
	client->busy = false;
}

/* A kill: what was not carried out never is, and nobody in flight gets an answer. */
static void kill_server(struct sim *sim)
{
	struct history_op op = {.kind = HISTORY_SERVER,
		.invoke_ns = sim->now_ns,
		.return_ns = sim->now_ns,
		.mask = HISTORY_OP_TEXT,
		.text = bytes_text("killed")};

	if (history_write(&sim->writer, &op, NULL) != 0) {
		abort();
	}
	sim->late_count = 0;
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *client = &sim->clients[i];
		if (client->busy &&
			(client->op.kind == HISTORY_APPEND || client->op.kind == HISTORY_COMMIT)) {
			client->answer_lost = true;
			client->never_applied = client->never_applied || !client->applied;
		}
	}
}

static void step(struct sim *sim)
{
	sim->now_ns += 1 + draw(sim, 20000);
	for (size_t i = 0; i < sim->late_count;) {
		uint64_t offset, version;
		if (sim->late[i].apply_ns > sim->now_ns) {
			i++;
			continue;
		}
		(void)store(sim, &sim->late[i].request, &offset, &version);
		sim->late[i] = sim->late[--sim->late_count];
	}
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *client = &sim->clients[i];
		if (client->busy && !client->applied && !client->never_applied &&
			client->apply_ns <= sim->now_ns) {
			apply(sim, client);
		}
		if (client->busy && client->return_ns <= sim->now_ns) {
			client->return_ns = sim->now_ns;
			finish(sim, client);
		}
	}
}

static void read_everything(struct sim *sim)
{
	struct client *client = &sim->clients[7];

	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		client->next_place[partition] = sim->logs[partition].start;
		do {
			begin_read(sim, client);
			client->op.number = 2;
			client->invoke_ns = ++sim->now_ns;
			client->return_ns = ++sim->now_ns;
			client->answer_lost = false;
			client->parts[0].partition = partition;
			apply_read(sim, client);
			finish(sim, client);
		} while (client->next_place[partition] < sim->logs[partition].count);
	}
}

void history_simulate(uint64_t seed, unsigned operations, int fd)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (sim == NULL) {
		abort();
	}
	sim->random.state = seed;
	sim->now_ns = UINT64_C(1000000000000);
	history_writer_init(&sim->writer, fd);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		sim->clients[i].number = i;
	}
	while (sim->writer.records_written + sim->writer.records < operations) {
		struct client *client = &sim->clients[draw(sim, CLIENTS)];
		step(sim);
		if (!client->busy) {
			begin(sim, client);
		}
		if (draw(sim, 200) == 0) {
			kill_server(sim);
		}
	}
	kill_server(sim);
	sim->now_ns += 1000000; /* whatever is in flight returns */
	step(sim);
	read_everything(sim);
	if (history_flush(&sim->writer, NULL) != 0) {
		abort();
	}
	history_writer_release(&sim->writer);
	for (size_t i = 0; i < PARTITIONS; i++) {
		free(sim->logs[i].values);
	}
	for (size_t i = 0; i < STREAMS; i++) {
		free(sim->streams[i].values);
	}
	free(sim);
}
