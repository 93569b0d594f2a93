/* Streams and queries over HTTP: what a stream is now, its events, appending to it under a
 * condition; events by type and tag. */
#include "http_append.h"
#include "http_events.h"
#include "http_json.h"
#include "http_text.h"
#include "http_typed.h"
#include <annals/parse.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT_INITIAL 100u
#define LINK_DATA_BYTES 48u

/* ---- The key ---- */

/* ?key64= reaches keys that a path cannot hold. False: a problem was sent. */
static bool read_key(struct http_request *request, struct bytes *ret)
{
	struct bytes text;
	*ret = request->params[1];
	if (!http_param(request, "key64", &text)) {
		return false;
	}
	if (text.data != NULL) {
		uint8_t *room = request->texts.data + request->texts.size;
		size_t size = 0;
		/* Decoding takes less room than what was decoded from the target. */
		if (text.size > RECORD_KEY_BYTES_MAX * 2 ||
			buf_reserve(&request->texts, text.size) != 0 ||
			room != request->texts.data + request->texts.size ||
			base64_decode(room, text, true, &size) != 0) {
			http_problem(request, ANNALS_E_INVALID,
				"parameter 'key64' is no base64url of a key", NULL);
			return false;
		}
		request->texts.size += size;
		*ret = bytes_of(room, size);
	}
	if (ret->size > RECORD_KEY_BYTES_MAX) {
		http_problem(request, ANNALS_E_TOO_LARGE, "a key has at most 1024 bytes", NULL);
		return false;
	}
	return true;
}

/* ---- Reading ---- */

static const char *const formats[] = {"application/x-ndjson", "application/cloudevents-batch+json",
	"application/json", "application/x-protobuf"};
static const enum http_event_format format_kinds[] = {
	HTTP_FORMAT_LINES, HTTP_FORMAT_ARRAY, HTTP_FORMAT_ARRAY, HTTP_FORMAT_PROTOBUF};

/* A page on its way. */
struct page {
	int choice; /* of formats; -1: only the head */
	uint32_t limit;
	bool backwards, is_query;
	bool as_json; /* data is shown as JSON: typed is set up */
	struct http_typed_reader typed;
	struct buf terms; /* the query's texts, encoded again for the link */
};

static void free_page(void *work)
{
	struct page *page = work;
	buf_release(&page->terms);
	http_typed_reader_release(&page->typed);
	free(page);
}

