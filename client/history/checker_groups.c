/* Consumer groups: committed offsets as registers (I11), acknowledged events (I13, I14). */
#include "checker_state.h"

#include <inttypes.h>
#include <stdlib.h>

/* One group's commits and fetches of one partition: entries [first, first + count) of `order`. */
struct pair {
	uint64_t group;
	size_t first, count;
	bool has_reset;
	uint32_t last_reset; /* in `resets`, or CHECKER_NONE */
};
/* The group was made to go to an offset; the resets of a pair are chained. */
struct reset {
	uint32_t part, before;
};
/* An event was acknowledged, or is as good as: the acknowledgements of an event are chained. */
struct settled {
	uint64_t return_ns;
	uint32_t part, before;
};
struct groups {
	struct map map;
	LIST(struct pair) pairs;
	LIST(uint32_t) parts;   /* commits and fetches */
	LIST(uint32_t) pair_of; /* of each */
	LIST(uint32_t) order;   /* parts by pair */
	LIST(struct sort_item) points;
	LIST(struct sort_item) by_offset; /* the commits of a pair: offset -> part */
	LIST(struct reset) resets;
	struct map acknowledged; /* (pair, offset) -> the last of its `settled` */
	LIST(struct settled) settled;
	struct map appends; /* (client, number) -> the append of a transaction */
	struct map outputs; /* (pair, offset) -> the append that was stored with it */
};

static void groups_release(struct groups *groups)
{
	map_release(&groups->map);
	free(groups->pairs.at);
	free(groups->parts.at);
	free(groups->pair_of.at);
	free(groups->order.at);
	free(groups->points.at);
	free(groups->by_offset.at);
	free(groups->resets.at);
	free(groups->settled.at);
	map_release(&groups->acknowledged);
	map_release(&groups->appends);
	map_release(&groups->outputs);
}

static int find_pair(struct groups *groups, uint64_t group, uint32_t log, uint32_t *ret)
{
	uint32_t *value = map_put(&groups->map, group, log);

	if (value == NULL || (*value == CHECKER_NONE && LIST_GROW(&groups->pairs) != 0)) {
		return ANNALS_E_NO_MEMORY;
	}
	if (*value == CHECKER_NONE) {
		*value = (uint32_t)groups->pairs.count;
		groups->pairs.at[groups->pairs.count++] =
			(struct pair){.group = group, .last_reset = CHECKER_NONE};
	}
	*ret = *value;
	return 0;
}

static int collect(struct checker *checker, struct groups *groups)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct op *op = op_of(checker, &checker->parts.at[i]);
		uint32_t pair;
		if ((op->kind != HISTORY_COMMIT && op->kind != HISTORY_FETCH) ||
			(op->mask & HISTORY_OP_GROUP) == 0 ||
			(op->kind == HISTORY_FETCH && op->outcome != HISTORY_DONE)) {
			continue;
		}
		if (find_pair(groups, extra_of(checker, op)->group, checker->parts.at[i].log,
			    &pair) != 0 ||
			LIST_GROW(&groups->parts) != 0 || LIST_GROW(&groups->pair_of) != 0 ||
			LIST_GROW(&groups->order) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		groups->parts.at[groups->parts.count++] = i;
		groups->pair_of.at[groups->pair_of.count++] = pair;
		groups->order.at[groups->order.count++] = 0;
		groups->pairs.at[pair].count++;
		if (op->kind == HISTORY_COMMIT && was_submitted(op) &&
			(op->mask & HISTORY_OP_RESET) != 0) {
			if (LIST_GROW(&groups->resets) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
			groups->pairs.at[pair].has_reset = true;
			groups->resets.at[groups->resets.count] =
				(struct reset){i, groups->pairs.at[pair].last_reset};
			groups->pairs.at[pair].last_reset = (uint32_t)groups->resets.count++;
		}
	}
	size_t place = 0;
	for (size_t i = 0; i < groups->pairs.count; i++) {
		groups->pairs.at[i].first = place;
		place += groups->pairs.at[i].count;
		groups->pairs.at[i].count = 0;
	}
	for (size_t i = 0; i < groups->parts.count; i++) {
		struct pair *pair = &groups->pairs.at[groups->pair_of.at[i]];
		groups->order.at[pair->first + pair->count++] = groups->parts.at[i];
	}
	return 0;
}

