/*
 * Who appended what was read: the events that no acknowledgement explains are looked up among the
 * appends whose outcome is not known, and then among all. Healthy histories have few of them.
 */
#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

/* value -> which event of which append. */
struct source {
	uint32_t part, index;
};
struct sources {
	struct map map;
	LIST(struct source) list;
};

static int add_source(const struct checker *checker, struct sources *sources, uint32_t part_index)
{
	const struct part *part = &checker->parts.at[part_index];
	const struct op *op = op_of(checker, part);
	bool submitted = op->outcome == HISTORY_DONE || op->outcome == HISTORY_UNKNOWN;

	for (uint32_t i = 0; part->values != NULL && i < part->count; i++) {
		uint32_t *value = map_put(&sources->map, value_of(part->values, i), 0);
		if (value == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		if (*value == CHECKER_NONE) {
			if (LIST_GROW(&sources->list) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
			*value = (uint32_t)sources->list.count;
			sources->list.at[sources->list.count++] = (struct source){part_index, i};
		} else if (submitted) {
			/* An attempt that may have stored it explains it better than a refused one,
			 * an earlier attempt better than a later. */
			struct source *known = &sources->list.at[*value];
			const struct op *other = op_of(checker, &checker->parts.at[known->part]);
			if (other->outcome == HISTORY_REFUSED ||
				other->outcome == HISTORY_CONFLICT) {
				*known = (struct source){part_index, i};
			}
		}
	}
	return 0;
}

static int add_sources(const struct checker *checker, struct sources *sources, bool acknowledged)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		if (op->kind == HISTORY_APPEND &&
			(op->outcome == HISTORY_DONE && part->place != PLACE_NONE) ==
				acknowledged) {
			int status = add_source(checker, sources, i);
			if (status != 0) {
				return status;
			}
		}
	}
	return 0;
}

static void sources_release(struct sources *sources)
{
	map_release(&sources->map);
	free(sources->list.at);
}

static bool belongs(const struct checker *checker, const struct part *part, const struct log *log)
{
	const struct log *own = &checker->logs.at[part->log];

	if (own->topic != log->topic) {
		return false;
	}
	if (log->is_stream) {
		return part->stream_log != CHECKER_NONE &&
		       &checker->logs.at[part->stream_log] == log;
	}
	return own == log || own->partition == HISTORY_NO_PARTITION;
}

/* Appends to one list what is known of where an append lies. */
static int add_occurrence(
	struct checker *checker, uint32_t part_index, uint32_t log, uint64_t offset)
{
	struct part *part = &checker->parts.at[part_index];

	if (checker->logs.at[log].is_stream) {
		part->version_place =
			part->version_place == PLACE_NONE ? offset : part->version_place;
		return 0;
	}
	part->place = part->place == PLACE_NONE ? offset : part->place;
	if (LIST_GROW(&checker->occurrences) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	checker->occurrences.at[checker->occurrences.count++] =
		(struct occurrence){offset, part_index, log};
	return 0;
}

struct walk {
	struct checker *checker;
	struct sources unknown, acknowledged;
	bool all_added;
	uint32_t log;
};

static int find_source(struct walk *walk, uint64_t value, struct source *ret)
{
	uint32_t at = map_find(&walk->unknown.map, value, 0);
	const struct sources *from = &walk->unknown;

	if (at == CHECKER_NONE && !walk->all_added) {
		int status = add_sources(walk->checker, &walk->acknowledged, true);
		if (status != 0) {
			return status;
		}
		walk->all_added = true;
	}
	if (at == CHECKER_NONE) {
		at = map_find(&walk->acknowledged.map, value, 0);
		from = &walk->acknowledged;
	}
	*ret = at != CHECKER_NONE ? from->list.at[at] : (struct source){CHECKER_NONE, 0};
	return 0;
}

/* I6. False: this event is explained. */
static bool report_unsubmitted(
	struct walk *walk, const struct slot *slot, struct source source, uint64_t offset)
{
	struct checker *checker = walk->checker;
	const struct log *log = &checker->logs.at[walk->log];
	const char *place = log->is_stream ? "version" : "offset";
	const struct part *part, *seen = &checker->parts.at[slot->witness];
	const struct op *op;

	if (source.part == CHECKER_NONE) {
		checker_violation(checker, CHECKER_I6, slot->witness, CHECKER_NONE,
			"the event read at %s %" PRIu64 " was never submitted by anyone", place,
			offset);
		return true;
	}
	part = &checker->parts.at[source.part];
	op = op_of(checker, part);
	if (!belongs(checker, part, log)) {
		checker_violation(checker, CHECKER_I6, source.part, slot->witness,
			"the event read at %s %" PRIu64 " was submitted to another place", place,
			offset);
		return true;
	}
	if (op->outcome == HISTORY_CONFLICT || op->outcome == HISTORY_REFUSED) {
		checker_violation(checker, CHECKER_I6, source.part, slot->witness,
			"the event read at %s %" PRIu64 " was refused when it was submitted", place,
			offset);
		return true;
	}
	if (checker->requests.at[op->request].first_invoke_ns > op_of(checker, seen)->return_ns) {
		checker_violation(checker, CHECKER_I6, source.part, slot->witness,
			"the event at %s %" PRIu64 " was read before it was submitted", place,
			offset);
		return true;
	}
	return false;
}

/*
 * I7: from the slot on, the rest of the append's events follow. Returns how many slots were
 * explained, at least 1.
 */
static size_t follow(struct walk *walk, const struct segment *segment, size_t at,
	struct source source, bool *ret_whole)
{
	struct checker *checker = walk->checker;
	struct slot *slots = checker->slots.at + segment->first_slot;
	const struct part *part = &checker->parts.at[source.part];
	const char *place = checker->logs.at[walk->log].is_stream ? "version" : "offset";
	size_t used = 0;

