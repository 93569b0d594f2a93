/* Topics over HTTP: list, create, describe, change, delete. */
#include "http_json.h"
#include "proto_http.h"
#include <annals/hash.h>
#include <annals/parse.h>
#include <stdlib.h>

static void write_durability(struct json_writer *writer, enum durability durability)
{
	json_member_cstring(writer, "durability", durability == DURABILITY_OS ? "os" : "fsync");
}

static void write_retention(struct json_writer *writer, const struct topic_config *config)
{
	json_name(writer, "retention");
	json_begin_object(writer);
	if (config->retention_age_us > 0) {
		json_member_u64(writer, "ageMs", config->retention_age_us / 1000);
	}
	if (config->retention_bytes > 0) {
		json_member_u64(writer, "bytes", config->retention_bytes);
	}
	if (config->retention_events > 0) {
		json_member_u64(writer, "events", config->retention_events);
	}
	json_end_object(writer);
}

static void write_dedupe(struct json_writer *writer, const struct topic_config *config)
{
	json_name(writer, "dedupe");
	if (config->dedupe_age_us == 0) {
		json_write_bool(writer, false);
		return;
	}
	json_begin_object(writer);
	json_member_u64(writer, "ageMs", config->dedupe_age_us / 1000);
	if (config->dedupe_events > 0) {
		json_member_u64(writer, "events", config->dedupe_events);
	}
	json_end_object(writer);
}

static void write_partitions(
	struct json_writer *writer, struct store *store, const struct topic *topic)
{
	json_name(writer, "partitions");
	json_begin_array(writer);
	for (uint32_t i = 0; i < topic->config.partitions; i++) {
		struct partition_info info;
		if (store_partition_info(store, topic->id, i, &info) != 0) {
			break;
		}
		json_begin_object(writer);
		json_member_u64(writer, "partition", i);
		json_member_u64(writer, "firstOffset", info.first_offset);
		json_member_u64(writer, "endOffset", info.end_offset);
		json_member_u64(writer, "bytes", info.stored_bytes);
		json_end_object(writer);
	}
	json_end_array(writer);
}

static const char *const validation_names[] = {"off", "warn", "enforce"};

static void write_topic(
	struct json_writer *writer, struct store *store, const struct topic *topic, bool whole)
{
	char uuid[37];
	uuid_format(uuid, topic->uuid);
	json_begin_object(writer);
	json_member_cstring(writer, "topic", topic->name);
	json_member_u64(writer, "id", topic->id);
	json_member_cstring(writer, "uuid", uuid);
	http_json_time(writer, "created", topic->created_us);
	json_member_u64(writer, "partitionCount", topic->config.partitions);
	write_retention(writer, &topic->config);
	write_durability(writer, topic->config.durability);
	json_member_bool(writer, "streams", topic->config.streams);
	write_dedupe(writer, &topic->config);
	json_member_bool(writer, "queryIndex", topic->config.query_index);
	json_member_cstring(writer, "validation", validation_names[topic->config.validation]);
	if (topic->config.event_bytes_max > 0) {
		json_member_u64(writer, "eventBytesMax", topic->config.event_bytes_max);
	}
	if (whole) {
		write_partitions(writer, store, topic);
	}
	json_end_object(writer);
}

static void send_topic(struct http_request *request, int http_status, const struct topic *topic)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	write_topic(&writer, http_loop(request)->store, topic, true);
	http_json_send(request, http_status, &writer);
}

void http_get_topic(struct http_request *request)
{
	struct topic *topic = http_topic(request, 0);
	if (topic != NULL) {
		send_topic(request, 200, topic);
		topic_unref(topic);
	}
}

void http_list_topics(struct http_request *request)
{
	struct store *store = http_loop(request)->store;
	struct topic **topics;
	size_t count;
	struct bytes prefix;
	if (!http_param(request, "prefix", &prefix)) {
		return;
	}
	const int status = store_topic_list(store, &topics, &count);
	if (status != 0) {
		http_problem(request, status, NULL, NULL);
		return;
	}
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_name(&writer, "topics");
	json_begin_array(&writer);
	for (size_t i = 0; i < count; i++) {
		if (strncmp(topics[i]->name, prefix.size > 0 ? (const char *)prefix.data : "",
			    prefix.size) == 0) {
			write_topic(&writer, store, topics[i], false);
		}
		topic_unref(topics[i]);
	}
	free(topics);
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

/* ---- Settings from JSON ---- */

static int read_age(struct bytes name, const struct json_value *value, bool text_allowed,
	uint64_t unit_us, uint64_t *ret_us, struct error *err)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct bytes text;
	uint64_t number;
	if (value->type == JSON_NULL) {
		*ret_us = 0;
		return 0;
	}
	if (json_u64(value, &number) == 0 && number <= UINT64_MAX / unit_us) {
		*ret_us = number * unit_us;
		return 0;
	}
	if (text_allowed && json_string(value, &scratch, &text) == 0 &&
		parse_duration_us(text, ret_us) == 0) {
		return 0;
	}
	return error_fail(err, ANNALS_E_INVALID,
		"'%.*s' is no duration such as \"7d\", \"24h\" or \"15s\"", (int)name.size,
		(const char *)name.data);
}