/* What was known of a pair at a moment. */
struct known {
	uint64_t committed;    /* the largest acknowledged */
	uint64_t newest_begin; /* of the acknowledged commit that began last */
	uint64_t fetched, generation;
	uint32_t committed_by, newest_by, fetched_by, generation_by;
};

/* The first commit of this offset in by_offset, or its end. */
static size_t lower_bound(const struct groups *groups, uint64_t offset)
{
	size_t low = 0, high = groups->by_offset.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (groups->by_offset.at[middle].key < offset) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

/* Is there a commit that wrote what was fetched, and that no later one has surely overwritten? */
static void check_source(struct checker *checker, const struct groups *groups,
	const struct known *known, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *fetch = op_of(checker, part);
	bool written = false, fresh = false;
	uint32_t writer = CHECKER_NONE;

	for (size_t i = lower_bound(groups, part->offset);
		i < groups->by_offset.count && groups->by_offset.at[i].key == part->offset &&
		!fresh;
		i++) {
		const struct op *commit =
			op_of(checker, &checker->parts.at[groups->by_offset.at[i].index]);
		if (commit->invoke_ns > fetch->return_ns) {
			continue;
		}
		written = true;
		writer = groups->by_offset.at[i].index;
		fresh = commit->outcome == HISTORY_UNKNOWN || known->newest_by == CHECKER_NONE ||
			commit->return_ns >= known->newest_begin;
	}
	if (!written) {
		checker_violation(checker, CHECKER_I11, index, CHECKER_NONE,
			"a group's offset %" PRIu64 " was fetched that nobody committed",
			part->offset);
	} else if (!fresh) {
		checker_violation(checker, CHECKER_I11, known->newest_by, index,
			"a fetch returned offset %" PRIu64
			", which had been overwritten with %" PRIu64,
			checker->parts.at[writer].offset,
			checker->parts.at[known->newest_by].offset);
	}
}

static void fetch_begins(struct checker *checker, const struct groups *groups,
	const struct pair *pair, const struct known *known, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];

	if ((part->mask & HISTORY_PART_OFFSET) == 0) {
		if (known->newest_by != CHECKER_NONE) {
			checker_violation(checker, CHECKER_I11, known->newest_by, index,
				"an acknowledged commit is lost: the group has no offset");
		}
		return;
	}
	if (!pair->has_reset && known->committed_by != CHECKER_NONE &&
		part->offset < known->committed) {
		checker_violation(checker, CHECKER_I11, known->committed_by, index,
			"a group's offset went back from the committed %" PRIu64 " to %" PRIu64,
			known->committed, part->offset);
	} else if (!pair->has_reset && known->fetched_by != CHECKER_NONE &&
		   part->offset < known->fetched) {
		checker_violation(checker, CHECKER_I11, known->fetched_by, index,
			"a group's offset went back from %" PRIu64 " to %" PRIu64, known->fetched,
			part->offset);
	} else {
		check_source(checker, groups, known, index);
	}
}

static void commit_begins(struct checker *checker, const struct known *known, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	uint64_t generation = extra_of(checker, op)->generation;

	if (op->outcome != HISTORY_DONE) {
		return;
	}
	if (generation > 0 && generation < known->generation) {
		checker_violation(checker, CHECKER_I11, known->generation_by, index,
			"a commit of generation %" PRIu64 " was accepted after one of %" PRIu64,
			generation, known->generation);
	}
	if ((op->mask & HISTORY_OP_RESET) == 0 && known->committed_by != CHECKER_NONE &&
		part->offset < known->committed) {
		checker_violation(checker, CHECKER_I11, known->committed_by, index,
			"a commit of %" PRIu64 " was accepted after one of %" PRIu64
			", and it was no reset",
			part->offset, known->committed);
	}
}

static void commit_returns(struct checker *checker, struct known *known, uint32_t index)
{
	const struct part *part = &checker->parts.at[index];
	const struct op *op = op_of(checker, part);
	const struct log *log = &checker->logs.at[part->log];
	uint64_t generation = extra_of(checker, op)->generation;

	if (op->outcome != HISTORY_DONE) {
		return;
	}
	if (log->last_claim != CHECKER_NONE && log->last_claim_ns > op->return_ns &&
		checker->parts.at[log->last_claim].end < part->offset) {
		checker_violation(checker, CHECKER_I11, index, log->last_claim,
			"a group committed offset %" PRIu64 ", but the partition ends at %" PRIu64,
			part->offset, checker->parts.at[log->last_claim].end);
	}
	if ((op->mask & HISTORY_OP_RESET) != 0 || known->committed_by == CHECKER_NONE ||
		part->offset >= known->committed) {
		known->committed = part->offset;
		known->committed_by = index;
	}
	if (known->newest_by == CHECKER_NONE || op->invoke_ns >= known->newest_begin) {
		known->newest_begin = op->invoke_ns;
		known->newest_by = index;
	}
	if (generation > known->generation) {
		known->generation = generation;
		known->generation_by = index;
	}
}