static struct page *new_page(struct http_request *request)
{
	struct page *page = calloc(1, sizeof(*page));
	if (page == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	request->work = page;
	request->free_work = free_page;
	return page;
}

static int write_event(struct buf *out, struct page *page, const struct op_places *done,
	size_t index, struct bytes element, struct bytes encoded)
{
	const enum http_event_format format = format_kinds[page->choice];
	const struct event_place *place = &done->places[index];
	const struct http_walked_event event = {
		.element = element,
		.encoded = encoded,
		.place = {done->op.topic->name, done->op.topic->uuid, place->partition,
			place->offset, place->position, done->recorded_us[index], place->version},
		.typed = page->as_json ? &page->typed : NULL,
	};
	int status = 0;
	switch (format) {
	case HTTP_FORMAT_PROTOBUF:
		return buf_add(out, element.data, element.size);
	case HTTP_FORMAT_ARRAY:
		status = buf_add_text(out, index == 0 ? "[\n" : ",\n");
		break;
	case HTTP_FORMAT_LINES:
	case HTTP_FORMATS:
		break;
	}
	status = status != 0 ? status : http_event_write_json(out, &event);
	return status != 0 || format != HTTP_FORMAT_LINES ? status : buf_add_byte(out, '\n');
}

static int write_events(struct buf *out, struct page *page, const struct op_places *done)
{
	const enum http_event_format format = format_kinds[page->choice];
	struct bytes events = buf_bytes((struct buf *)(uintptr_t)&done->events), encoded;
	size_t cursor = 0;
	int status = 0;
	for (size_t i = 0; i < done->place_count && status == 0; i++) {
		const size_t start = cursor;
		if (batch_next_event(events, &cursor, &encoded) != 1) {
			return ANNALS_E_CORRUPT_DATA;
		}
		status = write_event(
			out, page, done, i, bytes_of(events.data + start, cursor - start), encoded);
	}
	if (status == 0 && format == HTTP_FORMAT_ARRAY) {
		status = buf_add_text(out, done->place_count > 0 ? "\n]\n" : "[]\n");
	}
	return status;
}

static void set_etag(struct http_request *request, const struct op_places *done)
{
	if (done->stream.exists) {
		snprintf(request->etag, sizeof(request->etag), "\"%u.%llu\"", done->op.topic->id,
			(unsigned long long)(done->stream.head.next_version - 1));
	}
}

static void send_head(struct http_request *request, const struct op_places *done)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	struct http_head head;
	http_head_again(request, &head);
	set_etag(request, done);
	if (bytes_is(http_head_value(&head, "If-None-Match"), request->etag) &&
		request->etag[0] != 0) {
		http_begin(request, 304, NULL);
		http_header(request, "ETag", "%s", request->etag);
		http_send(request, NULL);
		return;
	}
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_cstring(&writer, "topic", done->op.topic->name);
	if (utf8_is_valid(done->key)) {
		json_member_text(&writer, "key", done->key);
	} else {
		json_name(&writer, "key64");
		json_write_base64(&writer, done->key, true);
	}
	json_member_u64(&writer, "incarnation", done->op.topic->id);
	json_member_u64(&writer, "version", done->stream.head.next_version - 1);
	json_member_u64(&writer, "firstAvailable", done->stream.head.first_version);
	json_member_u64(&writer, "position", done->stream.head.last_position);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* What the next page has to repeat of how data is shown. */
static const char *link_data(const struct page *page, char room[LINK_DATA_BYTES])
{
	if (!page->as_json) {
		return "";
	}
	if (page->typed.version == 0) {
		return "&data=json";
	}
	(void)snprintf(room, LINK_DATA_BYTES, "&data=json&schemaVersion=%u", page->typed.version);
	return room;
}

/* Where the next page begins. */
static void write_link(struct http_request *request, const struct op_places *done)
{
	const struct page *page = request->work;
	struct buf key = BUF_INIT;
	char data[LINK_DATA_BYTES];
	const uint64_t last =
		done->place_count > 0 ? done->places[done->place_count - 1].version : 0;
	if (page->is_query) {
		const uint64_t up_to = done->more ? done->places[done->place_count - 1].position
						  : done->found.up_to;
		http_header(request, "Annals-Up-To-Position", "%llu", (unsigned long long)up_to);
		if (page->terms.size > 0) {
			http_header(request, "Link",
				"</v1/topics/%s/query?%.*safter=%llu&limit=%u%s>; rel=\"next\"",
				done->op.topic->name, (int)page->terms.size,
				(const char *)page->terms.data, (unsigned long long)up_to,
				page->limit, link_data(page, data));
		}
		return;
	}
	http_header(request, "Annals-Version", "%llu",
		(unsigned long long)(done->stream.head.next_version - 1));
	const bool more = done->place_count > 0 &&
			  (page->backwards ? last > done->stream.head.first_version
					   : last + 1 < done->stream.head.next_version);
	if (more && http_percent_encode(request->params[1], &key) == 0 && key.size < 1500) {
		http_header(request, "Link",
			"</v1/topics/%s/streams/%.*s/events?version=%llu&limit=%u%s%s>; "
			"rel=\"next\"",
			done->op.topic->name, (int)key.size, (const char *)key.data,
			(unsigned long long)(page->backwards ? last - 1 : last + 1), page->limit,
			page->backwards ? "&backwards=true" : "", link_data(page, data));
	}
	buf_release(&key);
}

static void send_events(struct http_request *request, const struct op_places *done)
{
	struct page *page = request->work;
	struct buf body = BUF_INIT;
	const int status = write_events(&body, page, done);
	if (status != 0) {
		buf_release(&body);
		http_problem(request, status, NULL, NULL);
		return;
	}
	http_begin(request, 200, formats[page->choice]);
	/* What is shown as JSON changes with the registry. */
	if (!page->is_query && !page->as_json) {
		set_etag(request, done);
	}
	if (request->etag[0] != 0) {
		http_header(request, "ETag", "%s", request->etag);
	}
	http_header(request, "Cache-Control", "no-store");
	http_header(request, "Vary", "Accept");
	write_link(request, done);
	http_send(request, &body);
}

static void places_done(struct op *op)
{
	struct http_request *request = op->arg;
	const struct page *page = request->work;
	const struct op_places *done = (const struct op_places *)op;
	if (op->status != 0) {
		http_op_problem(request, op);
	} else if (!page->is_query && !done->stream.exists) {
		http_problem(request, ANNALS_E_NOT_FOUND, "the stream has never had an event",
			&op->detail);
	} else if (page->choice < 0) {
		send_head(request, done);
	} else {
		send_events(request, done);
	}
}

static void start(struct http_request *request, struct op_places *op)
{
	struct topic *topic = http_topic(request, 0);
	if (topic == NULL) {
		op_release(&op->op);
		return;
	}
	op->op.done = places_done;
	op->op.arg = request;
	request->op = &op->op;
	const int state = op_places_start(op, bytes_text(topic->name), topic->id);
	topic_unref(topic);
	if (state == OP_DONE) {
		places_done(&op->op);
	}
}

static void read_stream(struct http_request *request, int choice)
{
	struct page *page = new_page(request);
	struct bytes key, backwards, text;
	uint64_t limit = 0, version = 0;
	if (page == NULL || !read_key(request, &key)) {
		return;
	}
	page->choice = choice;
	if (choice >= 0) {
		if (!http_typed_reader_read(&page->typed, request, &page->as_json) ||
			!http_param(request, "backwards", &backwards) ||
			!http_param(request, "version", &text) ||
			!http_param_u64(request, "limit", LIMIT_INITIAL, 1, PLACES_MAX, &limit)) {
			return;
		}
		if (backwards.data != NULL && parse_bool(backwards, &page->backwards) != 0) {
			http_problem(request, ANNALS_E_INVALID,
				"parameter 'backwards' is neither true nor false", NULL);
			return;
		}
		version = page->backwards ? UINT64_MAX : 0;
		if (text.data != NULL && parse_u64(text, &version) != 0) {
			http_problem(request, ANNALS_E_INVALID, "parameter 'version' is no version",
				NULL);
			return;
		}
		page->limit = (uint32_t)limit;
	}
	struct op_places *op = op_places_new(http_loop(request), OP_STREAM_READ);
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->key = key;
	op->backwards = page->backwards;
	op->version = version;
	op->limit = page->limit;
	start(request, op);
}

void http_get_stream(struct http_request *request)
{
	read_stream(request, -1);
}

void http_get_stream_events(struct http_request *request)
{
	const int choice = http_choose(request, formats, ANNALS_COUNT_OF(formats));
	if (choice >= 0) {
		read_stream(request, choice);
	}
}

/* ---- Appending ---- */

/* "incarnation.version" between quotes. */
static bool parse_etag(struct bytes text, uint32_t *ret_incarnation, uint64_t *ret_version)
{
	uint64_t incarnation;
	if (text.size < 5 || text.data[0] != '"' || text.data[text.size - 1] != '"') {
		return false;
	}
	text = bytes_of(text.data + 1, text.size - 2);
	const uint8_t *dot = memchr(text.data, '.', text.size);
	if (dot == NULL ||
		parse_u64(bytes_of(text.data, (size_t)(dot - text.data)), &incarnation) != 0 ||
		incarnation == 0 || incarnation > UINT32_MAX ||
		parse_u64(bytes_of(dot + 1, text.size - (size_t)(dot - text.data) - 1),
			ret_version) != 0) {
		return false;
	}
	*ret_incarnation = (uint32_t)incarnation;
	return true;
}

static bool read_expected(struct bytes text, struct http_append *append)
{
	static const struct {
		const char *name;
		enum stream_expect expect;
	} names[] = {{"any", STREAM_ANY}, {"none", STREAM_NONE}, {"exists", STREAM_EXISTS}};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		if (bytes_is(text, names[i].name)) {
			append->expect = names[i].expect;
			return true;
		}
	}
	append->expect = STREAM_VERSION;
	return parse_u64(text, &append->expect_version) == 0;
}

