#include "webhooks/webhook.h"
#include "http_fields.h"
#include <annals/clock.h>
#include <annals/parse.h>
#include <curl/curl.h>
#include <stdio.h>

#define FILTER_TEXT_BYTES_MAX 1024u
#define TAG_BYTES_MAX 256u

static const char *const state_names[WEBHOOK_STATES] = {
	[WEBHOOK_ENABLED] = "enabled",
	[WEBHOOK_WAITING] = "waiting",
	[WEBHOOK_DISABLED] = "disabled",
};

const char *webhook_state_name(enum webhook_state state)
{
	return state_names[state];
}

int webhook_name_check(struct bytes name, struct error *err)
{
	if (name.size > WEBHOOK_NAME_MAX) {
		return error_fail(err, ANNALS_E_INVALID,
			"the webhook name has %zu characters, the limit is %u", name.size,
			WEBHOOK_NAME_MAX);
	}
	/* The same characters as for the group that bears its name. */
	const int status = group_name_check(name, NULL);
	return status == 0 ? 0
			   : error_fail(err, status,
				     "the webhook name is empty, reserved, or has a character "
				     "outside [A-Za-z0-9._-]");
}

struct webhook_key webhook_key(struct bytes name)
{
	struct webhook_key key = {.bytes = {ROW_WEBHOOK}, .size = 1 + name.size};
	if (name.size > 0) {
		memcpy(key.bytes + 1, name.data, name.size);
	}
	return key;
}

/* ---- Reading ---- */

struct given {
	struct bytes url, topic, group, from, mode, handshake, authorization, state, reason;
	struct json_value topics, secrets, filter;
	uint64_t timeout_us, concurrency, attempts_max, backoff_us, backoff_max_us, rate;
	uint64_t created_us, changed_us, allowed_rate;
};
#define FIELD(name, kind, member, max)                                                             \
	{                                                                                          \
		name, kind, offsetof(struct given, member), max                                    \
	}
static const struct http_field all_fields[] = {
	FIELD("url", HTTP_FIELD_TEXT, url, 0),
	FIELD("topic", HTTP_FIELD_TEXT, topic, 0),
	FIELD("topics", HTTP_FIELD_VALUE, topics, 0),
	FIELD("group", HTTP_FIELD_TEXT, group, 0),
	FIELD("from", HTTP_FIELD_TEXT, from, 0),
	FIELD("filter", HTTP_FIELD_VALUE, filter, 0),
	FIELD("secrets", HTTP_FIELD_VALUE, secrets, 0),
	FIELD("authorization", HTTP_FIELD_TEXT, authorization, 0),
	FIELD("mode", HTTP_FIELD_TEXT, mode, 0),
	FIELD("handshake", HTTP_FIELD_TEXT, handshake, 0),
	FIELD("timeoutMs", HTTP_FIELD_MS, timeout_us, WEBHOOK_TIMEOUT_US_MAX),
	FIELD("concurrency", HTTP_FIELD_U64, concurrency, WEBHOOK_CONCURRENCY_MAX),
	FIELD("attemptsMax", HTTP_FIELD_U64, attempts_max, 10000),
	FIELD("backoffMs", HTTP_FIELD_MS, backoff_us, DELAY_US_MAX),
	FIELD("backoffMaxMs", HTTP_FIELD_MS, backoff_max_us, DELAY_US_MAX),
	FIELD("ratePerMinute", HTTP_FIELD_U64, rate, 1000000),
	{"name", HTTP_FIELD_IGNORED, 0, 0},
	{"signatures", HTTP_FIELD_IGNORED, 0, 0},
	{"authorized", HTTP_FIELD_IGNORED, 0, 0},
	{"delivery", HTTP_FIELD_IGNORED, 0, 0},
	{"created", HTTP_FIELD_IGNORED, 0, 0},
	{"changed", HTTP_FIELD_IGNORED, 0, 0},
	/* Only in the row; passed over when somebody gives back what GET showed. */
	FIELD("state", HTTP_FIELD_TEXT, state, 0),
	FIELD("reason", HTTP_FIELD_TEXT, reason, 0),
	FIELD("createdUs", HTTP_FIELD_U64, created_us, INT64_MAX),
	FIELD("changedUs", HTTP_FIELD_U64, changed_us, INT64_MAX),
	FIELD("allowedRatePerMinute", HTTP_FIELD_U64, allowed_rate, UINT64_MAX),
};
#define STORED_FIELDS 5u /* the last so many */

