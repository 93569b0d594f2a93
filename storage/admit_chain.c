/*
 * Admission of several appends as one: to several topics, all or nothing.
 *
 * Each is checked like an append that comes alone, and answers into a queue of the chain's own,
 * which says what became of it: refused, stored before, or to be placed. Only then is anything
 * placed, of all of them.
 */
#include "admission.h"
#include "completion.h"
#include "facts.h"

#include <annals/fault.h>
#include <stdlib.h>

struct chain {
	struct shard *shard;
	struct append_request *first;
	struct completion_queue *owner; /* where the first comes back */
	struct completion_queue answers;
	struct admission *members;
	uint32_t count, begun, stored_count;
};

/* The answer of the only one who can have answered; false when there is none. */
static bool take_answer(struct chain *chain)
{
	struct list_node answers;

	list_init(&answers);
	completion_queue_take(&chain->answers, &answers);
	return list_pop(&answers) != NULL;
}

static void answer(struct chain *chain)
{
	chain->first->base.queue = chain->owner;
	completion_push(&chain->first->base);
}

/* The whole is refused for what one of it was. */
static void refuse_for(struct chain *chain, struct append_request *request)
{
	struct append_request *first = chain->first;

	first->refused = request;
	first->base.status = request->base.status;
	if (request != first) {
		first->base.error = request->base.error;
	}
	answer(chain);
}

static void refuse(struct chain *chain, int status, const char *text)
{
	chain->first->base.status = status;
	(void)error_fail(&chain->first->base.error, status, "%s", text);
	answer(chain);
}

/* False: the chain was answered. */
static bool begin(struct chain *chain)
{
	struct append_request *request = chain->first;
	uint64_t bytes = 0;

	for (; request != NULL; request = request->next, chain->begun++) {
		struct admission *member = &chain->members[chain->begun];
		request->base.queue = &chain->answers;
		list_init(&request->base.node);
		if (!admission_begin(member, chain->shard, request)) {
			chain->begun++;
			(void)take_answer(chain);
			facts_drop(request->next);
			refuse_for(chain, request);
			return false;
		}
		for (uint32_t i = 0; i < chain->begun; i++) {
			if (chain->members[i].state == member->state) {
				chain->begun++;
				facts_drop(request->next);
				refuse(chain, ANNALS_E_INVALID,
					"a topic comes twice in one commit");
				return false;
			}
		}
		for (size_t i = 0; i < request->part_count; i++) {
			bytes += request->parts[i].body.size;
		}
	}
	if (bytes > chain->shard->options.block_bytes_max) {
		refuse(chain, ANNALS_E_TOO_LARGE,
			"the appends of a commit have more bytes together than one may have");
		return false;
	}
	return true;
}

static bool is_stored(const struct chain *chain, uint32_t index)
{
	return chain->members[index].stored_by != STORED_BY_NOTHING;
}

static bool has_conditions(const struct chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++) {
		const struct append_request *request = chain->members[i].request;
		if (request->stream_condition_count > 0 || request->query != NULL) {
			return true;
		}
	}
	return false;
}

/* Some events of one that is refused for them: the first that is there. */
static void name_known(const struct admission *member)
{
	struct append_request *request = member->request;
	uint32_t event = 0;

	while (member->known_count > 0 && !member->known[event].known) {
		event++;
	}
	request->conflict_part = 0;
	while (event >= request->parts[request->conflict_part].summary.count) {
		event -= request->parts[request->conflict_part++].summary.count;
	}
	request->conflict_event = event;
}

static enum admission_step check_repeats(struct chain *chain)
{
	for (uint32_t i = 0; i < chain->count && has_conditions(chain); i++) {
		if (is_stored(chain, i) || chain->members[i].known_count > 0) {
			struct append_request *request = chain->members[i].request;
			name_known(&chain->members[i]);
			request->base.status =
				error_fail(&request->base.error, ANNALS_E_PARTIAL_DUPLICATE,
					"some events are stored already, others are not");
			refuse_for(chain, request);
			return ADMISSION_ANSWERED;
		}
	}
	return ADMISSION_GO_ON;
}

/* What was stored in one commit cannot be there by halves: with a topic that was made anew since,
 * or without a producer's sequence in every append, a repeat would store the other half again. */
static enum admission_step check_halves(struct chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++) {
		struct append_request *request = chain->members[i].request;
		const enum stored_by by = chain->members[i].stored_by;
		if (by != STORED_BY_RECEIPT && by != STORED_BY_SEQUENCE) {
			continue;
		}
		request->base.status =
			by == STORED_BY_RECEIPT
				? error_fail(&request->base.error, ANNALS_E_IDEMPOTENCY,
					  "the Idempotency-Key was used for another "
					  "request: not all of its topics are these")
				: error_fail(&request->base.error, ANNALS_E_SEQUENCE,
					  "the batches of one topic were stored "
					  "before, those of another were not");
		refuse_for(chain, request);
		return ADMISSION_ANSWERED;
	}
	return ADMISSION_GO_ON;
}

static enum admission_step answer_stored(struct chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++) {
		chain->members[i].request->replayed = true;
	}
	chain->first->base.status = 0;
	answer(chain);
	return ADMISSION_ANSWERED;
}

