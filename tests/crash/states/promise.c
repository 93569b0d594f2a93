#include "promise.h"

#include "workload.h"

#include <annals/crc32c.h>
#include <annals/hash.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TOPICS_MAX 256u

struct part {
	uint64_t hash, offset, position;
	uint64_t request;
	uint32_t topic, partition, count;
	uint32_t first_of_request, parts_of_request; /* indexes */
	bool promised, refused;
	/* of the store that is judged */
	uint32_t found_in;
};

struct partition_promise {
	uint64_t end;              /* one past the highest offset that was told */
	uint64_t first, trim;      /* told; asked for */
	uint64_t committed, asked; /* group offsets */
	bool has_committed;
};

struct topic_promise {
	uint32_t id, partitions;
	char name[24];
	bool promised, delete_asked, deleted;
	struct partition_promise of[WORKLOAD_PARTITIONS];
};

struct span {
	uint64_t position, count;
};

struct promises {
	struct part *parts;
	uint32_t part_count, part_capacity;
	uint32_t *table; /* hash -> index + 1 */
	uint32_t table_size;
	struct topic_promise topics[TOPICS_MAX];
	uint32_t topic_count;
	uint64_t position_end; /* one past the highest that was told */
	uint64_t rows_done, rows_asked;
	uint32_t topic_id_max;
	/* of the store that is judged */
	uint32_t judgement;
	struct span *spans;
	size_t span_count, span_capacity;
	uint64_t found_position_end;
};

void verdict_problem(struct verdict *verdict, const char *format, ...)
{
	va_list args;

	if (verdict->problems++ == 0) {
		va_start(args, format);
		(void)vsnprintf(verdict->text, sizeof(verdict->text), format, args);
		va_end(args);
	}
}

static void *must(void *memory)
{
	if (memory == NULL) {
		(void)fputs("no memory\n", stderr);
		exit(2);
	}
	return memory;
}

struct promises *promises_new(void)
{
	struct promises *promises = must(calloc(1, sizeof(*promises)));

	promises->table_size = 1u << 16;
	promises->table = must(calloc(promises->table_size, sizeof(uint32_t)));
	return promises;
}

void promises_free(struct promises *promises)
{
	free(promises->parts);
	free(promises->table);
	free(promises->spans);
	free(promises);
}

static struct part *find_part(const struct promises *promises, uint64_t hash)
{
	uint32_t slot = (uint32_t)hash & (promises->table_size - 1);

	while (promises->table[slot] != 0) {
		struct part *part = &promises->parts[promises->table[slot] - 1];
		if (part->hash == hash) {
			return part;
		}
		slot = (slot + 1) & (promises->table_size - 1);
	}
	return NULL;
}

static void add_part(struct promises *promises, const struct part *part)
{
	uint32_t slot = (uint32_t)part->hash & (promises->table_size - 1);

	if (promises->part_count == promises->part_capacity) {
		promises->part_capacity = promises->part_capacity * 2 + 1024;
		promises->parts = must(realloc(
			promises->parts, promises->part_capacity * sizeof(*promises->parts)));
	}
	if (promises->part_count * 2 >= promises->table_size) {
		(void)fputs("too many batches in one trace\n", stderr);
		exit(2);
	}
	while (promises->table[slot] != 0) {
		slot = (slot + 1) & (promises->table_size - 1);
	}
	promises->parts[promises->part_count] = *part;
	promises->table[slot] = ++promises->part_count;
}

static struct topic_promise *find_topic(struct promises *promises, uint32_t id)
{
	for (uint32_t i = 0; i < promises->topic_count; i++) {
		if (promises->topics[i].id == id) {
			return &promises->topics[i];
		}
	}
	return NULL;
}

/* ---- What was said ---- */

static struct partition_promise *partition_of(
	struct promises *promises, uint32_t topic, uint32_t partition)
{
	struct topic_promise *found = find_topic(promises, topic);

	if (found == NULL || partition >= WORKLOAD_PARTITIONS) {
		(void)fprintf(stderr, "a mark names topic %u partition %u, which nobody made\n",
			topic, partition);
		exit(2);
	}
	return &found->of[partition];
}