/* False: a problem was sent. */
static bool read_condition(struct http_request *request, struct http_append *append)
{
	struct http_head head;
	http_head_again(request, &head);
	const struct bytes match = http_head_value(&head, "If-Match");
	const struct bytes none = http_head_value(&head, "If-None-Match");
	const struct bytes expected = http_head_value(&head, "Annals-Expected-Version");
	const unsigned given = (match.data != NULL) + (none.data != NULL) + (expected.data != NULL);
	const char *wrong = NULL;
	if (given > 1) {
		wrong = "only one of If-Match, If-None-Match and Annals-Expected-Version can be "
			"given";
	} else if (none.data != NULL) {
		append->expect = STREAM_NONE;
		wrong = bytes_is(none, "*") ? NULL : "If-None-Match can only be '*' here";
	} else if (match.data != NULL && bytes_is(match, "*")) {
		append->expect = STREAM_EXISTS;
	} else if (match.data != NULL) {
		append->expect = STREAM_VERSION;
		wrong = parse_etag(match, &append->expect_incarnation, &append->expect_version)
				? NULL
				: "If-Match is neither '*' nor the ETag of a stream";
	} else if (expected.data != NULL && !read_expected(expected, append)) {
		wrong = "Annals-Expected-Version is neither a version nor 'any', 'none', 'exists'";
	}
	if (wrong != NULL) {
		http_problem(request, ANNALS_E_INVALID, wrong, NULL);
	}
	return wrong == NULL;
}

