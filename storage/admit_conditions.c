/* Conditions of an append: on streams, and over a query. */
#include "admission.h"
#include "rows.h"

#include <annals/fault.h>

/* A condition must not make the writer look at more events than this. */
#define QUERY_CANDIDATES_MAX 100000u
#define CANDIDATES_AT_ONCE 256u

int admission_next_version(
	struct admission *admission, struct index_hash key, uint64_t *ret_next, bool *ret_drafted)
{
	struct index_hash mixed = {key.high ^ admission->state->id, key.low};
	const struct index_entry *drafted =
		memtable_newest(&admission->shard->draft.staged_streams, mixed);
	struct index_entry entry;
	int found;

	if (ANNALS_MUTATION("overlook_drafted_versions")) {
		drafted = NULL;
	}
	*ret_drafted = drafted != NULL;
	if (drafted != NULL) {
		*ret_next = drafted->order + 1;
		return 0;
	}
	found = index_newest(
		&admission->view, INDEX_STREAM, key, &entry, &admission->request->base.error);
	*ret_next = found == 1 ? entry.order + 1 : 0;
	return found < 0 ? found : 0;
}

static enum admission_step check_stream(struct admission *admission, uint32_t index)
{
	struct append_request *request = admission->request;
	const struct stream_condition *condition = &request->stream_conditions[index];
	uint64_t next;
	bool drafted, holds = true;
	int status;

	if (condition->incarnation != 0 && condition->incarnation != admission->state->id) {
		return admission_refuse(admission, ANNALS_E_TOPIC_RECREATED,
			"the stream was of incarnation %u: topic '%s' was created again since",
			condition->incarnation, admission->state->topic->name);
	}
	status = admission_next_version(
		admission, admission->facts->conditions[index], &next, &drafted);
	if (status != 0) {
		return admission_refuse(admission, status, "%s", request->base.error.text);
	}
	switch (condition->expect) {
	case STREAM_ANY:
		break;
	case STREAM_NONE:
		holds = next == 0;
		break;
	case STREAM_EXISTS:
		holds = next > 0;
		break;
	case STREAM_VERSION:
		holds = next > 0 && condition->version == next - 1;
		break;
	}
	if (holds || ANNALS_MUTATION("ignore_conditions")) {
		return ADMISSION_GO_ON;
	}
	if (drafted) {
		return admission_commit_first(admission);
	}
	request->conflict = (struct append_conflict){
		.index = index, .exists = next > 0, .version = next > 0 ? next - 1 : 0};
	if (next == 0) {
		return admission_refuse(admission, ANNALS_E_PRECONDITION_FAILED,
			"condition %u: the stream has no events", index);
	}
	return admission_refuse(admission, ANNALS_E_PRECONDITION_FAILED,
		"condition %u: the stream is at version %llu", index,
		(unsigned long long)(next - 1));
}

/* Is there an entry of exactly this position? 1, 0, negative. */
static int has_position(struct admission *admission, struct index_hash hash, uint64_t position)
{
	struct index_entry entry;
	size_t count = 0;
	int status = index_range(&admission->view, INDEX_QUERY, hash, position, position, false,
		&entry, 1, &count, &admission->request->base.error);

	return status < 0 ? status : (int)count;
}

static int candidate_matches(
	struct admission *admission, const struct query_item *item, uint64_t position)
{
	const uint8_t *uuid = admission->shard->uuid;
	int found = 1;

	for (uint32_t i = 1; i < item->tag_count && found == 1; i++) {
		found = has_position(admission, facts_hash_tag(uuid, item->tags[i]), position);
	}
	if (found != 1 || item->type_count == 0) {
		return found;
	}
	found = 0;
	for (uint32_t i = 0; i < item->type_count && found == 0; i++) {
		found = has_position(admission, facts_hash_type(uuid, item->types[i]), position);
	}
	return found;
}