static int read_amount(
	const char *name, const struct json_value *value, uint64_t *ret, struct error *err)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct bytes text;
	if (value->type == JSON_NULL) {
		*ret = 0;
		return 0;
	}
	if (json_u64(value, ret) == 0 ||
		(json_string(value, &scratch, &text) == 0 && parse_size(text, ret) == 0)) {
		return 0;
	}
	return error_fail(
		err, ANNALS_E_INVALID, "'%s' is no number and no size such as \"1GiB\"", name);
}

static int unknown_member(const struct json_value *name, const char *where, struct error *err)
{
	return error_fail(err, ANNALS_E_INVALID, "%s has no member %.*s", where,
		(int)ANNALS_MIN(name->raw.size, 64), (const char *)name->raw.data);
}

static int read_retention(
	const struct json_value *value, struct topic_config *config, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, member;
	int more;
	if (value->type == JSON_NULL) {
		config->retention_age_us = config->retention_bytes = config->retention_events = 0;
		return 0;
	}
	json_scanner_init(&scanner, value->raw);
	if (json_enter_object(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID, "'retention' is no object");
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status = json_scan(&scanner, &member);
		if (status != 0) {
			break;
		}
		if (json_string_is(&name, "age")) {
			status = read_age(bytes_text("retention.age"), &member, true, 1000000,
				&config->retention_age_us, err);
		} else if (json_string_is(&name, "ageMs")) {
			status = read_age(bytes_text("retention.ageMs"), &member, false, 1000,
				&config->retention_age_us, err);
		} else if (json_string_is(&name, "bytes")) {
			status = read_amount(
				"retention.bytes", &member, &config->retention_bytes, err);
		} else if (json_string_is(&name, "events")) {
			status = read_amount(
				"retention.events", &member, &config->retention_events, err);
		} else {
			status = unknown_member(&name, "'retention'", err);
		}
		if (status != 0) {
			return status;
		}
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

/* false, true (a day), or {"age":"24h","events":1000000}. */
static int read_dedupe(
	const struct json_value *value, struct topic_config *config, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, member;
	bool on;
	int more;
	if (value->type == JSON_NULL || json_bool(value, &on) == 0) {
		config->dedupe_age_us = value->type != JSON_NULL && on ? OP_DEDUPE_AGE_US : 0;
		config->dedupe_events = 0;
		return 0;
	}
	json_scanner_init(&scanner, value->raw);
	if (json_enter_object(&scanner) != 0) {
		return error_fail(err, ANNALS_E_INVALID,
			"'dedupe' is neither true, false nor an object with 'age' and 'events'");
	}
	config->dedupe_age_us = OP_DEDUPE_AGE_US;
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status = json_scan(&scanner, &member);
		if (status != 0) {
			break;
		}
		if (json_string_is(&name, "age")) {
			status = read_age(bytes_text("dedupe.age"), &member, true, 1000000,
				&config->dedupe_age_us, err);
		} else if (json_string_is(&name, "ageMs")) {
			status = read_age(bytes_text("dedupe.ageMs"), &member, false, 1000,
				&config->dedupe_age_us, err);
		} else if (json_string_is(&name, "events")) {
			status = read_amount("dedupe.events", &member, &config->dedupe_events, err);
		} else {
			status = unknown_member(&name, "'dedupe'", err);
		}
		if (status != 0) {
			return status;
		}
	}
	return more < 0 ? json_fail(&scanner, err) : 0;
}

static int read_u32(
	const char *name, const struct json_value *value, uint32_t *ret, struct error *err)
{
	uint64_t number;
	if (json_u64(value, &number) != 0 || number > UINT32_MAX) {
		return error_fail(
			err, ANNALS_E_INVALID, "'%s' is no number from 0 to 4294967295", name);
	}
	*ret = (uint32_t)number;
	return 0;
}

/* What GET adds to a topic may come back with PUT and PATCH, and says nothing. */
static bool is_result(const struct json_value *name)
{
	static const char *const results[] = {"topic", "id", "uuid", "created", "partitionCount"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(results); i++) {
		if (json_string_is(name, results[i])) {
			return true;
		}
	}
	return false;
}

static int read_validation(
	const struct json_value *value, struct topic_config *config, struct error *err)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(validation_names); i++) {
		if (json_string_is(value, validation_names[i])) {
			config->validation = (enum validation)i;
			return 0;
		}
	}
	return error_fail(err, ANNALS_E_INVALID,
		"'validation' is neither \"off\" nor \"warn\" nor \"enforce\"");
}

