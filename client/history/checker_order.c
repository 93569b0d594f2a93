/* Orders that belong to someone: a reader's session, a producer's sequence, a stream's versions. */
#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

/* Where a session stands in a log: the next place, or for backward sessions the last. */
struct position {
	uint64_t place;
	uint32_t part, op;
};
struct sessions {
	struct map numbers, places;
	uint32_t next_number;
	LIST(struct position) positions;
};

static int find_position(struct sessions *sessions, uint32_t session, uint32_t log,
	struct position **ret_position, bool *ret_new)
{
	uint32_t *value = map_put(&sessions->places, session, log);

	if (value == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	*ret_new = *value == CHECKER_NONE;
	if (*ret_new) {
		if (LIST_GROW(&sessions->positions) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		*value = (uint32_t)sessions->positions.count;
		sessions->positions.at[sessions->positions.count++] =
			(struct position){0, CHECKER_NONE, CHECKER_NONE};
	}
	*ret_position = &sessions->positions.at[*value];
	return 0;
}

static void report_jump(struct checker *checker, const struct position *position, uint32_t index,
	uint32_t op, uint64_t place)
{
	bool same_answer = position->op == op;
	const struct log *log = &checker->logs.at[checker->parts.at[index].log];

	(void)log;
	checker_violation(checker, same_answer ? CHECKER_I3 : CHECKER_I10, position->part, index,
		same_answer ? "one answer goes from %" PRIu64 " to %" PRIu64 ": offsets are %s"
			    : "a reader that stood at %" PRIu64 " was given %" PRIu64 ": events %s",
		position->place, place,
		place > position->place ? (same_answer ? "missing" : "were skipped")
					: (same_answer ? "repeated" : "came again"));
}

static int follow_read(
	struct checker *checker, struct sessions *sessions, uint32_t op_index, uint32_t session)
{
	const struct op *op = &checker->ops.at[op_index];
	bool backward = (op->mask & HISTORY_OP_BACKWARD) != 0;

	for (uint32_t i = 0; i < op->part_count; i++) {
		uint32_t index = op->first_part + i;
		const struct part *part = &checker->parts.at[index];
		struct position *position;
		uint64_t place;
		uint32_t log = subject_of(part, &place);
		bool is_new, same_answer;
		int status;
		if ((part->mask & (HISTORY_PART_OFFSET | HISTORY_PART_VERSION)) == 0) {
			continue;
		}
		status = find_position(sessions, session, log, &position, &is_new);
		if (status != 0) {
			return status;
		}
		same_answer = position->op == op_index;
		bool free_to_move = is_new || (!same_answer && (op->mask & HISTORY_OP_SEEK) != 0);
		/* Retention overtook the reader, and the answer said so. */
		bool overtaken = (part->mask & HISTORY_PART_START) != 0 && place == part->start &&
				 place > position->place;
		if (backward && !same_answer) {
			if (!free_to_move && place + part->count != position->place) {
				report_jump(
					checker, position, index, op_index, place + part->count);
			}
			*position = (struct position){place, index, op_index};
			continue;
		}
		if (!free_to_move && !overtaken && place != position->place) {
			report_jump(checker, position, index, op_index, place);
		}
		*position = (struct position){place + part->count, index, op_index};
	}
	return 0;
}

static int check_sessions(struct checker *checker)
{
	struct sessions sessions = {0};
	int status = 0;

	for (uint32_t i = 0; status == 0 && i < checker->ops.count; i++) {
		const struct op *op = &checker->ops.at[i];
		uint32_t *session;
		if (op->kind != HISTORY_READ || op->outcome != HISTORY_DONE) {
			continue;
		}
		session = map_put(&sessions.numbers, op->client, op->number);
		if (session == NULL) {
			status = ANNALS_E_NO_MEMORY;
			break;
		}
		if (*session == CHECKER_NONE) {
			*session = sessions.next_number++;
		}
		status = follow_read(checker, &sessions, i, *session);
	}
	map_release(&sessions.numbers);
	map_release(&sessions.places);
	free(sessions.positions.at);
	return status;
}

struct producer_state {
	uint64_t epoch, sequence, place;
	uint64_t epoch_place; /* the lowest of the epoch */
	uint32_t part, epoch_part;
};

/* An epoch begins when the one before it may not write any more, so everything of an earlier one
 * lies in front of it. */
static void check_fenced(struct checker *checker, const struct producer_state *before,
	const struct producer_state *now)
{
	if (now->place > before->epoch_place) {
		checker_violation(checker, CHECKER_I4, before->epoch_part, now->part,
			"an append of epoch %" PRIu64 " lies at offset %" PRIu64
			", behind one of epoch %" PRIu64 " at offset %" PRIu64
			": the producer was fenced",
			now->epoch, now->place, before->epoch, before->epoch_place);
	}
}

/* I4. A producer works one request after another, so the history has its sequences in order. */
static int check_producers(struct checker *checker)
{
	struct map map = {0};
	LIST(struct producer_state) states = {0};
	int status = 0;

	for (uint32_t i = 0; status == 0 && i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		const struct op_extra *extra = extra_of(checker, op);
		uint32_t *value;
		if (op->kind != HISTORY_APPEND || (op->mask & HISTORY_OP_PRODUCER) == 0 ||
			part->place == PLACE_NONE) {
			continue;
		}
		value = map_put(&map, extra->producer_id, part->log);
		if (value == NULL || (*value == CHECKER_NONE && LIST_GROW(&states) != 0)) {
			status = ANNALS_E_NO_MEMORY;
			break;
		}
		struct producer_state now = {.epoch = extra->producer_epoch,
			.sequence = extra->producer_sequence,
			.place = part->place,
			.epoch_place = part->place,
			.part = i,
			.epoch_part = i};
		if (*value == CHECKER_NONE) {
			*value = (uint32_t)states.count;
			states.at[states.count++] = now;
			continue;
		}
		struct producer_state *before = &states.at[*value];
		bool later = now.epoch > before->epoch ||
			     (now.epoch == before->epoch && now.sequence > before->sequence);
		if (!later) {
			if (now.epoch < before->epoch) {
				check_fenced(checker, before, &now);
			} else if (now.place < before->epoch_place) {
				before->epoch_place = now.place;
				before->epoch_part = i;
			}
			continue;
		}
		if (now.place <= before->place) {
			checker_violation(checker, CHECKER_I4, before->part, i,
				"sequence %" PRIu64 " lies at offset %" PRIu64
				", behind sequence %" PRIu64 " at offset %" PRIu64,
				before->sequence, before->place, now.sequence, now.place);
		}
		if (now.epoch == before->epoch && before->epoch_place < now.place) {
			now.epoch_place = before->epoch_place;
			now.epoch_part = before->epoch_part;
		}
		*before = now;
	}
	map_release(&map);
	free(states.at);
	return status;
}

int checker_sessions(struct checker *checker)
{
	int status = check_sessions(checker);

	return status == 0 ? check_producers(checker) : status;
}

/* A conditional append's answer against its condition. */
static void check_condition(struct checker *checker, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	const struct log *stream;
	bool expects = (part->mask & HISTORY_PART_EXPECTED) != 0;
	bool exists = (part->mask & HISTORY_PART_EXISTS) != 0;

	if (part->stream_log == CHECKER_NONE) {
		return;
	}
	stream = &checker->logs.at[part->stream_log];
	if (was_submitted(op) && part->version_place != PLACE_NONE) {
		if (expects && part->version_place != part->expected) {
			checker_violation(checker, CHECKER_I9, index, CHECKER_NONE,
				"an append that expected the next version %" PRIu64
				" was stored at %" PRIu64,
				part->expected, part->version_place);
		}
		if (exists && part->version_place == 0) {
			checker_violation(checker, CHECKER_I9, index, CHECKER_NONE,
				"an append that expected the stream to exist began it");
		}
	}
	if (op->outcome != HISTORY_CONFLICT || (part->mask & HISTORY_PART_VERSION) == 0) {
		return;
	}
	if ((expects && part->version == part->expected) || (exists && part->version > 0)) {
		checker_violation(checker, CHECKER_I9, index, CHECKER_NONE,
			"an append was refused although the stream was as it expected, at the "
			"next version %" PRIu64,
			part->version);
	}
	if (part->version > stream->largest_end + stream->unresolved) {
		checker_violation(checker, CHECKER_I9, index, CHECKER_NONE,
			"a conflict named the next version %" PRIu64
			", but the stream never had more than %" PRIu64 " events",
			part->version, stream->largest_end + stream->unresolved);
	}
}

/* What was sent more than once may lie in two places: then it is not known which version belongs to
 * which offset. */
static bool is_ambiguous(const struct checker *checker, uint32_t part)
{
	const struct op *op = op_of(checker, &checker->parts.at[part]);
	const struct request *request = &checker->requests.at[op->request];

	return !request->idempotent && request->submitted > 1 && op->outcome != HISTORY_DONE;
}

/* Versions and offsets of a stream rise together. */
static void check_stream_order(struct checker *checker, const struct log *log)
{
	uint32_t before = CHECKER_NONE;

	for (size_t k = 0; k < log->segment_count; k++) {
		const struct segment *segment = &checker->segments.at[log->first_segment + k];
		for (size_t i = 0; i < segment->count; i++) {
			uint32_t owner = checker->slots.at[segment->first_slot + i].owner;
			if (owner == CHECKER_NONE || owner == before ||
				checker->parts.at[owner].place == PLACE_NONE ||
				is_ambiguous(checker, owner)) {
				continue;
			}
			if (before != CHECKER_NONE &&
				checker->parts.at[before].log == checker->parts.at[owner].log &&
				checker->parts.at[before].place > checker->parts.at[owner].place) {
				checker_violation(checker, CHECKER_I9, before, owner,
					"version %" PRIu64 " of a stream lies at offset %" PRIu64
					", behind a later version's %" PRIu64,
					checker->parts.at[before].version_place,
					checker->parts.at[before].place,
					checker->parts.at[owner].place);
			}
			before = owner;
		}
	}
}

int checker_conditions(struct checker *checker)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		if (op_of(checker, &checker->parts.at[i])->kind == HISTORY_APPEND) {
			check_condition(checker, i);
		}
	}
	for (size_t i = 0; i < checker->logs.count; i++) {
		if (checker->logs.at[i].is_stream) {
			check_stream_order(checker, &checker->logs.at[i]);
		}
	}
	return 0;
}