static int choose(const char *name, struct bytes text, const char *first, const char *second,
	bool *ret_second, struct error *err)
{
	if (text.data == NULL) {
		return 0;
	}
	*ret_second = bytes_is(text, second);
	return *ret_second || bytes_is(text, first)
		       ? 0
		       : error_fail(err, ANNALS_E_INVALID, "'%s' is \"%s\" or \"%s\"", name, first,
				 second);
}

static int check_url(struct webhook *webhook, struct bytes url, struct error *err)
{
	static const struct {
		CURLUPart part;
		const char *problem;
	} unwanted[] = {{CURLUPART_USER, "'url' holds a user or password: they would be shown"},
		{CURLUPART_FRAGMENT, "'url' holds a fragment, which is never sent"}};
	char *scheme = NULL;
	const char *problem = NULL;
	if (url.size == 0) {
		return error_fail(err, ANNALS_E_INVALID, "'url' is missing");
	}
	if (url.size > WEBHOOK_URL_BYTES_MAX || memchr(url.data, 0, url.size) != NULL) {
		return error_fail(err, ANNALS_E_INVALID, "'url' has at most %u bytes and no NUL",
			WEBHOOK_URL_BYTES_MAX);
	}
	memcpy(webhook->url, url.data, url.size);
	webhook->url[url.size] = 0;
	CURLU *parts = curl_url();
	if (parts == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	if (curl_url_set(parts, CURLUPART_URL, webhook->url, CURLU_NON_SUPPORT_SCHEME) !=
			CURLUE_OK ||
		curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK) {
		problem = "'url' is no absolute URL, such as https://example.com/hook";
	} else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
		problem = "'url' must begin with https:// or http://";
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(unwanted) && problem == NULL; i++) {
		char *text = NULL;
		if (curl_url_get(parts, unwanted[i].part, &text, 0) == CURLUE_OK) {
			problem = unwanted[i].problem;
		}
		curl_free(text);
	}
	curl_free(scheme);
	curl_url_cleanup(parts);
	return problem == NULL ? 0 : error_fail(err, ANNALS_E_INVALID, "%s", problem);
}

static int read_authorization(struct webhook *webhook, struct bytes text, struct error *err)
{
	webhook->has_authorization = text.data != NULL;
	for (size_t i = 0; i < text.size; i++) {
		if (text.size > WEBHOOK_AUTHORIZATION_BYTES_MAX || text.data[i] < 0x20 ||
			text.data[i] > 0x7e) {
			return error_fail(err, ANNALS_E_INVALID,
				"'authorization' has at most %u printable ASCII characters",
				WEBHOOK_AUTHORIZATION_BYTES_MAX);
		}
	}
	if (text.size > 0) {
		memcpy(webhook->authorization, text.data, text.size);
	}
	webhook->authorization[text.size] = 0;
	return 0;
}

static int read_topic(void *arg, const struct json_value *element, struct error *err)
{
	struct webhook *webhook = arg;
	struct bytes name;
	if (json_string(element, &webhook->list_scratch, &name) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'topics' are names");
	}
	if (webhook->topic_count == GROUP_TOPICS_MAX) {
		return error_fail(
			err, ANNALS_E_LIMIT, "a webhook has at most %u topics", GROUP_TOPICS_MAX);
	}
	webhook->topics[webhook->topic_count++] = name;
	return topic_name_check(name, err);
}

static int read_secret(void *arg, const struct json_value *element, struct error *err)
{
	struct webhook *webhook = arg;
	struct bytes text;
	if (webhook->secret_count == WEBHOOK_SECRETS_MAX) {
		return error_fail(err, ANNALS_E_LIMIT,
			"a webhook has at most %u secrets: the new one and the old one",
			WEBHOOK_SECRETS_MAX);
	}
	if (json_string(element, &webhook->list_scratch, &text) != 0 ||
		webhook_secret_parse(text, &webhook->secrets[webhook->secret_count]) != 0) {
		return error_fail(err, ANNALS_E_INVALID,
			"'secrets' are \"whsec_\" and the base64 of %u to %u bytes each",
			WEBHOOK_SECRET_BYTES_MIN, WEBHOOK_SECRET_BYTES_MAX);
	}
	webhook->secret_count++;
	return 0;
}

