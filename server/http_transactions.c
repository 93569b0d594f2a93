/*
 * POST /v1/transactions: events of one topic under conditions on streams and over a query, stored
 * all or not at all.
 *
 *   {"topic": "orders", "durability": "fsync", "events": [{CloudEvent}, ...],
 *    "conditions": [{"key": "order-1", "expected": 41 | "none" | "exists" | "any"}],
 *    "query": {"items": [{"types": [...], "tags": [...]}], "after": 17}}
 *
 * or of several topics, as {"durability": "fsync", "appends": [{...}, ...]}.
 */
#include "http_transactions.h"

#include "http_json.h"
#include <annals/hash.h>
#include <annals/parse.h>
#include <stdlib.h>

#define CONDITIONS_MAX 1024u

/* ---- Queries ---- */

void http_query_init(struct http_query *query)
{
	memset(query, 0, sizeof(*query));
}

void http_query_release(struct http_query *query)
{
	free(query->terms);
	buf_release(&query->scratch);
}

/* An array of texts, behind the terms that were read before. */
static int read_terms(struct http_query *query, const struct json_value *value,
	const struct bytes **ret, uint32_t *ret_count, struct error *err)
{
	struct json_scanner scanner;
	struct json_value term;
	int more;
	*ret = query->terms + query->term_count;
	*ret_count = 0;
	json_scanner_init(&scanner, value->raw);
	if (json_enter_array(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID,
			"'types' and 'tags' of a query's item are arrays of texts");
	}
	while ((more = json_next_element(&scanner)) == 1) {
		if (json_scan(&scanner, &term) != 0) {
			return json_fail(&scanner, err);
		}
		if (*ret_count == QUERY_TERMS_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE,
				"an item of a query has at most %u types and %u tags",
				QUERY_TERMS_MAX, QUERY_TERMS_MAX);
		}
		if (json_string(&term, &query->scratch, &query->terms[query->term_count]) != 0) {
			return error_fail(err, ANNALS_E_INVALID,
				"'types' and 'tags' of a query's item are arrays of texts");
		}
		query->term_count++;
		(*ret_count)++;
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

static int read_item(struct http_query *query, const struct json_value *value, struct error *err)
{
	struct query_item *item = &query->items[query->condition.item_count];
	struct json_scanner scanner;
	struct json_value name, member;
	int more;
	if (query->condition.item_count == QUERY_ITEMS_MAX) {
		return error_fail(
			err, ANNALS_E_TOO_LARGE, "a query has at most %u items", QUERY_ITEMS_MAX);
	}
	json_scanner_init(&scanner, value->raw);
	if (json_enter_object(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "an item of a query is an object");
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status;
		if (json_scan(&scanner, &member) != 0) {
			return json_fail(&scanner, err);
		}
		if (json_string_is(&name, "types")) {
			status = read_terms(query, &member, &item->types, &item->type_count, err);
		} else if (json_string_is(&name, "tags")) {
			status = read_terms(query, &member, &item->tags, &item->tag_count, err);
		} else {
			status = error_fail(err, ANNALS_E_INVALID,
				"an item of a query has 'types' and 'tags', nothing else");
		}
		if (status != 0) {
			return status;
		}
	}
	query->condition.item_count++;
	return more < 0 ? json_fail(&scanner, err) : 0;
}

static int read_items(struct http_query *query, const struct json_value *value, struct error *err)
{
	struct json_scanner scanner;
	struct json_value item;
	int more;
	json_scanner_init(&scanner, value->raw);
	if (json_enter_array(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'items' of a query is an array");
	}
	while ((more = json_next_element(&scanner)) == 1) {
		int status;
		if (json_scan(&scanner, &item) != 0) {
			return json_fail(&scanner, err);
		}
		status = read_item(query, &item, err);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

static int read_member(struct http_query *query, const struct json_value *name,
	const struct json_value *value, bool limit_allowed, struct error *err)
{
	uint64_t limit;
	if (json_string_is(name, "items")) {
		return read_items(query, value, err);
	}
	if (json_string_is(name, "after")) {
		return json_u64(value, &query->condition.after) == 0 &&
				       query->condition.after < INT64_MAX
			       ? 0
			       : error_fail(err, ANNALS_E_INVALID, "'after' is no position");
	}
	if (limit_allowed && json_string_is(name, "limit")) {
		if (json_u64(value, &limit) != 0 || limit == 0 || limit > PLACES_MAX) {
			return error_fail(err, ANNALS_E_INVALID,
				"'limit' is no number from 1 to %u", PLACES_MAX);
		}
		query->limit = (uint32_t)limit;
		return 0;
	}
	return error_fail(err, ANNALS_E_INVALID, "a query has no member %.*s",
		(int)ANNALS_MIN(name->raw.size, 64), (const char *)name->raw.data);
}

int http_query_read(
	struct http_query *query, struct bytes text, bool limit_allowed, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, value;
	int more;
	/* Terms and their texts must not move. */
	query->terms = calloc((size_t)QUERY_ITEMS_MAX * QUERY_TERMS_MAX * 2, sizeof(struct bytes));
	if (query->terms == NULL || buf_reserve(&query->scratch, text.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	query->condition.items = query->items;
	json_scanner_init(&scanner, text);
	if (json_enter_object(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status;
		if (json_scan(&scanner, &value) != 0) {
			return json_fail(&scanner, err);
		}
		status = read_member(query, &name, &value, limit_allowed, err);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 || json_finish(&scanner) != 0 ? json_fail(&scanner, err) : 0;
}

/* ---- Transactions ---- */

int http_members_read(
	struct bytes body, bool of_append, struct http_members *ret, struct error *err)
{
	static const struct {
		const char *name;
		size_t offset;
	} names[] = {{"topic", offsetof(struct http_members, topic)},
		{"events", offsetof(struct http_members, events)},
		{"conditions", offsetof(struct http_members, conditions)},
		{"query", offsetof(struct http_members, query)},
		{"durability", offsetof(struct http_members, durability)},
		{"appends", offsetof(struct http_members, appends)}};
	const size_t count = ANNALS_COUNT_OF(names) - (of_append ? 2 : 0);
	struct json_scanner scanner;
	struct json_value name, value;
	int more;
	memset(ret, 0, sizeof(*ret));
	json_scanner_init(&scanner, body);
	if (json_enter_object(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		bool known = false;
		if (json_scan(&scanner, &value) != 0) {
			return json_fail(&scanner, err);
		}
		for (size_t i = 0; i < count && !known; i++) {
			known = json_string_is(&name, names[i].name);
			if (known) {
				memcpy((char *)ret + names[i].offset, &value, sizeof(value));
			}
		}
		if (!known) {
			return error_fail(err, ANNALS_E_INVALID, "a transaction has no member %.*s",
				(int)ANNALS_MIN(name.raw.size, 64), (const char *)name.raw.data);
		}
	}
	return more < 0 || json_finish(&scanner) != 0 ? json_fail(&scanner, err) : 0;
}

struct http_conditions {
	struct buf scratch;
	struct condition {
		struct bytes key;
		enum stream_expect expect;
		uint64_t version;
	} * streams;
	uint32_t count;
	bool has_query;
	struct http_query query;
};

static int read_expected(const struct json_value *value, struct condition *ret, struct error *err)
{
	static const struct {
		const char *name;
		enum stream_expect expect;
	} names[] = {{"any", STREAM_ANY}, {"none", STREAM_NONE}, {"exists", STREAM_EXISTS}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		if (json_string_is(value, names[i].name)) {
			ret->expect = names[i].expect;
			return 0;
		}
	}
	ret->expect = STREAM_VERSION;
	return json_u64(value, &ret->version) == 0
		       ? 0
		       : error_fail(err, ANNALS_E_INVALID,
				 "'expected' is neither a version nor \"any\", \"none\", "
				 "\"exists\"");
}

static int read_key64(struct http_conditions *conditions, const struct json_value *value,
	struct bytes *ret, struct error *err)
{
	struct bytes text;
	size_t size;
	uint8_t *room;
	if (json_string(value, &conditions->scratch, &text) == 0 &&
		buf_reserve(&conditions->scratch, text.size) == 0) {
		room = conditions->scratch.data + conditions->scratch.size;
		if (base64_decode(room, text, true, &size) == 0) {
			conditions->scratch.size += size;
			*ret = bytes_of(room, size);
			return 0;
		}
	}
	return error_fail(err, ANNALS_E_INVALID, "'key64' is no base64url of a key");
}

static int read_condition(struct http_conditions *conditions, const struct json_value *value,
	struct condition *ret, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, member;
	bool has_key = false, has_expected = false;
	int more;
	*ret = (struct condition){0};
	json_scanner_init(&scanner, value->raw);
	if (json_enter_object(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "a condition is an object");
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status = 0;
		if (json_scan(&scanner, &member) != 0) {
			return json_fail(&scanner, err);
		}
		if (json_string_is(&name, "key")) {
			has_key = true;
			status = json_string(&member, &conditions->scratch, &ret->key) == 0
					 ? 0
					 : error_fail(err, ANNALS_E_INVALID, "'key' is no text");
		} else if (json_string_is(&name, "key64")) {
			has_key = true;
			status = read_key64(conditions, &member, &ret->key, err);
		} else if (json_string_is(&name, "expected")) {
			has_expected = true;
			status = read_expected(&member, ret, err);
		} else {
			status = error_fail(err, ANNALS_E_INVALID,
				"a condition has 'key' (or 'key64') and 'expected', nothing else");
		}
		if (status != 0) {
			return status;
		}
	}
	if (more == 0 && (!has_key || !has_expected)) {
		return error_fail(err, ANNALS_E_INVALID, "a condition needs 'key' and 'expected'");
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

static int read_conditions(
	struct http_conditions *conditions, const struct json_value *value, struct error *err)
{
	struct json_scanner scanner;
	struct json_value element;
	int more;
	if (value->raw.size == 0) {
		return 0;
	}
	conditions->streams = calloc(CONDITIONS_MAX, sizeof(*conditions->streams));
	/* Twice: base64 is decoded behind its text. */
	if (conditions->streams == NULL ||
		buf_reserve(&conditions->scratch, value->raw.size * 2) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	json_scanner_init(&scanner, value->raw);
	if (json_enter_array(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'conditions' is an array");
	}
	while ((more = json_next_element(&scanner)) == 1) {
		int status;
		if (conditions->count == CONDITIONS_MAX) {
			return error_fail(err, ANNALS_E_LIMIT,
				"a transaction has at most %u conditions", CONDITIONS_MAX);
		}
		if (json_scan(&scanner, &element) != 0) {
			return json_fail(&scanner, err);
		}
		status = read_condition(
			conditions, &element, &conditions->streams[conditions->count], err);
		if (status != 0) {
			return status;
		}
		conditions->count++;
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

struct http_conditions *http_conditions_new(void)
{
	return calloc(1, sizeof(struct http_conditions));
}

void http_conditions_free(struct http_conditions *conditions)
{
	if (conditions != NULL) {
		buf_release(&conditions->scratch);
		free(conditions->streams);
		http_query_release(&conditions->query);
		free(conditions);
	}
}

static void release_conditions(void *conditions)
{
	http_conditions_free(conditions);
}

int http_conditions_read(
	struct http_conditions *conditions, const struct http_members *members, struct error *err)
{
	int status = read_conditions(conditions, &members->conditions, err);
	if (status == 0 && members->query.raw.size > 0) {
		conditions->has_query = true;
		status = http_query_read(&conditions->query, members->query.raw, false, err);
	}
	return status;
}

int http_conditions_add(const struct http_conditions *conditions, struct op_append *op)
{
	int status = 0;
	for (uint32_t i = 0; i < conditions->count && status == 0; i++) {
		const struct condition *condition = &conditions->streams[i];
		status = op_append_expect(
			op, condition->key, condition->expect, condition->version, 0);
	}
	return status == 0 && conditions->has_query
		       ? op_append_unless(op, &conditions->query.condition)
		       : status;
}

static int add_conditions(struct http_append *append, struct op_append *op)
{
	return http_conditions_add(append->conditions, op);
}

int http_members_events(struct http_batcher *batcher, const struct http_members *members,
	uint64_t *ret_index, struct error *err)
{
	const struct json_value *value = &members->events;
	struct json_scanner scanner;
	struct cloudevent event;
	int more, status = 0;
	json_scanner_init(&scanner, value->raw);
	if (value->raw.size == 0 || json_enter_array(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'events' is an array of CloudEvents");
	}
	cloudevent_init(&event);
	for (; status == 0 && (more = json_next_element(&scanner)) == 1; (*ret_index)++) {
		status = cloudevent_scan(&event, &scanner, err);
		status = status != 0 ? status : http_batcher_add(batcher, &event.record, err);
		if (status != 0) {
			error_wrap(err, "event %llu", (unsigned long long)*ret_index);
			break;
		}
	}
	cloudevent_release(&event);
	return status != 0 ? status : more < 0 ? json_fail(&scanner, err) : 0;
}

struct topic *http_members_topic(
	struct http_request *request, const struct http_members *members, struct error *err)
{
	const struct json_value *value = &members->topic;
	struct buf scratch = BUF_INIT;
	struct op_detail detail = {0};
	struct bytes name;
	struct topic *topic = NULL;
	if (value->raw.size == 0 || json_string(value, &scratch, &name) != 0) {
		(void)error_fail(err, ANNALS_E_INVALID, "a transaction names its 'topic'");
	} else {
		topic = op_topic_find(http_loop(request), name, 0, err, &detail);
	}
	buf_release(&scratch);
	return topic;
}

int http_members_durability(
	const struct http_members *members, enum durability *ret, struct error *err)
{
	const struct json_value *value = &members->durability;
	if (value->raw.size == 0) {
		return 0;
	}
	*ret = json_string_is(value, "os") ? DURABILITY_OS : DURABILITY_FSYNC;
	return json_string_is(value, "os") || json_string_is(value, "fsync")
		       ? 0
		       : error_fail(err, ANNALS_E_INVALID,
				 "'durability' is neither \"fsync\" nor \"os\"");
}

static void run_transaction(struct http_request *request)
{
	struct http_members members;
	struct http_conditions *conditions;
	struct http_append *append;
	struct error err = {0};
	struct topic *topic = NULL;
	uint64_t index = 0;
	int status = http_members_read(buf_bytes(&request->body), false, &members, &err);
	if (status == 0 && members.appends.raw.size > 0) {
		http_post_several(request, &members);
		return;
	}
	if (status == 0) {
		topic = http_members_topic(request, &members, &err);
		status = topic != NULL ? 0 : err.code;
	}
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	append = http_append_new(request, topic);
	conditions = append != NULL ? http_conditions_new() : NULL;
	if (append == NULL) {
		return;
	}
	if (conditions == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	append->conditions = conditions;
	append->free_conditions = release_conditions;
	append->add_conditions = add_conditions;
	append->in_body = true;
	status = http_members_durability(&members, &append->durability, &err);
	status = status != 0 ? status : http_conditions_read(conditions, &members, &err);
	status = status != 0 ? status
			     : http_members_events(&append->batcher, &members, &index, &err);
	if (status == 0) {
		status = http_append_read_receipt(request, append);
		if (status == 0) {
			http_append_run(request);
		}
	} else {
		http_append_problem(request, &err, index > 0 ? "event" : NULL, index);
	}
}

void http_post_transaction(struct http_request *request)
{
	http_collect(request, http_loop(request)->options->request_bytes_max, "request-bytes-max",
		run_transaction);
}