/* Events with the item's first tag, one after the other. 1 and the position of a match; 0. */
static int match_tags(struct admission *admission, const struct query_item *item, uint64_t after,
	uint64_t *ret_position)
{
	struct index_hash hash = facts_hash_tag(admission->shard->uuid, item->tags[0]);
	struct index_entry entries[CANDIDATES_AT_ONCE];
	size_t count = CANDIDATES_AT_ONCE, looked_at = 0;

	while (count == CANDIDATES_AT_ONCE) {
		int status = index_range(&admission->view, INDEX_QUERY, hash, after + 1, UINT64_MAX,
			false, entries, CANDIDATES_AT_ONCE, &count,
			&admission->request->base.error);
		if (status != 0) {
			return status;
		}
		for (size_t i = 0; i < count; i++) {
			int found = candidate_matches(admission, item, entries[i].order);
			if (found != 0) {
				*ret_position = entries[i].order;
				return found;
			}
			after = entries[i].order;
		}
		looked_at += count;
		if (looked_at > QUERY_CANDIDATES_MAX) {
			return error_fail(&admission->request->base.error, ANNALS_E_TOO_LARGE,
				"more than %u events since position 'after' have the tag '%.*s': "
				"read on first",
				QUERY_CANDIDATES_MAX, (int)item->tags[0].size,
				(const char *)item->tags[0].data);
		}
	}
	return 0;
}

static int match_item(struct admission *admission, const struct query_item *item, uint64_t after,
	uint64_t *ret_position)
{
	if (item->tag_count > 0) {
		return match_tags(admission, item, after, ret_position);
	}
	for (uint32_t i = 0; i < item->type_count; i++) {
		struct index_entry entry;
		int found = index_newest(&admission->view, INDEX_QUERY,
			facts_hash_type(admission->shard->uuid, item->types[i]), &entry,
			&admission->request->base.error);
		if (found < 0 || (found == 1 && entry.order > after)) {
			*ret_position = entry.order;
			return found;
		}
	}
	return 0;
}

/* Could an event of the draft match? Only a later look can tell. */
static bool item_may_be_drafted(const struct admission *admission, const struct query_item *item)
{
	const struct staged_keys *staged = &admission->shard->draft.staged_facts;
	const uint8_t *uuid = admission->shard->uuid;

	if (item->tag_count > 0) {
		return staged_hash_have(staged,
			admission_mix(admission->state, facts_hash_tag(uuid, item->tags[0])));
	}
	for (uint32_t i = 0; i < item->type_count; i++) {
		if (staged_hash_have(staged, admission_mix(admission->state,
						     facts_hash_type(uuid, item->types[i])))) {
			return true;
		}
	}
	return false;
}

static enum admission_step check_query(struct admission *admission)
{
	struct append_request *request = admission->request;
	const struct query_condition *query = request->query;
	uint64_t position = 0;
	int status;

	if (!admission->state->topic->config.query_index) {
		return admission_refuse(admission, ANNALS_E_UNSUPPORTED_OPERATION,
			"topic '%s' has no query index", admission->state->topic->name);
	}
	if (query->after + 1 < admission->state->trimmed_below) {
		return admission_refuse(admission, ANNALS_E_OFFSET_GONE,
			"retention removed events up to position %llu, which lies beyond 'after' "
			"%llu: read from the start and try again",
			(unsigned long long)admission->state->trimmed_below - 1,
			(unsigned long long)query->after);
	}
	status = query_condition_check(query, &request->base.error);
	if (status != 0) {
		return admission_refuse(admission, status, "%s", request->base.error.text);
	}
	for (uint32_t i = 0; i < query->item_count; i++) {
		const struct query_item *item = &query->items[i];
		int found;
		if (item_may_be_drafted(admission, item)) {
			return admission_commit_first(admission);
		}
		found = match_item(admission, item, query->after, &position);
		if (found < 0) {
			return admission_refuse(admission, found, "%s", request->base.error.text);
		}
		if (found == 1) {
			request->conflict = (struct append_conflict){
				.is_query = true, .index = i, .position = position};
			return admission_refuse(admission, ANNALS_E_PRECONDITION_FAILED,
				"an event at position %llu matches the query",
				(unsigned long long)position);
		}
	}
	return ADMISSION_GO_ON;
}

enum admission_step admission_check_conditions(struct admission *admission)
{
	struct append_request *request = admission->request;
	enum admission_step step = ADMISSION_GO_ON;

	if (request->stream_condition_count > 0 &&
		(admission->facts == NULL || !admission->state->topic->config.streams)) {
		return admission_refuse(admission, ANNALS_E_UNSUPPORTED_OPERATION,
			"topic '%s' has no streams", admission->state->topic->name);
	}
	/* Once it is answered, the request is not ours to look at. */
	for (uint32_t i = 0; step == ADMISSION_GO_ON && i < request->stream_condition_count; i++) {
		step = check_stream(admission, i);
	}
	if (step == ADMISSION_GO_ON && request->query != NULL) {
		step = check_query(admission);
	}
	return step;
}