static int read_tag(void *arg, const struct json_value *element, struct error *err)
{
	struct webhook *webhook = arg;
	struct bytes tag;
	if (json_string(element, &webhook->list_scratch, &tag) != 0 || tag.size == 0 ||
		tag.size > TAG_BYTES_MAX) {
		return error_fail(
			err, ANNALS_E_INVALID, "'tags' are texts of 1 to %u bytes", TAG_BYTES_MAX);
	}
	if (webhook->filter.tag_count == EVENT_FILTER_TAGS_MAX) {
		return error_fail(
			err, ANNALS_E_LIMIT, "a filter has at most %u tags", EVENT_FILTER_TAGS_MAX);
	}
	webhook->filter.tags[webhook->filter.tag_count++] = tag;
	return 0;
}

struct given_filter {
	struct bytes type, type_prefix, subject, key;
	struct json_value tags;
};

static int read_filter(struct webhook *webhook, struct bytes text, struct error *err)
{
	static const struct http_field fields[] = {
		{"type", HTTP_FIELD_TEXT, offsetof(struct given_filter, type), 0},
		{"typePrefix", HTTP_FIELD_TEXT, offsetof(struct given_filter, type_prefix), 0},
		{"subject", HTTP_FIELD_TEXT, offsetof(struct given_filter, subject), 0},
		{"key", HTTP_FIELD_TEXT, offsetof(struct given_filter, key), 0},
		{"tags", HTTP_FIELD_VALUE, offsetof(struct given_filter, tags), 0},
	};
	struct given_filter given = {.type = {NULL, 0}};
	int status = http_fields_read(
		text, fields, ANNALS_COUNT_OF(fields), &given, &webhook->filter_scratch, err);
	if (status != 0) {
		return error_wrap(err, "'filter'");
	}
	if (given.type.size > FILTER_TEXT_BYTES_MAX ||
		given.type_prefix.size > FILTER_TEXT_BYTES_MAX ||
		given.subject.size > FILTER_TEXT_BYTES_MAX ||
		given.key.size > FILTER_TEXT_BYTES_MAX) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"a text of 'filter' has at most %u bytes", FILTER_TEXT_BYTES_MAX);
	}
	webhook->filter.type = given.type;
	webhook->filter.type_prefix = given.type_prefix;
	webhook->filter.subject = given.subject;
	webhook->filter.key = given.key;
	return http_fields_each(&given.tags, "tags", read_tag, webhook, err);
}

/* Where the events come from: topics, with a group of its own, or a group that is there. */
static int read_source(
	struct webhook *webhook, const struct given *given, bool stored, struct error *err)
{
	int status = 0;
	if (given->topic.data != NULL) {
		webhook->topics[webhook->topic_count++] = given->topic;
		status = topic_name_check(given->topic, err);
	}
	status = status != 0 ? status
			     : http_fields_each(&given->topics, "topics", read_topic, webhook, err);
	if (status != 0) {
		return status;
	}
	(void)snprintf(
		webhook->group, sizeof(webhook->group), WEBHOOK_GROUP_PREFIX "%s", webhook->name);
	/* A row always names its group; without topics of its own it is another's. */
	webhook->has_own_group =
		given->group.size == 0 ||
		(webhook->topic_count > 0 && bytes_is(given->group, webhook->group));
	if (!webhook->has_own_group) {
		status = group_name_check(given->group, err);
		if (status == 0) {
			memcpy(webhook->group, given->group.data, given->group.size);
			webhook->group[given->group.size] = 0;
		}
	}
	if (status == 0 && !stored && webhook->has_own_group != (webhook->topic_count > 0)) {
		status = error_fail(err, ANNALS_E_INVALID,
			"say 'topics', or the 'group' whose topics they are; not both");
	}
	return status;
}