static void take_submitted(struct promises *promises, const struct mark *mark)
{
	for (uint32_t i = 0; i < mark->part_count; i++) {
		struct part part = {.hash = mark->parts[i].hash,
			.request = mark->request,
			.topic = mark->topic,
			.partition = mark->parts[i].partition,
			.count = mark->parts[i].count,
			.first_of_request = promises->part_count - i,
			.parts_of_request = mark->part_count};
		add_part(promises, &part);
	}
}

static void take_promised(struct promises *promises, const struct mark *mark)
{
	for (uint32_t i = 0; i < mark->part_count; i++) {
		const struct mark_part *said = &mark->parts[i];
		struct part *part = find_part(promises, said->hash);
		struct partition_promise *partition =
			partition_of(promises, mark->topic, said->partition);
		if (part == NULL) {
			(void)fputs("a reader was given what nobody submitted\n", stderr);
			exit(1);
		}
		part->promised = true;
		part->offset = said->offset;
		part->position = said->position;
		partition->end = ANNALS_MAX(partition->end, said->offset + said->count);
		promises->position_end =
			ANNALS_MAX(promises->position_end, said->position + said->count);
	}
}

static void take_created(struct promises *promises, const struct mark *mark)
{
	struct topic_promise *topic = find_topic(promises, mark->topic);

	if (topic == NULL && promises->topic_count == TOPICS_MAX) {
		(void)fputs("too many topics in one trace\n", stderr);
		exit(2);
	}
	if (topic == NULL) {
		topic = &promises->topics[promises->topic_count++];
		*topic = (struct topic_promise){
			.id = mark->topic, .partitions = (uint32_t)mark->value};
		memcpy(topic->name, mark->name, sizeof(topic->name));
	}
	topic->promised = true;
	promises->topic_id_max = ANNALS_MAX(promises->topic_id_max, mark->topic);
}

void promises_take(struct promises *promises, const struct mark *mark)
{
	struct partition_promise *partition;
	struct topic_promise *topic;
	struct part *part;

	switch ((enum mark_type)mark->type) {
	case MARK_APPEND:
		take_submitted(promises, mark);
		break;
	case MARK_APPEND_DONE:
	case MARK_SEEN:
		take_promised(promises, mark);
		break;
	case MARK_APPEND_REFUSED:
		for (uint32_t i = 0; i < mark->part_count; i++) {
			part = find_part(promises, mark->parts[i].hash);
			part->refused = true;
		}
		break;
	case MARK_FIRST:
		partition = partition_of(promises, mark->topic, mark->partition);
		partition->first = ANNALS_MAX(partition->first, mark->value);
		break;
	case MARK_TOPIC_CREATE:
		break;
	case MARK_TOPIC_CREATED:
		take_created(promises, mark);
		break;
	case MARK_TOPIC_DELETE:
	case MARK_TOPIC_DELETED:
		topic = find_topic(promises, mark->topic);
		topic->delete_asked = true;
		topic->deleted |= mark->type == MARK_TOPIC_DELETED;
		break;
	case MARK_TRIM:
		partition = partition_of(promises, mark->topic, mark->partition);
		partition->trim = ANNALS_MAX(partition->trim, mark->value);
		break;
	case MARK_COMMIT:
		partition = partition_of(promises, mark->topic, mark->partition);
		partition->asked = ANNALS_MAX(partition->asked, mark->value);
		break;
	case MARK_COMMITTED:
		partition = partition_of(promises, mark->topic, mark->partition);
		partition->committed = ANNALS_MAX(partition->committed, mark->value);
		partition->has_committed = true;
		break;
	case MARK_ROWS:
		promises->rows_asked = mark->value; /* one client, and its numbers rise */
		break;
	case MARK_ROWS_DONE:
		promises->rows_done = mark->value;
		break;
	}
}

bool promises_are_any(const struct promises *promises)
{
	return promises->topic_count > 0;
}

/* ---- Reading ---- */

