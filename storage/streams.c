/* Reading by index: one stream's events, and the events that match a query. */
#include "facts.h"
#include "topic_index.h"

#include <stdlib.h>

static bool is_kept(struct shard *shard, const struct topic_state *state, uint64_t place)
{
	uint32_t partition = index_place_partition(place);
	bool kept;

	/* Partitions may be added meanwhile. */
	(void)pthread_rwlock_rdlock(&shard->catalog.lock);
	kept = partition < state->partition_count &&
	       index_place_offset(place) >= state->partitions[partition]->first_offset;
	(void)pthread_rwlock_unlock(&shard->catalog.lock);
	return kept;
}

static struct event_place place_of(const struct index_entry *entry, bool of_stream)
{
	return (struct event_place){
		.version = of_stream ? entry->order : VERSION_NONE,
		.partition = index_place_partition(entry->place),
		.offset = index_place_offset(entry->place),
		.position = of_stream ? entry->extra : entry->order,
	};
}

/* The first version that is kept: trimmed ones come first, if their entries are still there. */
static int find_first_kept(
	struct index_view *view, struct index_hash key, struct stream_head *head, struct error *err)
{
	struct index_entry entries[256];
	uint64_t from = 0;
	size_t count = ANNALS_COUNT_OF(entries);

	head->first_version = head->next_version;
	while (count == ANNALS_COUNT_OF(entries)) {
		int status = index_range(view, INDEX_STREAM, key, from, UINT64_MAX, false, entries,
			from == 0 ? 1 : ANNALS_COUNT_OF(entries), &count, err);
		if (status != 0) {
			return status;
		}
		for (size_t i = 0; i < count; i++) {
			if (is_kept(view->shard, view->state, entries[i].place)) {
				head->first_version = entries[i].order;
				head->first_position = entries[i].extra;
				return 0;
			}
			from = entries[i].order + 1;
		}
		count = count == 1 && from > 0 && from < head->next_version
				? ANNALS_COUNT_OF(entries)
				: count;
	}
	return 0;
}

static int read_places(struct index_view *view, struct index_hash key,
	struct stream_request *request, struct error *err)
{
	struct index_entry *entries;
	uint64_t from = request->backwards ? request->head.first_version : request->version;
	uint64_t to = request->backwards ? request->version : UINT64_MAX;
	size_t count = 0;
	int status;

	if (from < request->head.first_version) {
		return error_fail(err, ANNALS_E_OFFSET_GONE,
			"version %llu of the stream was removed by retention: the first kept is "
			"%llu",
			(unsigned long long)from, (unsigned long long)request->head.first_version);
	}
	entries = malloc(request->limit * sizeof(*entries));
	request->places = malloc(request->limit * sizeof(*request->places));
	if (entries == NULL || request->places == NULL) {
		free(entries);
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory to read a stream");
	}
	status = index_range(view, INDEX_STREAM, key, from, to, request->backwards, entries,
		request->limit, &count, err);
	for (size_t i = 0; i < count && status == 0; i++) {
		request->places[request->place_count++] = place_of(&entries[i], true);
	}
	free(entries);
	return status;
}

/* The first version that lies above a position: versions and positions rise together. */
static int find_after(struct index_view *view, struct index_hash key,
	const struct stream_head *head, uint64_t after, uint64_t *ret, struct error *err)
{
	uint64_t low = head->first_version, high = head->next_version;

	if (head->first_position > after) {
		high = low;
	} else if (head->last_position <= after) {
		low = high;
	}
	while (low < high) {
		const uint64_t middle = low + (high - low) / 2;
		struct index_entry entry;
		size_t count = 0;
		int status = index_range(
			view, INDEX_STREAM, key, middle, UINT64_MAX, false, &entry, 1, &count, err);
		if (status != 0) {
			return status;
		}
		if (count == 1 && entry.extra <= after) {
			low = entry.order + 1;
		} else {
			high = middle;
		}
	}
	*ret = low;
	return 0;
}

static int read_by_position(struct index_view *view, struct index_hash key,
	struct stream_request *request, uint64_t last_position)
{
	struct error *err = &request->base.error;
	int status;

	if (request->after != 0 && request->after + 1 < view->state->trimmed_below) {
		return error_fail(err, ANNALS_E_OFFSET_GONE,
			"retention removed events up to position %llu",
			(unsigned long long)view->state->trimmed_below - 1);
	}
	request->up_to = ANNALS_MAX(request->after, last_position);
	if (!request->exists) {
		request->is_through = true;
		return 0;
	}
	status = find_after(view, key, &request->head, request->after, &request->version, err);
	if (status == 0 && request->version < request->head.next_version) {
		status = read_places(view, key, request, err);
	}
	request->is_through = request->place_count < request->limit;
	if (status == 0 && request->place_count > 0) {
		const uint64_t last = request->places[request->place_count - 1].position;
		request->up_to = request->is_through ? ANNALS_MAX(request->up_to, last) : last;
	}
	return status;
}