static int check_numbers(struct webhook *webhook, const struct given *given, struct error *err)
{
	webhook->timeout_us = given->timeout_us;
	webhook->concurrency = given->concurrency;
	webhook->attempts_max = given->attempts_max;
	webhook->backoff_us = given->backoff_us;
	webhook->backoff_max_us = ANNALS_MAX(given->backoff_max_us, given->backoff_us);
	webhook->rate = given->rate;
	webhook->created_us = given->created_us;
	webhook->changed_us = given->changed_us;
	webhook->allowed_rate = given->allowed_rate;
	if (given->concurrency == 0) {
		return error_fail(err, ANNALS_E_INVALID, "'concurrency' is at least 1");
	}
	if (given->timeout_us < 1000) {
		return error_fail(err, ANNALS_E_INVALID, "'timeoutMs' is at least 1");
	}
	return 0;
}

static int read_state(struct webhook *webhook, const struct given *given)
{
	const size_t size = ANNALS_MIN(given->reason.size, WEBHOOK_REASON_BYTES_MAX);
	if (size > 0) {
		memcpy(webhook->reason, given->reason.data, size);
	}
	webhook->reason[size] = 0;
	for (size_t i = 0; i < WEBHOOK_STATES; i++) {
		if (bytes_is(given->state, state_names[i])) {
			webhook->state = (enum webhook_state)i;
			return 0;
		}
	}
	return ANNALS_E_INVALID;
}

static int take_given(
	struct webhook *webhook, const struct given *given, bool stored, struct error *err)
{
	bool handshake_off = false;
	int status = check_url(webhook, given->url, err);
	status = status != 0 ? status : read_source(webhook, given, stored, err);
	status = status != 0 ? status
			     : choose("from", given->from, "earliest", "latest",
				       &webhook->from_latest, err);
	status = status != 0 ? status
			     : choose("mode", given->mode, "structured", "binary", &webhook->binary,
				       err);
	status = status != 0 ? status
			     : choose("handshake", given->handshake, "required", "off",
				       &handshake_off, err);
	status = status != 0 ? status : read_authorization(webhook, given->authorization, err);
	webhook->handshake = !handshake_off;
	webhook->has_secrets = given->secrets.raw.size > 0;
	status = status != 0
			 ? status
			 : http_fields_each(&given->secrets, "secrets", read_secret, webhook, err);
	if (status == 0 && given->filter.raw.size > 0) {
		status = read_filter(webhook, given->filter.raw, err);
	}
	status = status != 0 ? status : check_numbers(webhook, given, err);
	if (status == 0 && stored) {
		status = read_state(webhook, given);
	}
	return status;
}

