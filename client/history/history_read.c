#include "history.h"

#include <annals/crc32c.h>
#include <annals/varint.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is left of a record; the first thing that does not fit sets `bad`. */
struct cursor {
	const uint8_t *at, *end;
	const char *bad;
};

static uint64_t take(struct cursor *cursor, uint64_t most, const char *what)
{
	uint64_t value = 0;
	size_t used = varint_get(cursor->at, (size_t)(cursor->end - cursor->at), &value);

	if (used == 0 || value > most) {
		cursor->bad = cursor->bad != NULL ? cursor->bad : what;
		cursor->at = cursor->end;
		return 0;
	}
	cursor->at += used;
	return value;
}

static const uint8_t *take_bytes(struct cursor *cursor, uint64_t size, const char *what)
{
	const uint8_t *at = cursor->at;

	if (size > (uint64_t)(cursor->end - cursor->at)) {
		cursor->bad = cursor->bad != NULL ? cursor->bad : what;
		cursor->at = cursor->end;
		return NULL;
	}
	cursor->at += size;
	return at;
}

/* Offsets and versions: so large that sums with a count do not wrap. */
#define PLACE_MAX (UINT64_MAX / 4)

static void take_part(struct cursor *cursor, struct history_part *part)
{
	uint32_t mask = (uint32_t)take(cursor, HISTORY_PART_KNOWN, "an unknown part mask");
	const uint8_t *stream;

	*part = (struct history_part){.mask = mask};
	part->topic = (uint32_t)take(cursor, UINT32_MAX - 1, "a topic");
	part->partition = (uint32_t)take(cursor, UINT32_MAX, "a partition") - 1;
	if (mask & HISTORY_PART_STREAM) {
		stream = take_bytes(cursor, 8, "a stream");
		part->stream = stream != NULL ? load_u64(stream) : 0;
	}
	part->offset = mask & HISTORY_PART_OFFSET ? take(cursor, PLACE_MAX, "an offset") : 0;
	part->count = mask & HISTORY_PART_VALUES ? 1 : 0;
	if (mask & HISTORY_PART_COUNT) {
		part->count = (uint32_t)take(cursor, UINT32_MAX, "a count");
	}
	part->version = mask & HISTORY_PART_VERSION ? take(cursor, PLACE_MAX, "a version") : 0;
	part->expected =
		mask & HISTORY_PART_EXPECTED ? take(cursor, PLACE_MAX, "an expected version") : 0;
	part->start = mask & HISTORY_PART_START ? take(cursor, PLACE_MAX, "a start") : 0;
	part->end = mask & HISTORY_PART_END ? take(cursor, PLACE_MAX, "an end") : 0;
	part->delivery = mask & HISTORY_PART_DELIVERY ? take(cursor, PLACE_MAX, "a delivery") : 0;
	if (mask & HISTORY_PART_VALUES) {
		part->values = take_bytes(cursor, (uint64_t)part->count * 8, "the values");
	}
}

struct reader {
	struct history_part *parts;
	size_t part_capacity;
	uint64_t base_ns;
	history_op_fn *function;
	void *arg;
};

static void take_head(struct cursor *cursor, const struct reader *reader, struct history_op *op)
{
	const uint8_t *outcome;
	uint64_t zigzag, duration_ns;

	op->client = (uint32_t)take(cursor, UINT32_MAX, "a client");
	op->number = take(cursor, UINT64_MAX, "a number");
	op->attempt = (uint32_t)take(cursor, UINT32_MAX, "an attempt");
	outcome = take_bytes(cursor, 1, "an outcome");
	if (outcome != NULL && *outcome > HISTORY_UNKNOWN) {
		cursor->bad = "an unknown outcome";
	}
	op->outcome = outcome != NULL ? (enum history_outcome) * outcome : HISTORY_UNKNOWN;
	op->mask = (uint32_t)take(cursor, HISTORY_OP_KNOWN, "an unknown operation mask");
	zigzag = take(cursor, UINT64_MAX, "a time");
	op->invoke_ns = reader->base_ns + ((zigzag >> 1) ^ (0 - (zigzag & 1)));
	duration_ns = take(cursor, UINT64_MAX, "a duration");
	if (op->invoke_ns >= UINT64_MAX / 4 || duration_ns >= UINT64_MAX / 4) {
		cursor->bad = cursor->bad != NULL ? cursor->bad : "a time beyond all clocks";
		duration_ns = 0;
	}
	op->return_ns = op->invoke_ns + duration_ns;
	if (op->mask & HISTORY_OP_PRODUCER) {
		op->producer_id = take(cursor, UINT64_MAX, "a producer");
		op->producer_epoch = take(cursor, UINT64_MAX, "an epoch");
		op->producer_sequence = take(cursor, UINT64_MAX, "a sequence");
	}
	if (op->mask & HISTORY_OP_GROUP) {
		op->group = take(cursor, UINT64_MAX, "a group");
		op->generation = take(cursor, UINT64_MAX, "a generation");
	}
	if (op->mask & HISTORY_OP_TEXT) {
		uint64_t size = take(cursor, HISTORY_BLOCK_BYTES_MAX, "a text");
		const uint8_t *text = take_bytes(cursor, size, "a text");
		op->text = bytes_of(text, text != NULL ? size : 0);
	}
	if (op->mask & HISTORY_OP_STATUS) {
		op->status = -(int)take(cursor, 65535, "a status");
	}
}

