/* Consumer groups' committed offsets over HTTP. */
#include "http_delivery.h"
#include "server.h"

#define PARTITION_MAX UINT32_MAX

struct group_names {
	struct delivery *delivery;
	struct json_writer *writer;
};

static int write_group(void *arg, struct bytes group)
{
	struct group_names *names = arg;
	if (delivery_group_mode(names->delivery, group) == 0) {
		json_write_text(names->writer, group);
	}
	return 0;
}

static int write_kept_group(void *arg, const struct group_info *info)
{
	struct group_names *names = arg;
	json_write_text(names->writer, bytes_text(info->name));
	return 0;
}

void http_list_groups(struct http_request *request)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	struct error err = {0};
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_name(&writer, "groups");
	json_begin_array(&writer);
	struct group_names names = {http_loop(request)->server->delivery, &writer};
	int status = store_group_list(http_loop(request)->store, write_group, &names, &err);
	status = status != 0 ? status : delivery_stats(names.delivery, write_kept_group, &names);
	if (status != 0) {
		buf_release(&body);
		http_problem(request, status, err.text, NULL);
		return;
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

static void write_offset(struct json_writer *writer, const struct op_offset *offset)
{
	json_begin_object(writer);
	json_member_cstring(writer, "topic", offset->topic->name);
	json_member_u64(writer, "partition", offset->partition);
	json_member_u64(writer, "offset", offset->offset);
	json_member_text(writer, "metadata", offset->metadata);
	json_member_u64(writer, "leaderEpoch", offset->leader_epoch);
	http_json_time(writer, "committed", offset->committed_us);
	json_member_u64(writer, "firstOffset", offset->first_offset);
	json_member_u64(writer, "endOffset", offset->end_offset);
	json_member_u64(writer, "lag",
		offset->end_offset > offset->offset ? offset->end_offset - offset->offset : 0);
	json_end_object(writer);
}

static int add_offset(void *arg, const struct op_offset *offset)
{
	write_offset(arg, offset);
	return 0;
}

void http_get_offsets(struct http_request *request)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	struct error err = {0};
	struct bytes topic;
	if (!http_param(request, "topic", &topic)) {
		return;
	}
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_text(&writer, "group", request->params[0]);
	json_name(&writer, "offsets");
	json_begin_array(&writer);
	const int status = op_offset_fetch(
		http_loop(request), request->params[0], topic, add_offset, &writer, &err);
	if (status != 0) {
		buf_release(&body);
		http_problem(request, status, err.text, NULL);
		return;
	}
	json_end_array(&writer);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

struct one_offset {
	struct json_writer *writer;
	uint32_t partition;
	bool found;
};

static int find_offset(void *arg, const struct op_offset *offset)
{
	struct one_offset *one = arg;
	if (offset->partition != one->partition) {
		return 0;
	}
	one->found = true;
	write_offset(one->writer, offset);
	return 1;
}

void http_get_offset(struct http_request *request)
{
	uint64_t partition;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	struct error err = {0};
	if (!http_path_number(request, 2, PARTITION_MAX, &partition)) {
		return;
	}
	json_writer_init(&writer, &body);
	struct one_offset one = {&writer, (uint32_t)partition, false};
	const int status = op_offset_fetch(http_loop(request), request->params[0],
		request->params[1], find_offset, &one, &err);
	if (one.found) {
		http_json_send(request, 200, &writer);
		return;
	}
	buf_release(&body);
	if (status < 0) {
		http_problem(request, status, err.text, NULL);
	} else {
		http_problem(request, ANNALS_E_NOT_FOUND,
			"the group has committed no offset for this partition", NULL);
	}
}

/* ---- Committing ---- */

struct entry {
	struct bytes topic, metadata, member; /* member and generation: of the whole commit */
	uint64_t partition, offset, leader_epoch, generation;
	bool has_topic, has_partition, has_offset;
	bool is_commit; /* it stands alone, so it may say whose it is */
};

static int read_number(const char *name, const struct json_value *value, uint64_t max,
	uint64_t *ret, struct error *err)
{
	if (json_u64(value, ret) != 0 || *ret > max) {
		return error_fail(err, ANNALS_E_INVALID, "'%s' is no number from 0 to %llu", name,
			(unsigned long long)max);
	}
	return 0;
}

static int read_text(const char *name, const struct json_value *value, struct buf *scratch,
	struct bytes *ret, struct error *err)
{
	if (value->type == JSON_NULL) {
		return 0;
	}
	const int status = json_string(value, scratch, ret);
	return status == 0 ? 0 : error_fail(err, status, "'%s' is no text", name);
}

static int read_attribute(const struct json_value *name, const struct json_value *value,
	struct entry *entry, struct buf *scratch, struct error *err)
{
	if (json_string_is(name, "offset")) {
		entry->has_offset = true;
		return read_number("offset", value, UINT64_MAX, &entry->offset, err);
	}
	if (json_string_is(name, "partition")) {
		entry->has_partition = true;
		return read_number("partition", value, UINT32_MAX, &entry->partition, err);
	}
	if (json_string_is(name, "topic")) {
		entry->has_topic = true;
		return read_text("topic", value, scratch, &entry->topic, err);
	}
	if (json_string_is(name, "metadata")) {
		return read_text("metadata", value, scratch, &entry->metadata, err);
	}
	if (json_string_is(name, "leaderEpoch")) {
		return read_number("leaderEpoch", value, UINT32_MAX, &entry->leader_epoch, err);
	}
	if (entry->is_commit && json_string_is(name, "member")) {
		return read_text("member", value, scratch, &entry->member, err);
	}
	if (entry->is_commit && json_string_is(name, "generation")) {
		return read_number("generation", value, UINT32_MAX, &entry->generation, err);
	}
	static const char *const results[] = {"committed", "firstOffset", "endOffset", "lag"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(results); i++) {
		if (json_string_is(name, results[i])) {
			return 0;
		}
	}
	return error_fail(err, ANNALS_E_INVALID, "an offset has no member %.*s",
		(int)ANNALS_MIN(name->raw.size, 64), (const char *)name->raw.data);
}

/* Reads the object at the cursor. scratch must have room for all its texts. */
static int read_entry(
	struct json_scanner *scanner, struct entry *entry, struct buf *scratch, struct error *err)
{
	struct json_value name, value;
	int more;
	if (json_enter_object(scanner) != 0) {
		return json_fail(scanner, err);
	}
	while ((more = json_next_name(scanner, &name)) == 1) {
		if (json_scan(scanner, &value) != 0) {
			return json_fail(scanner, err);
		}
		const int status = read_attribute(&name, &value, entry, scratch, err);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 ? json_fail(scanner, err) : 0;
}

static int missing(const struct entry *entry, struct error *err)
{
	const char *name = !entry->has_topic       ? "topic"
			   : !entry->has_partition ? "partition"
						   : "offset";
	return entry->has_topic && entry->has_partition && entry->has_offset
		       ? 0
		       : error_fail(err, ANNALS_E_INVALID, "'%s' is missing", name);
}

static void commit_done(struct op *op)
{
	struct http_request *request = op->arg;
	if (op->status != 0) {
		http_op_problem(request, op);
	} else {
		http_begin(request, 204, NULL);
		http_send(request, NULL);
	}
}

static struct op_offset_commit *new_commit(struct http_request *request, enum op_kind kind)
{
	struct op_offset_commit *commit = op_offset_commit_new(http_loop(request), kind);
	if (commit == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	commit->op.done = commit_done;
	commit->op.arg = request;
	request->op = &commit->op;
	return commit;
}

static void start_commit(struct http_request *request, struct op_offset_commit *commit)
{
	if (op_offset_commit_start(commit, request->params[0]) == OP_DONE) {
		commit_done(&commit->op);
	}
}

/* 0, or an error of the text (err->code set) or of the operation (its own status). */
static int read_entries(struct json_scanner *scanner, struct op_offset_commit *commit,
	struct buf *scratch, struct error *err)
{
	int more;
	if (json_enter_array(scanner) != 0) {
		return json_fail(scanner, err);
	}
	while ((more = json_next_element(scanner)) == 1) {
		struct entry entry = {0};
		int status = read_entry(scanner, &entry, scratch, err);
		status = status != 0 ? status : missing(&entry, err);
		status = status != 0 ? status
				     : op_offset_commit_add(commit, entry.topic,
					       (uint32_t)entry.partition, entry.offset,
					       entry.metadata, (uint32_t)entry.leader_epoch);
		if (status != 0) {
			return status;
		}
	}
	return more < 0 ? json_fail(scanner, err) : 0;
}

static int read_commit(struct http_request *request, struct op_offset_commit *commit,
	struct buf *scratch, struct error *err)
{
	struct json_scanner scanner;
	struct json_value name, value;
	struct entry whose = {.is_commit = true};
	int more;
	if (buf_reserve(scratch, request->body.size) != 0) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "out of memory");
	}
	json_scanner_init(&scanner, buf_bytes(&request->body));
	if (json_enter_object(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	while ((more = json_next_name(&scanner, &name)) == 1) {
		int status;
		if (json_string_is(&name, "offsets")) {
			status = read_entries(&scanner, commit, scratch, err);
		} else {
			status = json_scan(&scanner, &value) != 0 ? json_fail(&scanner, err)
				 : json_string_is(&name, "group") ? 0
				 : json_string_is(&name, "member") ||
						 json_string_is(&name, "generation")
					 ? read_attribute(&name, &value, &whose, scratch, err)
					 : error_fail(err, ANNALS_E_INVALID,
						   "a commit has no member %.*s",
						   (int)ANNALS_MIN(name.raw.size, 64),
						   (const char *)name.raw.data);
		}
		if (status != 0) {
			return status;
		}
	}
	if (more < 0 || json_finish(&scanner) != 0) {
		return json_fail(&scanner, err);
	}
	return op_offset_commit_set_member(commit, whose.member, (uint32_t)whose.generation);
}

void http_put_offsets(struct http_request *request)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct error err = {0};
	struct op_offset_commit *commit = new_commit(request, OP_OFFSET_COMMIT);
	if (commit == NULL) {
		return;
	}
	const int status = read_commit(request, commit, &scratch, &err);
	if (status == 0) {
		start_commit(request, commit);
	} else if (err.code != 0) {
		http_problem(request, err.code, err.text, NULL);
	} else {
		http_op_problem(request, &commit->op);
	}
}

void http_put_offset(struct http_request *request)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct json_scanner scanner;
	struct error err = {0};
	struct entry entry = {.topic = request->params[1],
		.has_topic = true,
		.has_partition = true,
		.is_commit = true};
	uint64_t partition;
	if (!http_path_number(request, 2, PARTITION_MAX, &partition)) {
		return;
	}
	json_scanner_init(&scanner, buf_bytes(&request->body));
	int status = buf_reserve(&scratch, request->body.size);
	status = status != 0 ? status : read_entry(&scanner, &entry, &scratch, &err);
	status = status != 0 ? status : json_finish(&scanner) != 0 ? json_fail(&scanner, &err) : 0;
	status = status != 0 ? status : missing(&entry, &err);
	if (status != 0) {
		http_problem(request, status, err.text, NULL);
		return;
	}
	struct op_offset_commit *commit = new_commit(request, OP_OFFSET_COMMIT);
	if (commit == NULL) {
		return;
	}
	/* The path names topic and partition, whatever the body says. */
	status = op_offset_commit_add(commit, request->params[1], (uint32_t)partition, entry.offset,
		entry.metadata, (uint32_t)entry.leader_epoch);
	status = status != 0 ? status
			     : op_offset_commit_set_member(
				       commit, entry.member, (uint32_t)entry.generation);
	if (status != 0) {
		http_op_problem(request, &commit->op);
	} else {
		start_commit(request, commit);
	}
}

static void forget_offsets(struct http_request *request)
{
	struct op_offset_commit *commit = new_commit(request, OP_GROUP_DELETE);
	if (commit != NULL) {
		start_commit(request, commit);
	}
}

/* What the server kept is gone, or there was nothing: now the offsets. */
static void group_deleted(struct op *op)
{
	struct http_request *request = op->arg;
	if (op->status != 0 && op->status != ANNALS_E_UNKNOWN_GROUP) {
		http_op_problem(request, op);
		return;
	}
	request->op = NULL;
	op_release(op);
	forget_offsets(request);
}

void http_delete_group(struct http_request *request)
{
	struct op_delivery *op = op_delivery_new(http_loop(request), DELIVERY_GROUP_DELETE);
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->op.done = group_deleted;
	op->op.arg = request;
	request->op = &op->op;
	if (op_delivery_start(op, request->params[0]) == OP_DONE) {
		group_deleted(&op->op);
	}
}