int webhook_read(struct webhook *webhook, struct bytes name, struct bytes text, bool stored,
	struct error *err)
{
	struct http_field fields[ANNALS_COUNT_OF(all_fields)];
	struct given given = {.timeout_us = 10000000,
		.concurrency = 4,
		.attempts_max = 20,
		.backoff_us = 1000000,
		.backoff_max_us = UINT64_C(3600) * 1000000};
	memset(webhook, 0, sizeof(*webhook));
	int status = webhook_name_check(name, err);
	if (status != 0) {
		return status;
	}
	memcpy(webhook->name, name.data, name.size);
	memcpy(fields, all_fields, sizeof(fields));
	for (size_t i = ANNALS_COUNT_OF(fields) - STORED_FIELDS;
		i < ANNALS_COUNT_OF(fields) && !stored; i++) {
		fields[i].kind = HTTP_FIELD_IGNORED;
	}
	if (buf_add(&webhook->text, text.data, text.size) != 0 ||
		buf_reserve(&webhook->list_scratch, text.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	status = http_fields_read(buf_bytes(&webhook->text), fields, ANNALS_COUNT_OF(fields),
		&given, &webhook->scratch, err);
	return status != 0 ? status : take_given(webhook, &given, stored, err);
}

void webhook_release(struct webhook *webhook)
{
	buf_release(&webhook->text);
	buf_release(&webhook->scratch);
	buf_release(&webhook->filter_scratch);
	buf_release(&webhook->list_scratch);
	explicit_bzero(webhook->secrets, sizeof(webhook->secrets));
	explicit_bzero(webhook->authorization, sizeof(webhook->authorization));
	webhook->secret_count = 0;
}

/* ---- Writing ---- */

static void write_texts(
	struct json_writer *writer, const char *name, const struct bytes *texts, size_t count)
{
	json_name(writer, name);
	json_begin_array(writer);
	for (size_t i = 0; i < count; i++) {
		json_write_text(writer, texts[i]);
	}
	json_end_array(writer);
}

static void write_filter(struct json_writer *writer, const struct event_filter *filter)
{
	const struct {
		const char *name;
		struct bytes text;
	} texts[] = {{"type", filter->type}, {"typePrefix", filter->type_prefix},
		{"subject", filter->subject}, {"key", filter->key}};
	json_name(writer, "filter");
	json_begin_object(writer);
	for (size_t i = 0; i < ANNALS_COUNT_OF(texts); i++) {
		if (texts[i].text.data != NULL) {
			json_member_text(writer, texts[i].name, texts[i].text);
		}
	}
	if (filter->tag_count > 0) {
		write_texts(writer, "tags", filter->tags, filter->tag_count);
	}
	json_end_object(writer);
}

static void write_secrets(const struct webhook *webhook, struct json_writer *writer)
{
	json_name(writer, "secrets");
	json_begin_array(writer);
	for (uint32_t i = 0; i < webhook->secret_count; i++) {
		struct buf text = BUF_INIT;
		if (webhook_secret_format(&webhook->secrets[i], &text) != 0) {
			writer->status = ANNALS_E_NO_MEMORY;
		} else {
			json_write_text(writer, buf_bytes(&text));
		}
		buf_release(&text);
	}
	json_end_array(writer);
}

void webhook_write(const struct webhook *webhook, struct json_writer *writer, bool stored)
{
	json_member_cstring(writer, "url", webhook->url);
	if (webhook->topic_count > 0) {
		write_texts(writer, "topics", webhook->topics, webhook->topic_count);
		json_member_cstring(writer, "from", webhook->from_latest ? "latest" : "earliest");
	}
	json_member_cstring(writer, "group", webhook->group);
	if (!event_filter_is_empty(&webhook->filter)) {
		write_filter(writer, &webhook->filter);
	}
	json_member_cstring(writer, "mode", webhook->binary ? "binary" : "structured");
	json_member_cstring(writer, "handshake", webhook->handshake ? "required" : "off");
	json_member_u64(writer, "timeoutMs", webhook->timeout_us / 1000);
	json_member_u64(writer, "concurrency", webhook->concurrency);
	json_member_u64(writer, "attemptsMax", webhook->attempts_max);
	json_member_u64(writer, "backoffMs", webhook->backoff_us / 1000);
	json_member_u64(writer, "backoffMaxMs", webhook->backoff_max_us / 1000);
	json_member_u64(writer, "ratePerMinute", webhook->rate);
	json_member_u64(writer, "allowedRatePerMinute", webhook->allowed_rate);
	json_member_cstring(writer, "state", state_names[webhook->state]);
	json_member_cstring(writer, "reason", webhook->reason);
	if (stored) {
		json_member_u64(writer, "createdUs", webhook->created_us);
		json_member_u64(writer, "changedUs", webhook->changed_us);
		json_member_cstring(writer, "authorization", webhook->authorization);
		write_secrets(webhook, writer);
	} else {
		json_member_u64(writer, "signatures", webhook->secret_count);
		json_member_bool(writer, "authorized", webhook->authorization[0] != 0);
	}
}

int webhook_write_row(const struct webhook *webhook, struct buf *out)
{
	struct json_writer writer;
	json_writer_init(&writer, out);
	json_begin_object(&writer);
	webhook_write(webhook, &writer, true);
	json_end_object(&writer);
	return json_writer_status(&writer);
}

void webhook_set_state(struct webhook *webhook, enum webhook_state state, const char *reason)
{
	webhook->state = state;
	webhook->changed_us = clock_wall_us();
	(void)snprintf(webhook->reason, sizeof(webhook->reason), "%s", reason);
}

uint64_t webhook_rate(const struct webhook *webhook)
{
	if (webhook->rate == 0 || webhook->allowed_rate == 0) {
		return ANNALS_MAX(webhook->rate, webhook->allowed_rate);
	}
	return ANNALS_MIN(webhook->rate, webhook->allowed_rate);
}