struct reading {
	struct promises *promises;
	struct store *store;
	struct verdict *verdict;
	bool judges;
	uint64_t digest;
};

static void digest_u64(struct reading *reading, uint64_t value)
{
	reading->digest = (reading->digest ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	reading->digest ^= reading->digest >> 29;
}

static void judge_batch(struct reading *reading, const char *where, const struct batch *batch)
{
	const struct stamp *stamp = &batch->stamp;
	struct promises *promises = reading->promises;
	struct part *part = find_part(promises, workload_hash(batch->body));

	if (part == NULL || part->topic != stamp->topic_id || part->partition != stamp->partition ||
		part->count != stamp->count) {
		verdict_problem(reading->verdict, "%s offset %" PRIu64 ": nobody submitted this",
			where, stamp->base_offset);
		return;
	}
	if (part->refused) {
		verdict_problem(reading->verdict, "%s offset %" PRIu64 ": this was refused", where,
			stamp->base_offset);
	}
	if (part->found_in == promises->judgement) {
		verdict_problem(reading->verdict, "%s offset %" PRIu64 ": this is there twice",
			where, stamp->base_offset);
	}
	part->found_in = promises->judgement;
	if (part->promised &&
		(part->offset != stamp->base_offset || part->position != stamp->base_position)) {
		verdict_problem(reading->verdict,
			"%s offset %" PRIu64 " position %" PRIu64 ": promised was offset %" PRIu64
			" position %" PRIu64,
			where, stamp->base_offset, stamp->base_position, part->offset,
			part->position);
	}
	if (promises->span_count == promises->span_capacity) {
		promises->span_capacity = promises->span_capacity * 2 + 1024;
		promises->spans = must(realloc(
			promises->spans, promises->span_capacity * sizeof(*promises->spans)));
	}
	promises->spans[promises->span_count++] = (struct span){stamp->base_position, stamp->count};
	promises->found_position_end =
		ANNALS_MAX(promises->found_position_end, stamp->base_position + stamp->count);
}

/* Reads a partition from its first offset to its end. */
static void read_partition(struct reading *reading, const struct topic *topic, uint32_t partition,
	struct partition_info *ret_info)
{
	struct partition_info info = {0};
	struct offset_entry entry;
	uint64_t next;
	char where[320];
	int found;

	(void)snprintf(where, sizeof(where), "topic '%s' (%u) partition %u", topic->name, topic->id,
		partition);
	if (store_partition_info(reading->store, topic->id, partition, &info) != 0) {
		verdict_problem(reading->verdict, "%s: no information", where);
		return;
	}
	*ret_info = info;
	digest_u64(reading, (uint64_t)topic->id << 32 | partition);
	digest_u64(reading, info.first_offset);
	digest_u64(reading, info.end_offset);
	found = store_offset_get(
		reading->store, bytes_text("readers"), topic->id, partition, &entry, NULL, NULL);
	digest_u64(reading, found == 1 ? entry.offset + 1 : 0);
	next = info.first_offset;
	while (next < info.end_offset) {
		struct read_request read = {.base.operation = STORE_READ,
			.topic_id = topic->id,
			.partition = partition,
			.offset = next,
			.bytes_max = 1u << 20};
		struct batch batch;
		bool first = next == info.first_offset;
		(void)store_read(reading->store, &read.base, 0);
		if (read.base.status != 0 || read.batch_count == 0) {
			verdict_problem(reading->verdict, "%s offset %" PRIu64 ": cannot read: %s",
				where, next, read.base.error.text);
			buf_release(&read.batches);
			return;
		}
		struct bytes left = buf_bytes(&read.batches);
		for (uint32_t i = 0; i < read.batch_count && batch_view(left, &batch) == 0; i++) {
			/* The first batch may begin before the first kept offset. */
			if (batch.stamp.base_offset != next &&
				(!first || batch.stamp.base_offset > next)) {
				verdict_problem(reading->verdict,
					"%s: offset %" PRIu64 " follows where %" PRIu64 " should",
					where, batch.stamp.base_offset, next);
			}
			first = false;
			next = batch.stamp.base_offset + batch.stamp.count;
			digest_u64(reading, crc32c(0, batch.stored.data, batch.stored.size));
			if (reading->judges) {
				judge_batch(reading, where, &batch);
			}
			left = bytes_of(
				left.data + batch.stored.size, left.size - batch.stored.size);
		}
		buf_release(&read.batches);
	}
	if (next != info.end_offset) {
		verdict_problem(reading->verdict, "%s ends at %" PRIu64 ", not at %" PRIu64, where,
			next, info.end_offset);
	}
}

static void judge_partition(struct reading *reading, const struct topic *topic, uint32_t index,
	const struct partition_promise *promise, const struct partition_info *info)
{
	struct offset_entry entry;
	struct error err = {0};
	int found = store_offset_get(
		reading->store, bytes_text("readers"), topic->id, index, &entry, NULL, &err);

	if (info->first_offset > promise->trim || info->first_offset < promise->first) {
		verdict_problem(reading->verdict,
			"topic '%s' partition %u begins at %" PRIu64 ": told was %" PRIu64
			", asked for %" PRIu64,
			topic->name, index, info->first_offset, promise->first, promise->trim);
	}
	if (info->end_offset < promise->end) {
		verdict_problem(reading->verdict,
			"topic '%s' partition %u ends at %" PRIu64 ", but %" PRIu64 " was promised",
			topic->name, index, info->end_offset, promise->end);
	}
	if (found < 0) {
		verdict_problem(reading->verdict, "group offset: %s", err.text);
	} else if (found == 0
			   ? promise->has_committed
			   : entry.offset < promise->committed || entry.offset > promise->asked ||
				     entry.offset > info->end_offset) {
		verdict_problem(reading->verdict,
			"topic '%s' partition %u: the group's offset is %" PRIu64
			", acknowledged was %" PRIu64 ", asked for %" PRIu64
			", the end is %" PRIu64,
			topic->name, index, found == 0 ? 0 : entry.offset, promise->committed,
			promise->asked, info->end_offset);
	}
}

static void read_topic(struct reading *reading, const struct topic *topic)
{
	struct topic_promise *promise = find_topic(reading->promises, topic->id);

	if (reading->judges && promise != NULL &&
		(promise->deleted || promise->partitions != topic->config.partitions ||
			strcmp(promise->name, topic->name) != 0)) {
		verdict_problem(reading->verdict, "topic '%s' (%u) %s", topic->name, topic->id,
			promise->deleted ? "was deleted" : "is another one than was promised");
	}
	for (uint32_t i = 0; i < topic->config.partitions; i++) {
		struct partition_info info = {0};
		read_partition(reading, topic, i, &info);
		if (reading->judges && promise != NULL && i < WORKLOAD_PARTITIONS) {
			judge_partition(reading, topic, i, &promise->of[i], &info);
		}
	}
}

static void read_topics(struct reading *reading)
{
	struct topic **topics;
	size_t count;

	if (store_topic_list(reading->store, &topics, &count) != 0) {
		verdict_problem(reading->verdict, "no list of topics");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		digest_u64(reading, topics[i]->id);
		read_topic(reading, topics[i]);
		topic_unref(topics[i]);
	}
	free(topics);
}

/* ---- Rows ---- */

/* What the rows say; UINT64_MAX and a problem when they do not say the same. */
static uint64_t read_rows(struct reading *reading)
{
	uint64_t said[WORKLOAD_ROWS];

	for (uint32_t i = 0; i < WORKLOAD_ROWS; i++) {
		uint8_t key[2] = {WORKLOAD_ROW_OWNER, (uint8_t)i};
		struct buf value = BUF_INIT;
		struct error err = {0};
		int found = store_row_get(reading->store, bytes_of(key, sizeof(key)), &value, &err);
		said[i] = found == 1 && value.size == 8 ? load_u64(value.data) : 0;
		if (found < 0) {
			verdict_problem(reading->verdict, "row %u: %s", i, err.text);
		}
		buf_release(&value);
		digest_u64(reading, said[i]);
		if (said[i] != said[0]) {
			verdict_problem(reading->verdict,
				"rows of one commit say %" PRIu64 " and %" PRIu64, said[0],
				said[i]);
			return UINT64_MAX;
		}
	}
	return said[0];
}

static void judge_rows(const struct promises *promises, uint64_t said, struct verdict *verdict)
{
	if (said != UINT64_MAX && (said < promises->rows_done || said > promises->rows_asked)) {
		verdict_problem(verdict,
			"the rows say %" PRIu64 ", acknowledged was %" PRIu64
			", asked for %" PRIu64,
			said, promises->rows_done, promises->rows_asked);
	}
}

/* ---- Judging ---- */

static int compare_spans(const void *a, const void *b)
{
	const struct span *left = a, *right = b;

	return (left->position > right->position) - (left->position < right->position);
}

static void judge_positions(struct promises *promises, struct verdict *verdict)
{
	if (promises->span_count == 0) {
		return;
	}
	qsort(promises->spans, promises->span_count, sizeof(*promises->spans), compare_spans);
	for (size_t i = 1; i < promises->span_count; i++) {
		const struct span *before = &promises->spans[i - 1];
		if (before->position + before->count > promises->spans[i].position) {
			verdict_problem(verdict, "position %" PRIu64 " was given out twice",
				promises->spans[i].position);
		}
	}
}

/* Is the part below what its partition has kept? */
static bool is_trimmed(struct store *store, const struct part *part)
{
	struct partition_info info;

	return store_partition_info(store, part->topic, part->partition, &info) == 0 &&
	       info.first_offset > 0 &&
	       (!part->promised || part->offset + part->count <= info.first_offset);
}

static void judge_part(struct promises *promises, struct store *store, const struct part *part,
	struct verdict *verdict)
{
	const struct topic_promise *topic = find_topic(promises, part->topic);
	bool found = part->found_in == promises->judgement;

	if (topic == NULL || topic->delete_asked || part->refused) {
		return;
	}
	if (part->promised && !found && !is_trimmed(store, part)) {
		verdict_problem(verdict,
			"topic '%s' partition %u offset %" PRIu64 ": was promised, is lost",
			topic->name, part->partition, part->offset);
	}
	for (uint32_t i = 0; found && i < part->parts_of_request; i++) {
		const struct part *other = &promises->parts[part->first_of_request + i];
		if (other->found_in != promises->judgement && !is_trimmed(store, other)) {
			verdict_problem(verdict,
				"topic '%s' partition %u: a request with parts in partition %u is "
				"there in part",
				topic->name, part->partition, other->partition);
		}
	}
}

void promises_judge(struct promises *promises, struct store *store, struct verdict *verdict,
	uint64_t *ret_digest)
{
	struct reading reading = {
		.promises = promises, .store = store, .verdict = verdict, .judges = true};

	promises->judgement++;
	promises->span_count = 0;
	promises->found_position_end = 0;
	read_topics(&reading);
	judge_rows(promises, read_rows(&reading), verdict);
	for (uint32_t i = 0; i < promises->topic_count; i++) {
		const struct topic_promise *topic = &promises->topics[i];
		struct topic *found = store_topic_find_id(store, topic->id);
		if (found == NULL && topic->promised && !topic->delete_asked) {
			verdict_problem(verdict, "topic '%s' (%u) was promised, is lost",
				topic->name, topic->id);
		}
		topic_unref(found);
	}
	for (uint32_t i = 0; i < promises->part_count; i++) {
		judge_part(promises, store, &promises->parts[i], verdict);
	}
	judge_positions(promises, verdict);
	*ret_digest = reading.digest;
}

uint64_t promises_digest(struct promises *promises, struct store *store, struct verdict *verdict)
{
	struct reading reading = {.promises = promises, .store = store, .verdict = verdict};

	read_topics(&reading);
	(void)read_rows(&reading);
	return reading.digest;
}

/* ---- Going on ---- */

struct waiter {
	struct completion_queue queue;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
};

static void on_done(void *arg)
{
	struct waiter *waiter = arg;
	struct list_node back;

	list_init(&back);
	completion_queue_take(&waiter->queue, &back);
	(void)list_pop(&back);
	(void)pthread_mutex_lock(&waiter->mutex);
	waiter->done = true;
	(void)pthread_cond_signal(&waiter->cond);
	(void)pthread_mutex_unlock(&waiter->mutex);
}

static int run(struct waiter *waiter, struct store *store, struct store_request *request)
{
	int status;

	waiter->done = false;
	request->queue = &waiter->queue;
	status = store_submit(store, request, &request->error);
	if (status != 0) {
		return status;
	}
	(void)pthread_mutex_lock(&waiter->mutex);
	while (!waiter->done) {
		(void)pthread_cond_wait(&waiter->cond, &waiter->mutex);
	}
	(void)pthread_mutex_unlock(&waiter->mutex);
	return request->status;
}

static void append_one(struct promises *promises, struct waiter *waiter, struct store *store,
	const struct topic *topic, struct verdict *verdict)
{
	struct append_request request = {
		.base.operation = STORE_APPEND, .topic_id = topic->id, .part_count = 1};
	struct record record = {.id = bytes_text("after"),
		.source = bytes_text("/states"),
		.type = bytes_text("state.after")};
	struct buf body = BUF_INIT, scratch = BUF_INIT;
	struct batch_limits limits = {0};
	struct partition_info info = {0};

	request.parts = &request.one_part;
	if (record_encode_in_batch(&record, &body) != 0 ||
		batch_check_body(buf_bytes(&body), BATCH_PLAIN, &limits, &scratch,
			&request.one_part.summary, NULL) != 0) {
		verdict_problem(verdict, "cannot make a body");
		return;
	}
	request.one_part.body = buf_bytes(&body);
	request.one_part.body_crc = crc32c(0, body.data, body.size);
	if (store_partition_info(store, topic->id, 0, &info) != 0) {
		verdict_problem(verdict, "topic has no partition 0");
	}
	if (run(waiter, store, &request.base) != 0) {
		verdict_problem(verdict, "topic '%s': cannot append: %s", topic->name,
			request.base.error.text);
	} else if (request.one_part.base_offset != info.end_offset) {
		verdict_problem(verdict,
			"topic '%s': appended at offset %" PRIu64 ", the end was %" PRIu64,
			topic->name, request.one_part.base_offset, info.end_offset);
	} else if (request.one_part.base_position < promises->position_end ||
		   request.one_part.base_position < promises->found_position_end) {
		verdict_problem(verdict, "position %" PRIu64 " was given out again",
			request.one_part.base_position);
	}
	append_request_release(&request);
	buf_release(&body);
	buf_release(&scratch);
}

void promises_go_on(struct promises *promises, struct store *store, struct verdict *verdict)
{
	struct topic_request create = {
		.base.operation = STORE_TOPIC_CREATE, .name = "afterwards", .config.partitions = 1};
	struct waiter waiter = {.done = false};
	struct topic **topics;
	size_t count;

	completion_queue_init(&waiter.queue, on_done, &waiter);
	(void)pthread_mutex_init(&waiter.mutex, NULL);
	(void)pthread_cond_init(&waiter.cond, NULL);
	if (run(&waiter, store, &create.base) != 0) {
		verdict_problem(verdict, "cannot create a topic: %s", create.base.error.text);
	} else if (create.topic->id <= promises->topic_id_max) {
		verdict_problem(verdict, "topic id %u was given out again", create.topic->id);
	}
	topic_unref(create.topic);
	if (store_topic_list(store, &topics, &count) == 0) {
		for (size_t i = 0; i < count; i++) {
			append_one(promises, &waiter, store, topics[i], verdict);
			topic_unref(topics[i]);
		}
		free(topics);
	}
	completion_queue_release(&waiter.queue);
	(void)pthread_mutex_destroy(&waiter.mutex);
	(void)pthread_cond_destroy(&waiter.cond);
}