	*ret_whole = source.index == 0;
	if (source.index > 0 && at > 0) {
		checker_violation(checker, CHECKER_I7, source.part, slots[at].witness,
			"event %u of %u of a request is at %s %" PRIu64
			", the one before it is not in front of it",
			source.index + 1, part->count, place, segment->offset + at);
	}
	while (source.index + used < part->count && at + used < segment->count) {
		struct slot *slot = &slots[at + used];
		if (slot->owner != CHECKER_NONE ||
			slot->value != value_of(part->values, source.index + used)) {
			checker_violation(checker, CHECKER_I7, source.part,
				slot->witness != CHECKER_NONE ? slot->witness : slot->owner,
				"a request of %u events is torn: %s %" PRIu64
				" holds another event",
				part->count, place, segment->offset + at + used);
			*ret_whole = false;
			break;
		}
		slot->owner = source.part;
		used++;
	}
	return used;
}

static int attribute_segment(struct walk *walk, const struct segment *segment)
{
	struct checker *checker = walk->checker;
	size_t at = 0;

	while (at < segment->count) {
		const struct slot *slot = &checker->slots.at[segment->first_slot + at];
		struct source source;
		bool whole;
		int status;
		if (slot->owner != CHECKER_NONE) {
			at++;
			continue;
		}
		status = find_source(walk, slot->value, &source);
		if (status != 0) {
			return status;
		}
		if (report_unsubmitted(walk, slot, source, segment->offset + at)) {
			at++;
			continue;
		}
		size_t used = follow(walk, segment, at, source, &whole);
		if (whole) {
			status = add_occurrence(
				checker, source.part, walk->log, segment->offset + at);
		}
		if (status != 0) {
			return status;
		}
		at += used > 0 ? used : 1;
	}
	return 0;
}

/* Acknowledged appends of several attempts count as well. */
static int add_acknowledged(struct checker *checker)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		if (op->kind != HISTORY_APPEND || op->outcome != HISTORY_DONE ||
			part->place == PLACE_NONE) {
			continue;
		}
		if (LIST_GROW(&checker->occurrences) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		checker->occurrences.at[checker->occurrences.count++] =
			(struct occurrence){part->place, i, part->log};
	}
	return 0;
}

/* An append's first value stands for the event that all its attempts would store. */
static uint64_t identity(const struct checker *checker, const struct occurrence *occurrence)
{
	const struct part *part = &checker->parts.at[occurrence->part];
	return part->values != NULL && part->count > 0 ? value_of(part->values, 0) : 0;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct checker *checker = arg;
	const struct occurrence *left = a, *right = b;
	uint32_t left_request = op_of(checker, &checker->parts.at[left->part])->request;
	uint32_t right_request = op_of(checker, &checker->parts.at[right->part])->request;
	uint64_t left_identity = identity(checker, left), right_identity = identity(checker, right);

	if (left_request != right_request) {
		return left_request < right_request ? -1 : 1;
	}
	if (left_identity != right_identity) {
		return left_identity < right_identity ? -1 : 1;
	}
	if (left->log != right->log) {
		return left->log < right->log ? -1 : 1;
	}
	return (left->offset > right->offset) - (left->offset < right->offset);
}

/* I5: the places of each request's events, counted. */
static int check_occurrences(struct checker *checker)
{
	size_t kept = 0;
	uint32_t places = 1;

	/* A request that was sent once and occurs once needs no sorting. */
	uint32_t *seen = calloc(checker->requests.count + 1, sizeof(*seen));
	if (seen == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < checker->occurrences.count; i++) {
		seen[op_of(checker, &checker->parts.at[checker->occurrences.at[i].part])
				->request]++;
	}
	for (size_t i = 0; i < checker->occurrences.count; i++) {
		const struct occurrence *one = &checker->occurrences.at[i];
		if (seen[op_of(checker, &checker->parts.at[one->part])->request] > 1) {
			checker->occurrences.at[kept++] = *one;
		}
	}
	free(seen);
	if (kept < 2) {
		return 0;
	}
	qsort_r(checker->occurrences.at, kept, sizeof(*checker->occurrences.at), compare, checker);
	for (size_t i = 1; i < kept; i++) {
		const struct occurrence *one = &checker->occurrences.at[i], *before = one - 1;
		const struct op *op = op_of(checker, &checker->parts.at[one->part]);
		const struct request *request = &checker->requests.at[op->request];
		if (op->request != op_of(checker, &checker->parts.at[before->part])->request ||
			identity(checker, one) != identity(checker, before)) {
			places = 1;
			continue;
		}
		if (one->log == before->log && one->offset == before->offset) {
			continue;
		}
		if (++places > (request->idempotent ? 1 : request->submitted)) {
			checker_violation(checker, CHECKER_I5, before->part, one->part,
				"%s is stored at offset %" PRIu64 " and again at offset %" PRIu64,
				request->idempotent ? "an idempotent append"
						    : "an append that was not sent so often",
				before->offset, one->offset);
		}
	}
	return 0;
}

int checker_attribute(struct checker *checker)
{
	struct walk walk = {.checker = checker};
	int status = add_sources(checker, &walk.unknown, false);

	for (uint32_t i = 0; status == 0 && i < checker->logs.count; i++) {
		const struct log *log = &checker->logs.at[i];
		walk.log = i;
		for (size_t k = 0; status == 0 && k < log->segment_count; k++) {
			status = attribute_segment(
				&walk, &checker->segments.at[log->first_segment + k]);
		}
	}
	sources_release(&walk.unknown);
	sources_release(&walk.acknowledged);
	if (status == 0) {
		status = add_acknowledged(checker);
	}
	return status == 0 ? check_occurrences(checker) : status;
}