static int read_record(struct reader *reader, struct cursor *record, enum history_kind kind,
	const char **ret_bad, struct error *err)
{
	struct history_op op = {.kind = kind};
	uint64_t count;

	take_head(record, reader, &op);
	count = take(record, HISTORY_PARTS_MAX, "the number of parts");
	/* A part has at least three bytes: a false count costs no memory. */
	if (count * 3 > (uint64_t)(record->end - record->at)) {
		record->bad = record->bad != NULL ? record->bad : "the number of parts";
		count = 0;
	}
	if (count > reader->part_capacity) {
		struct history_part *grown = realloc(reader->parts, count * 2 * sizeof(*grown));
		if (grown == NULL) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "no memory");
		}
		reader->parts = grown;
		reader->part_capacity = count * 2;
	}
	for (uint64_t i = 0; i < count; i++) {
		take_part(record, &reader->parts[i]);
	}
	if (record->bad == NULL && record->at != record->end) {
		record->bad = "bytes behind the last part";
	}
	*ret_bad = record->bad;
	if (record->bad != NULL) {
		return 0;
	}
	op.parts = reader->parts;
	op.part_count = (uint32_t)count;
	return reader->function(reader->arg, &op, err);
}

static int read_block(struct reader *reader, struct bytes block, uint64_t place, uint32_t records,
	struct error *err)
{
	struct cursor cursor = {block.data, block.data + block.size, NULL};

	for (uint32_t i = 0; i < records; i++) {
		uint64_t at = place + (uint64_t)(cursor.at - block.data);
		const uint8_t *kind = take_bytes(&cursor, 1, "a record");
		uint64_t size = take(&cursor, HISTORY_BLOCK_BYTES_MAX, "the size of a record");
		const uint8_t *body = take_bytes(&cursor, size, "a record");
		struct cursor record = {body, body + (body != NULL ? size : 0), NULL};
		const char *bad = cursor.bad;
		int status = 0;
		if (bad == NULL && (*kind == 0 || *kind > HISTORY_KIND_LAST)) {
			bad = "a kind of record that is not known here";
		}
		if (bad == NULL) {
			status =
				read_record(reader, &record, (enum history_kind) * kind, &bad, err);
		}
		if (status != 0) {
			return status;
		}
		if (bad != NULL) {
			return error_fail(err, ANNALS_E_CORRUPT_DATA,
				"byte %" PRIu64 ": a record of the history is malformed: %s", at,
				bad);
		}
	}
	return cursor.at == cursor.end
		       ? 0
		       : error_fail(err, ANNALS_E_CORRUPT_DATA,
				 "byte %" PRIu64
				 ": a block of the history holds more than its records",
				 place);
}

/* How far each recorder's blocks have come: few recorders, found by looking at all. */
struct recorder {
	uint64_t number;
	uint32_t next;
};
struct recorders {
	struct recorder *list;
	size_t count, capacity;
};

static int expect_sequence(struct recorders *recorders, uint64_t number, uint32_t sequence,
	uint64_t at, struct error *err)
{
	struct recorder *recorder = NULL;

	for (size_t i = recorders->count; i > 0 && recorder == NULL; i--) {
		if (recorders->list[i - 1].number == number) {
			recorder = &recorders->list[i - 1];
		}
	}
	if (recorder == NULL) {
		if (recorders->count == recorders->capacity) {
			size_t capacity = recorders->capacity * 2 + 16;
			recorder = realloc(recorders->list, capacity * sizeof(*recorder));
			if (recorder == NULL) {
				return error_fail(err, ANNALS_E_NO_MEMORY, "no memory");
			}
			recorders->list = recorder;
			recorders->capacity = capacity;
		}
		recorder = &recorders->list[recorders->count++];
		*recorder = (struct recorder){number, 0};
	}
	if (sequence != recorder->next) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"byte %" PRIu64 ": block %u of a recorder of the history follows, block %u "
			"is missing",
			at, sequence, recorder->next);
	}
	recorder->next++;
	return 0;
}