static int read_setting(const struct json_value *name, const struct json_value *value,
	struct topic_config *config, struct error *err)
{
	if (json_string_is(name, "partitions")) {
		return read_u32("partitions", value, &config->partitions, err);
	}
	if (json_string_is(name, "retention")) {
		return read_retention(value, config, err);
	}
	if (json_string_is(name, "eventBytesMax")) {
		return read_u32("eventBytesMax", value, &config->event_bytes_max, err);
	}
	if (json_string_is(name, "streams")) {
		return json_bool(value, &config->streams) == 0
			       ? 0
			       : error_fail(err, ANNALS_E_INVALID,
					 "'streams' is neither true nor false");
	}
	if (json_string_is(name, "dedupe")) {
		return read_dedupe(value, config, err);
	}
	if (json_string_is(name, "queryIndex")) {
		return json_bool(value, &config->query_index) == 0
			       ? 0
			       : error_fail(err, ANNALS_E_INVALID,
					 "'queryIndex' is neither true nor false");
	}
	if (json_string_is(name, "validation")) {
		return read_validation(value, config, err);
	}
	if (json_string_is(name, "durability")) {
		const bool os = json_string_is(value, "os");
		if (!os && !json_string_is(value, "fsync")) {
			return error_fail(err, ANNALS_E_INVALID,
				"'durability' is neither \"fsync\" nor \"os\"");
		}
		config->durability = os ? DURABILITY_OS : DURABILITY_FSYNC;
		return 0;
	}
	return is_result(name) ? 0 : unknown_member(name, "a topic", err);
}

static int read_config(struct bytes body, struct topic_config *config, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, value;
	int more;
	json_scanner_init(&scanner, body);
	if (json_enter_object(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		if (json_scan(&scanner, &value) != 0) {
			return json_fail(&scanner, err);
		}
		const int status = read_setting(&name, &value, config, err);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 || json_finish(&scanner) != 0 ? json_fail(&scanner, err) : 0;
}

/* ---- Changes ---- */

static void topic_done(struct op *op)
{
	struct http_request *request = op->arg;
	if (op->status != 0) {
		http_op_problem(request, op);
	} else if (op->kind == OP_TOPIC_DELETE) {
		http_begin(request, 204, NULL);
		http_send(request, NULL);
	} else {
		const struct op_topic *topic = (const struct op_topic *)op;
		const bool created = op->kind == OP_TOPIC_CREATE && topic->request.created;
		send_topic(request, created ? 201 : 200, op->topic);
	}
}

static void start(
	struct http_request *request, enum op_kind kind, const struct topic_config *config)
{
	struct op_topic *op = op_topic_new(http_loop(request), kind);
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->op.done = topic_done;
	op->op.arg = request;
	request->op = &op->op;
	if (op_topic_start(op, request->params[0], config) == OP_DONE) {
		topic_done(&op->op);
	}
}

void http_put_topic(struct http_request *request)
{
	/* UINT64_MAX: nothing was said, the default depends on streams. */
	struct topic_config config = {.partitions = 1, .dedupe_age_us = UINT64_MAX};
	struct error err = {0};
	const int status =
		request->body.size > 0 ? read_config(buf_bytes(&request->body), &config, &err) : 0;
	if (config.dedupe_age_us == UINT64_MAX) {
		config.dedupe_age_us = config.streams ? OP_DEDUPE_AGE_US : 0;
	}
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
	} else {
		start(request, OP_TOPIC_CREATE, &config);
	}
}

void http_patch_topic(struct http_request *request)
{
	struct error err = {0};
	struct topic *topic = http_topic(request, 0);
	if (topic == NULL) {
		return;
	}
	struct topic_config config = topic->config;
	topic_unref(topic);
	const int status = read_config(buf_bytes(&request->body), &config, &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
	} else {
		start(request, OP_TOPIC_UPDATE, &config);
	}
}

void http_delete_topic(struct http_request *request)
{
	start(request, OP_TOPIC_DELETE, NULL);
}