/* The rows come with the first, and are looked at with it unless it was stored before. */
static enum admission_step check_rows(struct chain *chain)
{
	struct append_request *first = chain->first;
	int status;

	if (!is_stored(chain, 0) || first->row_count == 0) {
		return ADMISSION_GO_ON;
	}
	status = admit_rows_check(
		chain->shard, &first->base, first->rows, first->row_count, &first->conflict_row);
	if (status != 0) {
		first->base.status = status;
		refuse_for(chain, first);
		return ADMISSION_ANSWERED;
	}
	return ADMISSION_GO_ON;
}

static enum admission_step check(struct chain *chain)
{
	chain->stored_count = 0;
	for (uint32_t i = 0; i < chain->count; i++) {
		struct admission *member = &chain->members[i];
		enum admission_step step;
		admission_forget(member);
		append_request_release(member->request);
		member->request->replayed = false;
		step = admission_check(member);
		index_view_release(&member->view);
		if (step == ADMISSION_AGAIN) {
			return step;
		}
		if (step == ADMISSION_ANSWERED) {
			(void)take_answer(chain);
			if (member->request->base.status != 0) {
				refuse_for(chain, member->request);
				return step;
			}
			chain->stored_count++;
		}
	}
	if (chain->stored_count == chain->count) {
		return answer_stored(chain);
	}
	if (check_halves(chain) == ADMISSION_ANSWERED ||
		check_repeats(chain) == ADMISSION_ANSWERED) {
		return ADMISSION_ANSWERED;
	}
	return check_rows(chain);
}

static uint64_t bytes_of_chain(const struct chain *chain)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < chain->count; i++) {
		bytes += admission_bytes(&chain->members[i]);
	}
	return bytes;
}

/* As for one append: what was checked holds for the draft as it was. */
static bool check_and_open(struct chain *chain)
{
	struct draft *draft = &chain->shard->draft;

	for (;;) {
		uint64_t generation = draft->generation;
		enum admission_step step = check(chain);
		if (step == ADMISSION_ANSWERED) {
			return false;
		}
		if (step == ADMISSION_AGAIN) {
			continue;
		}
		if (!admit_open_draft(chain->shard, &chain->first->base, bytes_of_chain(chain))) {
			(void)take_answer(chain);
			answer(chain);
			return false;
		}
		if (draft->generation == generation) {
			return true;
		}
	}
}

/* Those that were stored before too: their receipts must not be missing when a repeat comes after
 * their ids were forgotten, and rows come with the first. */
static int place(struct chain *chain)
{
	struct admission *members[APPEND_TOPICS_MAX];
	int status;

	for (uint32_t i = 0; i < chain->count; i++) {
		members[i] = &chain->members[i];
	}
	ANNALS_FAULT("chain.before_place");
	status = admission_place(members, chain->count);
	ANNALS_FAULT("chain.after_place");
	return status;
}

static enum durability durability_of(const struct chain *chain)
{
	for (uint32_t i = 0; i < chain->count; i++) {
		const struct admission *member = &chain->members[i];
		enum durability durability = member->request->durability;
		if (durability == DURABILITY_DEFAULT) {
			durability = member->state->topic->config.durability;
		}
		if (durability != DURABILITY_OS) {
			return DURABILITY_FSYNC;
		}
	}
	return DURABILITY_OS;
}

static void admit(struct chain *chain)
{
	struct draft *draft = &chain->shard->draft;
	enum durability durability;

	if (!begin(chain) || !check_and_open(chain)) {
		return;
	}
	if (place(chain) != 0) {
		refuse(chain, ANNALS_E_NO_MEMORY, "no memory to admit appends to several topics");
		return;
	}
	durability = durability_of(chain);
	for (uint32_t i = 0; i < chain->count; i++) {
		if (!is_stored(chain, i)) {
			chain->members[i].request->recorded_us = draft->time_us;
		}
		chain->members[i].request->durability = durability;
	}
	chain->first->replayed = false;
	draft->any_os |= durability == DURABILITY_OS;
	chain->first->base.status = 0;
	chain->first->base.queue = chain->owner;
	chain->shard->counters.append_requests++;
	list_add_tail(&draft->requests, &chain->first->base.node);
}

void admit_chain(struct shard *shard, struct append_request *first)
{
	struct chain chain = {.shard = shard, .first = first, .owner = first->base.queue};

	for (struct append_request *request = first; request != NULL; request = request->next) {
		chain.count++;
	}
	completion_queue_init(&chain.answers, NULL, NULL);
	chain.members = calloc(chain.count, sizeof(*chain.members));
	if (chain.members == NULL) {
		facts_drop(first);
		admit_refuse(&first->base, ANNALS_E_NO_MEMORY, "no memory for a commit");
	} else {
		admit(&chain);
	}
	/* From here on the requests are their owner's, but for what was taken from them. */
	for (uint32_t i = 0; i < chain.begun; i++) {
		admission_end(&chain.members[i]);
	}
	free(chain.members);
	completion_queue_release(&chain.answers);
}