/* Checks one block's header. 1: there is only a part of the block. */
static int open_block(struct bytes left, uint64_t at, struct error *err)
{
	const uint8_t *data = left.data;
	uint32_t size;

	if (left.size < HISTORY_BLOCK_HEADER_BYTES) {
		return 1;
	}
	if (load_u32(data) != UINT32_C(0x48484e41)) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"byte %" PRIu64 ": this is not a block of a history", at);
	}
	if (load_u32(data + 44) != crc32c(0, data, 44)) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"byte %" PRIu64 ": the header of a block of the history is damaged", at);
	}
	if (load_u16(data + 4) < HISTORY_VERSION_MIN || load_u16(data + 4) > HISTORY_VERSION ||
		load_u16(data + 6) != 0 || load_u32(data + 40) != 0) {
		return error_fail(err, ANNALS_E_FORMAT_NEWER,
			"byte %" PRIu64 ": the history has format %u, this program reads %u", at,
			load_u16(data + 4), HISTORY_VERSION);
	}
	size = load_u32(data + 32);
	if (size > HISTORY_BLOCK_BYTES_MAX) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"byte %" PRIu64 ": a block of the history is too large", at);
	}
	if (size > left.size - HISTORY_BLOCK_HEADER_BYTES) {
		return 1;
	}
	if (load_u32(data + 36) != crc32c(0, data + HISTORY_BLOCK_HEADER_BYTES, size)) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"byte %" PRIu64 ": a block of the history fails its checksum", at);
	}
	return 0;
}

int history_read(struct bytes history, history_op_fn *function, void *arg,
	struct history_stats *ret_stats, struct error *err)
{
	struct reader reader = {.function = function, .arg = arg};
	struct recorders recorders = {0};
	struct history_stats stats = {0};
	uint64_t at = 0;
	int status = 0;

	while (status == 0 && at < history.size) {
		struct bytes left = bytes_of(history.data + at, history.size - at);
		status = open_block(left, at, err);
		if (status != 0) {
			break;
		}
		status = expect_sequence(
			&recorders, load_u64(left.data + 8), load_u32(left.data + 24), at, err);
		if (status == 0) {
			uint32_t size = load_u32(left.data + 32),
				 records = load_u32(left.data + 28);
			reader.base_ns = load_u64(left.data + 16);
			status = read_block(&reader,
				bytes_of(left.data + HISTORY_BLOCK_HEADER_BYTES, size),
				at + HISTORY_BLOCK_HEADER_BYTES, records, err);
			at += HISTORY_BLOCK_HEADER_BYTES + size;
			stats.blocks++;
			stats.records += records;
		}
	}
	if (status == 1) {
		stats.cut_bytes = history.size - at;
		status = 0;
	}
	stats.bytes = history.size;
	free(reader.parts);
	free(recorders.list);
	if (status == 0) {
		*ret_stats = stats;
	}
	return status;
}

static int read_all(int fd, uint8_t *data, size_t size, size_t *ret_size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = read(fd, data + done, size - done);
		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got < 0) {
			return -1;
		}
		if (got == 0) {
			break;
		}
		done += (size_t)got;
	}
	*ret_size = done;
	return 0;
}

int history_load(const char *path, uint8_t **ret_data, size_t *ret_size, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = 0;
	struct stat st;
	uint8_t *data = NULL;
	size_t size = 0;

	if (fd < 0) {
		return error_errno(err, errno == ENOENT ? ANNALS_E_NOT_FOUND : ANNALS_E_IO, errno,
			"cannot open '%s'", path);
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		status = error_fail(err, ANNALS_E_IO, "'%s' is not a file", path);
	} else if ((uint64_t)st.st_size > HISTORY_FILE_BYTES_MAX) {
		status = error_fail(err, ANNALS_E_TOO_LARGE,
			"'%s' is larger than a history may be (%" PRIu64 " bytes)", path,
			HISTORY_FILE_BYTES_MAX);
	} else if ((data = malloc((size_t)st.st_size + 1)) == NULL) {
		status = error_fail(err, ANNALS_E_NO_MEMORY, "no memory for '%s'", path);
	} else if (read_all(fd, data, (size_t)st.st_size, &size) != 0) {
		status = error_errno(err, ANNALS_E_IO, errno, "cannot read '%s'", path);
	}
	(void)close(fd);
	if (status != 0) {
		free(data);
		return status;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}