void http_post_stream(struct http_request *request)
{
	struct bytes key;
	struct topic *topic = http_topic(request, 0);
	if (topic == NULL) {
		return;
	}
	struct http_append *append = http_append_new(request, topic);
	if (append == NULL || !read_key(request, &key) || !read_condition(request, append)) {
		return;
	}
	if (!topic->config.streams) {
		http_problem(request, ANNALS_E_UNSUPPORTED_OPERATION,
			"the topic was created without streams", NULL);
		return;
	}
	append->of_stream = true;
	append->batcher.has_key = true;
	append->batcher.key = key;
	http_append_begin(request, append);
}

/* ---- Queries ---- */

#define TERMS_MAX QUERY_TERMS_MAX

/* Adds "name=value&" as it came to what the link repeats. */
static bool keep_term(struct page *page, struct bytes name, struct bytes value)
{
	return buf_add(&page->terms, name.data, name.size) == 0 &&
	       buf_add_byte(&page->terms, '=') == 0 &&
	       buf_add(&page->terms, value.data, value.size) == 0 &&
	       buf_add_byte(&page->terms, '&') == 0;
}

static struct op_places *new_query(struct http_request *request)
{
	struct op_places *op = op_places_new(http_loop(request), OP_QUERY);
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
	}
	return op;
}

void http_get_query(struct http_request *request)
{
	const int choice = http_choose(request, formats, ANNALS_COUNT_OF(formats));
	struct page *page = choice >= 0 ? new_page(request) : NULL;
	struct bytes types[TERMS_MAX], tags[TERMS_MAX], name, value;
	struct query_item item = {.types = types, .tags = tags};
	uint64_t after, limit;
	size_t cursor = 0;
	if (page == NULL || !http_typed_reader_read(&page->typed, request, &page->as_json) ||
		!http_param_u64(request, "after", 0, 0, INT64_MAX, &after) ||
		!http_param_u64(request, "limit", LIMIT_INITIAL, 1, PLACES_MAX, &limit)) {
		return;
	}
	page->choice = choice;
	page->is_query = true;
	page->limit = (uint32_t)limit;
	while (http_query_next(request->query, &cursor, &name, &value) == 1) {
		const bool is_type = bytes_is(name, "type");
		uint32_t *count = is_type ? &item.type_count : &item.tag_count;
		if (!is_type && !bytes_is(name, "tag")) {
			continue;
		}
		const size_t start = request->texts.size;
		if (*count == TERMS_MAX || http_percent_decode(value, &request->texts) != 0 ||
			!keep_term(page, name, value)) {
			http_problem(request, ANNALS_E_INVALID,
				"at most 32 types and 32 tags, percent-encoded, can be given",
				NULL);
			return;
		}
		(is_type ? types : tags)[(*count)++] =
			bytes_of(request->texts.data + start, request->texts.size - start);
	}
	struct op_places *op = new_query(request);
	if (op != NULL) {
		op->query = (struct query_condition){&item, 1, after};
		op->limit = page->limit;
		start(request, op);
	}
}

void http_post_query(struct http_request *request)
{
	const int choice = http_choose(request, formats, ANNALS_COUNT_OF(formats));
	struct page *page = choice >= 0 ? new_page(request) : NULL;
	struct http_query query;
	struct error err = {0};
	if (page == NULL || !http_typed_reader_read(&page->typed, request, &page->as_json)) {
		return;
	}
	page->choice = choice;
	page->is_query = true;
	http_query_init(&query);
	const int status = http_query_read(&query, buf_bytes(&request->body), true, &err);
	struct op_places *op = status == 0 ? new_query(request) : NULL;
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
	} else if (op != NULL) {
		op->query = query.condition;
		op->limit = query.limit != 0 ? query.limit : LIMIT_INITIAL;
		start(request, op);
	}
	http_query_release(&query);
}