static int read_stream(
	struct shard *shard, struct topic_state *state, struct stream_request *request)
{
	struct index_hash key = index_hash(shard->uuid, 'k', request->key);
	struct error *err = &request->base.error;
	struct index_entry newest;
	struct index_view view;
	int status;

	const uint64_t last_position = state->last_position; /* before anything is looked up */

	index_view_init(&view, shard, state);
	status = index_newest(&view, INDEX_STREAM, key, &newest, err);
	if (status == 1) {
		request->exists = true;
		request->head = (struct stream_head){
			.incarnation = state->id,
			.next_version = newest.order + 1,
			.last_position = newest.extra,
		};
		status = find_first_kept(&view, key, &request->head, err);
		if (status == 0 && request->limit > 0 && !request->by_position) {
			status = read_places(&view, key, request, err);
		}
	}
	if (status == 0 && request->by_position) {
		status = read_by_position(&view, key, request, last_position);
	}
	index_view_release(&view);
	return status;
}

int stream_read(struct shard *shard, struct stream_request *request, bool may_block)
{
	struct topic_state *state;
	struct topic *topic;
	struct error *err = &request->base.error;

	if (!may_block) {
		return 1;
	}
	request->exists = false;
	request->head = (struct stream_head){0};
	request->places = NULL;
	request->place_count = 0;
	state = catalog_find_id(&shard->catalog, request->topic_id);
	if (state == NULL) {
		request->base.status = error_fail(err, ANNALS_E_UNKNOWN_TOPIC,
			"there is no topic with id %u", request->topic_id);
		return 0;
	}
	topic = catalog_topic(&shard->catalog, state);
	if (!topic->config.streams) {
		request->base.status = error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION,
			"topic '%s' has no streams", topic->name);
	} else if (request->limit > PLACES_MAX) {
		request->base.status = error_fail(
			err, ANNALS_E_TOO_LARGE, "a page has at most %u events", PLACES_MAX);
	} else {
		request->head.incarnation = state->id;
		request->base.status = read_stream(shard, state, request);
	}
	topic_unref(topic);
	topic_state_unref(state);
	return 0;
}

/* ---- Queries ---- */

struct query_read {
	struct index_view view;
	struct query_request *request;
	uint64_t *found; /* entries of one page, by position, ascending */
	struct index_entry *entries;
	struct index_entry *page;
	size_t page_count;
	uint64_t up_to;
};

static int has_position(struct query_read *read, struct index_hash hash, uint64_t position)
{
	struct index_entry entry;
	size_t count = 0;
	int status = index_range(&read->view, INDEX_QUERY, hash, position, position, false, &entry,
		1, &count, &read->request->base.error);

	return status < 0 ? status : (int)count;
}

static int matches(struct query_read *read, const struct query_item *item, uint64_t position)
{
	const uint8_t *uuid = read->view.shard->uuid;
	int found = 1;

	for (uint32_t i = 1; i < item->tag_count && found == 1; i++) {
		found = has_position(read, facts_hash_tag(uuid, item->tags[i]), position);
	}
	if (found != 1 || item->type_count == 0 || item->tag_count == 0) {
		return found;
	}
	found = 0;
	for (uint32_t i = 0; i < item->type_count && found == 0; i++) {
		found = has_position(read, facts_hash_type(uuid, item->types[i]), position);
	}
	return found;
}

/* Adds an event to the page in its place, once; what does not fit lies after up_to. */
static void add_to_page(struct query_read *read, const struct index_entry *entry)
{
	size_t at = read->page_count;

	while (at > 0 && read->page[at - 1].order > entry->order) {
		at--;
	}
	if ((at > 0 && read->page[at - 1].order == entry->order) || entry->order > read->up_to) {
		return;
	}
	if (read->page_count == read->request->limit) {
		if (at == read->page_count) {
			read->up_to = entry->order - 1;
			return;
		}
		read->up_to = read->page[--read->page_count].order - 1;
	}
	memmove(read->page + at + 1, read->page + at,
		(read->page_count - at) * sizeof(*read->page));
	read->page[at] = *entry;
	read->page_count++;
}

/* Everything with one hash from `after` on that can still get onto the page. A scan budget bounds
 * what one request looks at: up_to says how far it came. */
#define QUERY_SCAN_MAX 100000u
#define QUERY_ENTRIES_AT_ONCE 512u