static int check_pair(struct checker *checker, struct groups *groups, const struct pair *pair)
{
	struct known known = {.committed_by = CHECKER_NONE,
		.newest_by = CHECKER_NONE,
		.fetched_by = CHECKER_NONE,
		.generation_by = CHECKER_NONE};

	groups->points.count = 0;
	groups->by_offset.count = 0;
	for (size_t i = 0; i < pair->count; i++) {
		uint32_t index = groups->order.at[pair->first + i];
		const struct op *op = op_of(checker, &checker->parts.at[index]);
		for (unsigned is_return = 0; is_return < 2; is_return++) {
			uint64_t ns = is_return ? op->return_ns : op->invoke_ns;
			if (LIST_GROW(&groups->points) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
			groups->points.at[groups->points.count++] =
				(struct sort_item){(ns - checker->first_ns) * 2 + is_return, index};
		}
		if (op->kind == HISTORY_COMMIT && was_submitted(op)) {
			if (LIST_GROW(&groups->by_offset) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
			groups->by_offset.at[groups->by_offset.count++] =
				(struct sort_item){checker->parts.at[index].offset, index};
		}
	}
	if (sort_items(groups->points.at, groups->points.count) != 0 ||
		sort_items(groups->by_offset.at, groups->by_offset.count) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	for (size_t i = 0; i < groups->points.count; i++) {
		uint32_t index = groups->points.at[i].index;
		const struct part *part = &checker->parts.at[index];
		bool is_return = (groups->points.at[i].key & 1) != 0;
		if (op_of(checker, part)->kind == HISTORY_COMMIT) {
			if (is_return) {
				commit_returns(checker, &known, index);
			} else {
				commit_begins(checker, &known, index);
			}
		} else if (!is_return) {
			fetch_begins(checker, groups, pair, &known, index);
		} else if ((part->mask & HISTORY_PART_OFFSET) != 0 &&
			   part->offset >= known.fetched) {
			known.fetched = part->offset;
			known.fetched_by = index;
		}
	}
	return 0;
}

/* The appends of transactions, to be found by their acknowledgements. */
static int collect_appends(const struct checker *checker, struct groups *groups)
{
	for (uint32_t i = 0; i < checker->ops.count; i++) {
		const struct op *op = &checker->ops.at[i];
		uint32_t *value;
		if (op->kind != HISTORY_APPEND || (op->mask & HISTORY_OP_TRANSACTION) == 0) {
			continue;
		}
		value = map_put(&groups->appends, op->client, op->number);
		if (value == NULL) {
			return ANNALS_E_NO_MEMORY;
		}
		*value = i;
	}
	return 0;
}

/* From when on an acknowledgement surely holds; UINT64_MAX if it may not. One whose outcome is
 * unknown holds once the append of its transaction was seen. */
static uint64_t settled_ns(
	const struct checker *checker, const struct groups *groups, const struct op *op)
{
	uint32_t append, by;

	if (op->outcome == HISTORY_DONE) {
		return op->return_ns;
	}
	append = (op->mask & HISTORY_OP_TRANSACTION) != 0 && op->outcome == HISTORY_UNKNOWN
			 ? map_find(&groups->appends, op->client, op->number)
			 : CHECKER_NONE;
	if (append == CHECKER_NONE || checker->ops.at[append].part_count == 0) {
		return UINT64_MAX;
	}
	uint64_t ns = checker_seen_ns(
		checker, &checker->parts.at[checker->ops.at[append].first_part], &by);
	return ns > 0 ? ns : UINT64_MAX;
}

/* I14: the event's transaction is known to be stored; so was another one's? */
static int check_output(struct checker *checker, struct groups *groups, uint32_t pair,
	uint32_t index, uint64_t offset)
{
	const struct op *op = op_of(checker, &checker->parts.at[index]);
	uint32_t append = (op->mask & HISTORY_OP_TRANSACTION) != 0
				  ? map_find(&groups->appends, op->client, op->number)
				  : CHECKER_NONE;
	uint32_t *value;

	if (append == CHECKER_NONE || groups->pairs.at[pair].has_reset) {
		return 0;
	}
	value = map_put(&groups->outputs, pair, offset);
	if (value == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	if (*value != CHECKER_NONE && *value != append) {
		checker_violation(checker, CHECKER_I14, checker->ops.at[*value].first_part,
			checker->ops.at[append].first_part,
			"offset %" PRIu64 " was handled by two transactions that are both stored",
			offset);
	}
	*value = append;
	return 0;
}

static int collect_acknowledged(struct checker *checker, struct groups *groups)
{
	for (uint32_t i = 0; i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		uint32_t pair, *value;
		uint64_t ns;
		if (op->kind != HISTORY_ACKNOWLEDGE || (op->mask & HISTORY_OP_GROUP) == 0) {
			continue;
		}
		ns = settled_ns(checker, groups, op);
		if (ns == UINT64_MAX) {
			continue;
		}
		if (find_pair(groups, extra_of(checker, op)->group, part->log, &pair) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
		for (uint32_t k = 0; k < part->count; k++) {
			value = map_put(&groups->acknowledged, pair, part->offset + k);
			if (value == NULL || LIST_GROW(&groups->settled) != 0 ||
				check_output(checker, groups, pair, i, part->offset + k) != 0) {
				return ANNALS_E_NO_MEMORY;
			}
			groups->settled.at[groups->settled.count] = (struct settled){ns, i, *value};
			*value = (uint32_t)groups->settled.count++;
		}
	}
	return 0;
}

/* May the group have been made to go back to the event between its acknowledgement and this
 * delivery? */
static bool is_excused(const struct checker *checker, const struct groups *groups, uint32_t pair,
	const struct settled *settled, const struct op *delivery, uint64_t offset)
{
	const struct op *acknowledgement = op_of(checker, &checker->parts.at[settled->part]);

	for (uint32_t at = groups->pairs.at[pair].last_reset; at != CHECKER_NONE;
		at = groups->resets.at[at].before) {
		const struct part *part = &checker->parts.at[groups->resets.at[at].part];
		const struct op *reset = op_of(checker, part);
		if (part->offset <= offset && reset->invoke_ns <= delivery->return_ns &&
			(reset->outcome == HISTORY_UNKNOWN ||
				reset->return_ns >= acknowledgement->invoke_ns)) {
			return true;
		}
	}
	return false;
}

static void check_delivery(struct checker *checker, const struct groups *groups, uint32_t pair,
	uint32_t index, uint64_t offset)
{
	const struct op *op = op_of(checker, &checker->parts.at[index]);

	for (uint32_t at = map_find(&groups->acknowledged, pair, offset); at != CHECKER_NONE;
		at = groups->settled.at[at].before) {
		const struct settled *settled = &groups->settled.at[at];
		if (settled->return_ns < op->invoke_ns &&
			!is_excused(checker, groups, pair, settled, op, offset)) {
			checker_violation(checker, CHECKER_I13, settled->part, index,
				"offset %" PRIu64 " was handed out again after it was acknowledged",
				offset);
			return;
		}
	}
}

static int check_deliveries(struct checker *checker, struct groups *groups)
{
	int status = collect_appends(checker, groups);

	if (status == 0) {
		status = collect_acknowledged(checker, groups);
	}
	for (uint32_t i = 0; status == 0 && i < checker->parts.count; i++) {
		const struct part *part = &checker->parts.at[i];
		const struct op *op = op_of(checker, part);
		uint32_t pair;
		if (op->kind != HISTORY_DELIVER || op->outcome != HISTORY_DONE ||
			(op->mask & HISTORY_OP_GROUP) == 0) {
			continue;
		}
		status = find_pair(groups, extra_of(checker, op)->group, part->log, &pair);
		for (uint32_t k = 0; status == 0 && k < part->count; k++) {
			check_delivery(checker, groups, pair, i, part->offset + k);
		}
	}
	return status;
}

int checker_groups(struct checker *checker)
{
	struct groups groups = {0};
	int status = collect(checker, &groups);

	for (size_t i = 0; status == 0 && i < groups.pairs.count; i++) {
		status = check_pair(checker, &groups, &groups.pairs.at[i]);
	}
	if (status == 0) {
		status = check_deliveries(checker, &groups);
	}
	groups_release(&groups);
	return status;
}