bool checker_is_fully_known(const struct checker *checker, const struct log *log)
{
	const struct segment *segment = &checker->segments.at[log->first_segment];
	uint64_t end;

	if (log->last_claim == CHECKER_NONE) {
		return false;
	}
	end = checker->parts.at[log->last_claim].end;
	if (end == log->known_start) {
		return true;
	}
	return log->segment_count == 1 && segment->offset <= log->known_start &&
	       segment->offset + segment->count >= end;
}

uint64_t checker_seen_ns(const struct checker *checker, const struct part *part, uint32_t *ret_by)
{
	const struct slot *slot =
		part->place != PLACE_NONE ? checker_slot(checker, part->log, part->place) : NULL;

	if (slot == NULL || slot->witness == CHECKER_NONE) {
		return 0;
	}
	*ret_by = slot->witness;
	return op_of(checker, &checker->parts.at[slot->witness])->return_ns;
}

int checker_atomicity(struct checker *checker)
{
	for (uint32_t i = 0; i < checker->ops.count; i++) {
		const struct op *op = &checker->ops.at[i];
		uint32_t by = CHECKER_NONE, found = CHECKER_NONE;
		uint64_t ns = 0;
		if (op->kind != HISTORY_APPEND || op->outcome != HISTORY_UNKNOWN) {
			continue;
		}
		for (uint32_t k = 0; k < op->part_count && ns == 0; k++) {
			found = op->first_part + k;
			ns = checker_seen_ns(checker, &checker->parts.at[found], &by);
		}
		for (uint32_t k = 0; k < op->part_count && ns != 0; k++) {
			const struct part *part = &checker->parts.at[op->first_part + k];
			const struct log *log = &checker->logs.at[part->log];
			if (part->values == NULL || part->count == 0 ||
				log->partition == HISTORY_NO_PARTITION ||
				log->last_claim == CHECKER_NONE || log->last_claim_ns <= ns) {
				continue;
			}
			uint64_t end = checker->parts.at[log->last_claim].end;
			if (part->place != PLACE_NONE && part->place + part->count > end) {
				checker_violation(checker, CHECKER_I7, op->first_part + k,
					log->last_claim,
					"only the first %" PRIu64
					" of a request's %u events are stored",
					end > part->place ? end - part->place : 0, part->count);
			} else if (part->place == PLACE_NONE &&
				   checker_is_fully_known(checker, log)) {
				checker_violation(checker, CHECKER_I7, found, log->last_claim,
					"a request is stored in one partition and missing in "
					"another");
			}
		}
	}
	return 0;
}