static int scan_hash(struct query_read *read, const struct query_item *item, struct index_hash hash)
{
	uint64_t after = read->request->query.after;
	size_t count = QUERY_ENTRIES_AT_ONCE, looked_at = 0;

	while (count == QUERY_ENTRIES_AT_ONCE && after < read->up_to) {
		int status = index_range(&read->view, INDEX_QUERY, hash, after + 1, read->up_to,
			false, read->entries, QUERY_ENTRIES_AT_ONCE, &count,
			&read->request->base.error);
		if (status != 0) {
			return status;
		}
		for (size_t i = 0; i < count && read->entries[i].order <= read->up_to; i++) {
			int found =
				is_kept(read->view.shard, read->view.state, read->entries[i].place)
					? matches(read, item, read->entries[i].order)
					: 0;
			if (found < 0) {
				return found;
			}
			if (found == 1) {
				add_to_page(read, &read->entries[i]);
			}
			after = read->entries[i].order;
		}
		looked_at += count;
		if (looked_at >= QUERY_SCAN_MAX && after < read->up_to) {
			read->up_to = after;
		}
	}
	return 0;
}

static int scan_item(struct query_read *read, const struct query_item *item)
{
	const uint8_t *uuid = read->view.shard->uuid;
	int status = 0;

	if (item->tag_count > 0) {
		return scan_hash(read, item, facts_hash_tag(uuid, item->tags[0]));
	}
	for (uint32_t i = 0; i < item->type_count && status == 0; i++) {
		status = scan_hash(read, item, facts_hash_type(uuid, item->types[i]));
	}
	return status;
}

static int run_query(struct query_read *read)
{
	struct query_request *request = read->request;
	struct error *err = &request->base.error;
	const uint64_t last_position = read->view.state->last_position;
	int status = 0;

	if (!request->from_kept && request->query.after + 1 < read->view.state->trimmed_below) {
		return error_fail(err, ANNALS_E_OFFSET_GONE,
			"retention removed events up to position %llu",
			(unsigned long long)read->view.state->trimmed_below - 1);
	}
	read->up_to = last_position;
	read->entries = malloc(QUERY_ENTRIES_AT_ONCE * sizeof(*read->entries));
	read->page = malloc((request->limit + 1) * sizeof(*read->page));
	request->places = malloc(request->limit * sizeof(*request->places));
	if (read->entries == NULL || read->page == NULL || request->places == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for a query");
	}
	for (uint32_t i = 0; i < request->query.item_count && status == 0; i++) {
		status = scan_item(read, &request->query.items[i]);
	}
	for (size_t i = 0; i < read->page_count && status == 0; i++) {
		if (read->page[i].order <= read->up_to) {
			request->places[request->place_count++] = place_of(&read->page[i], false);
		}
	}
	request->is_through = status == 0 && read->up_to == last_position;
	request->up_to = ANNALS_MAX(read->up_to, request->query.after);
	return status;
}

static int check_query(
	const struct query_request *request, const struct topic *topic, struct error *err)
{
	if (!topic->config.query_index) {
		return error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION,
			"topic '%s' has no query index", topic->name);
	}
	if (request->limit == 0 || request->limit > PLACES_MAX) {
		return error_fail(err, ANNALS_E_INVALID, "a page has 1 to %u events", PLACES_MAX);
	}
	return query_condition_check(&request->query, err);
}

int query_condition_check(const struct query_condition *query, struct error *err)
{
	if (query->item_count == 0 || query->item_count > QUERY_ITEMS_MAX) {
		return error_fail(err, ANNALS_E_INVALID, "a query has 1 to %u items, not %u",
			QUERY_ITEMS_MAX, query->item_count);
	}
	for (uint32_t i = 0; i < query->item_count; i++) {
		const struct query_item *item = &query->items[i];
		if (item->type_count + item->tag_count == 0) {
			return error_fail(err, ANNALS_E_INVALID,
				"item %u of the query names no type and no tag", i);
		}
		if (item->type_count > QUERY_TERMS_MAX || item->tag_count > QUERY_TERMS_MAX) {
			return error_fail(err, ANNALS_E_TOO_LARGE,
				"item %u of the query has %u types and %u tags: the limit is %u of "
				"each",
				i, item->type_count, item->tag_count, QUERY_TERMS_MAX);
		}
	}
	return 0;
}

int query_read(struct shard *shard, struct query_request *request, bool may_block)
{
	struct query_read read = {.request = request};
	struct topic_state *state;
	struct topic *topic;
	struct error *err = &request->base.error;

	if (!may_block) {
		return 1;
	}
	request->places = NULL;
	request->place_count = 0;
	request->up_to = request->query.after;
	state = catalog_find_id(&shard->catalog, request->topic_id);
	if (state == NULL) {
		request->base.status = error_fail(err, ANNALS_E_UNKNOWN_TOPIC,
			"there is no topic with id %u", request->topic_id);
		return 0;
	}
	topic = catalog_topic(&shard->catalog, state);
	request->base.status = check_query(request, topic, err);
	if (request->base.status == 0) {
		index_view_init(&read.view, shard, state);
		request->base.status = run_query(&read);
		index_view_release(&read.view);
	}
	free(read.entries);
	free(read.page);
	topic_unref(topic);
	topic_state_unref(state);
	return 0;
}
