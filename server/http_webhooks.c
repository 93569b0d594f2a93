/* Webhooks: their settings, which are rows, and what their sender says of them. */
#include "http_webhooks.h"
#include "http_json.h"
#include "op_delivery.h"
#include "op_webhook.h"
#include "server.h"
#include "webhooks/sender.h"
#include <annals/clock.h>
#include <stdlib.h>

#define LIST_MAX 1000u

/* A change under way: first of the group, then of the row. */
struct change {
	struct webhook webhook;
	struct buf row; /* as it was */
	bool existed, deletes;
	struct server *counted_by; /* in webhooks_begun; or NULL */
};

static void change_free(void *work)
{
	struct change *change = work;
	webhook_release(&change->webhook);
	buf_release(&change->row);
	if (change->counted_by != NULL) {
		(void)atomic_fetch_sub(&change->counted_by->webhooks_begun, 1);
	}
	free(change);
}

static void write_webhook(
	struct http_request *request, struct json_writer *writer, const struct webhook *webhook)
{
	struct webhook_status status;
	json_begin_object(writer);
	json_member_cstring(writer, "name", webhook->name);
	webhook_write(webhook, writer, false);
	http_json_time(writer, "created", webhook->created_us);
	http_json_time(writer, "changed", webhook->changed_us);
	webhooks_status(http_loop(request)->server->webhooks, webhook->name, &status);
	json_name(writer, "delivery");
	json_begin_object(writer);
	json_member_u64(writer, "inFlight", status.in_flight);
	for (unsigned i = 0; i < WEBHOOK_OUTCOMES; i++) {
		json_member_u64(
			writer, webhook_outcome_name((enum webhook_outcome)i), status.outcomes[i]);
	}
	if (status.delivered_us > 0) {
		http_json_time(writer, "lastDelivered", status.delivered_us);
	}
	if (status.failed_us > 0) {
		http_json_time(writer, "lastFailed", status.failed_us);
		json_member_cstring(writer, "lastFailure", status.text);
	}
	if (status.paused_until_us > clock_wall_us()) {
		http_json_time(writer, "pausedUntil", status.paused_until_us);
	}
	json_end_object(writer);
	json_end_object(writer);
}

/* ---- Reading rows ---- */

struct listing {
	struct http_request *request;
	struct json_writer *writer; /* NULL: only count */
	size_t count, limit;        /* of those that are written */
	bool more;
	char last[WEBHOOK_NAME_MAX + 1];
};

static int list_row(void *arg, struct bytes key, struct bytes value)
{
	struct listing *listing = arg;
	struct webhook webhook;
	if (listing->writer == NULL) {
		listing->count++;
		return 0;
	}
	if (listing->count == listing->limit) {
		listing->more = true;
		return 0;
	}
	listing->count++;
	const int status =
		webhook_read(&webhook, bytes_of(key.data + 1, key.size - 1), value, true, NULL);
	if (status == 0) {
		write_webhook(listing->request, listing->writer, &webhook);
		memcpy(listing->last, webhook.name, sizeof(listing->last));
	}
	webhook_release(&webhook);
	return status;
}

/* From the name on that comes after `after`. */
static int list_rows(struct listing *listing, struct bytes after, size_t most, struct error *err)
{
	static const uint8_t prefix = ROW_WEBHOOK;
	struct webhook_key from = webhook_key(after);
	from.bytes[from.size++] = 0; /* the next key there can be */
	return store_row_scan(http_loop(listing->request)->store, bytes_of(&prefix, 1),
		after.size > 0 ? bytes_of(from.bytes, from.size) : bytes_of(NULL, 0), most,
		list_row, listing, err);
}

void http_list_webhooks(struct http_request *request)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	struct listing listing = {.request = request, .writer = &writer};
	struct error err = {0};
	struct bytes after;
	uint64_t limit;
	if (!http_param(request, "after", &after) ||
		!http_param_u64(request, "limit", LIST_MAX, 1, LIST_MAX, &limit)) {
		return;
	}
	listing.limit = limit;
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_name(&writer, "webhooks");
	json_begin_array(&writer);
	int status = after.size > 0 ? webhook_name_check(after, &err) : 0;
	status = status != 0 ? status : list_rows(&listing, after, listing.limit + 1, &err);
	json_end_array(&writer);
	if (listing.more) {
		json_member_cstring(&writer, "after", listing.last);
	}
	json_end_object(&writer);
	if (status != 0) {
		buf_release(&body);
		http_problem(request, status, err.code != 0 ? err.text : NULL, NULL);
		return;
	}
	http_json_send(request, 200, &writer);
}

/* The row of the webhook in the path into change->row: 1, 0 if there is none, or an error. */
static int find_row(struct http_request *request, struct change *change, struct error *err)
{
	int status = webhook_name_check(request->params[0], err);
	if (status != 0) {
		return status;
	}
	const struct webhook_key key = webhook_key(request->params[0]);
	return store_row_get(
		http_loop(request)->store, bytes_of(key.bytes, key.size), &change->row, err);
}

/* A change with the webhook as it is stored; NULL after a problem. */
static struct change *open_change(struct http_request *request)
{
	struct error err = {0};
	struct change *change = calloc(1, sizeof(*change));
	if (change == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	request->work = change;
	request->free_work = change_free;
	int status = find_row(request, change, &err);
	if (status == 0) {
		status = error_fail(&err, ANNALS_E_NOT_FOUND, "there is no webhook '%.*s'",
			(int)request->params[0].size, (const char *)request->params[0].data);
	}
	if (status > 0) {
		change->existed = true;
		status = webhook_read(
			&change->webhook, request->params[0], buf_bytes(&change->row), true, &err);
	}
	if (status < 0) {
		http_problem(request, status, err.code != 0 ? err.text : NULL, NULL);
		return NULL;
	}
	return change;
}

static void answer(struct http_request *request, int http_status, const struct webhook *webhook)
{
	struct buf body = BUF_INIT;
	struct json_writer writer;
	json_writer_init(&writer, &body);
	write_webhook(request, &writer, webhook);
	http_json_send(request, http_status, &writer);
}

void http_get_webhook(struct http_request *request)
{
	const struct change *change = open_change(request);
	if (change != NULL) {
		answer(request, 200, &change->webhook);
	}
}

/* ---- Writing the row ---- */

static void row_done(struct op *op)
{
	struct http_request *request = op->arg;
	const struct change *change = request->work;
	if (op->status == ANNALS_E_CONFLICT) {
		http_problem(request, ANNALS_E_CONFLICT,
			"the webhook was changed at the same time: look at it and try again", NULL);
		return;
	}
	if (op->status != 0) {
		http_op_problem(request, op);
		return;
	}
	webhooks_reload(http_loop(request)->server->webhooks);
	if (change->deletes) {
		http_begin(request, 204, NULL);
		http_send(request, NULL);
	} else {
		answer(request, change->existed ? 200 : 201, &change->webhook);
	}
}

static void change_row(struct http_request *request)
{
	struct change *change = request->work;
	struct op_rows *rows = op_rows_new(http_loop(request));
	const struct webhook_key key = webhook_key(bytes_text(change->webhook.name));
	op_release(request->op); /* the group's */
	request->op = NULL;
	if (rows == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	request->op = &rows->op;
	rows->op.done = row_done;
	rows->op.arg = request;
	rows->expected = change->row;
	change->row = BUF_INIT;
	int status = buf_add(&rows->key, key.bytes, key.size);
	if (status == 0 && !change->deletes) {
		status = webhook_write_row(&change->webhook, &rows->value);
	}
	if (status == 0 && rows->value.size > ROW_VALUE_BYTES_MAX) {
		http_problem(request, ANNALS_E_TOO_LARGE,
			"the webhook's settings take more than 60,000 bytes", NULL);
	} else if (status != 0) {
		http_problem(request, status, NULL, NULL);
	} else if (op_rows_start(rows, change->deletes, !change->existed) == OP_DONE) {
		row_done(&rows->op);
	}
}

/* ---- The group of its own ---- */

static void group_done(struct op *op)
{
	struct http_request *request = op->arg;
	const struct change *change = request->work;
	if (op->status != 0 && !(change->deletes && op->status == ANNALS_E_UNKNOWN_GROUP)) {
		http_op_problem(request, op);
	} else {
		change_row(request);
	}
}

static struct op_delivery *group_op(struct http_request *request, enum delivery_operation operation)
{
	struct op_delivery *op = op_delivery_new(http_loop(request), operation);
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return NULL;
	}
	op->op.done = group_done;
	op->op.arg = request;
	request->op = &op->op;
	return op;
}

static void start_group(struct http_request *request, struct op_delivery *op)
{
	const struct change *change = request->work;
	if (op_delivery_start(op, bytes_text(change->webhook.group)) == OP_DONE) {
		group_done(&op->op);
	}
}

static void put_group(struct http_request *request)
{
	const struct webhook *webhook = &((const struct change *)request->work)->webhook;
	struct op_delivery *op = group_op(request, DELIVERY_GROUP_PUT);
	if (op == NULL) {
		return;
	}
	struct group_config *config = &op->request.put.config;
	group_config_init(config, GROUP_BY_EVENT);
	for (uint32_t i = 0; i < webhook->topic_count; i++) {
		struct error err = {0};
		struct op_detail detail = {.has_offset = false};
		struct topic *topic =
			op_topic_find(http_loop(request), webhook->topics[i], 0, &err, &detail);
		if (topic == NULL) {
			http_problem(request, err.code, err.text, &detail);
			return;
		}
		config->topic_ids[config->topic_count++] = topic->id;
		topic_unref(topic);
	}
	config->lease_us = webhook_lease_us(webhook);
	config->attempts_max = (uint32_t)webhook->attempts_max;
	config->backoff_first_us = webhook->backoff_us;
	config->backoff_max_us = webhook->backoff_max_us;
	op->request.put.start = webhook->from_latest ? GROUP_START_LATEST : GROUP_START_EARLIEST;
	start_group(request, op);
}

/* ---- PUT ---- */

static int count_webhooks(struct http_request *request, struct error *err)
{
	struct listing listing = {.request = request};
	struct change *change = request->work;
	struct server *server = http_loop(request)->server;
	const uint64_t most = http_loop(request)->options->webhooks_max;
	/* Announced before it looks: of requests at the same time the later one counts the earlier
	 * one, as begun or as a row. */
	const size_t begun = atomic_fetch_add(&server->webhooks_begun, 1);
	change->counted_by = server;
	const int status = list_rows(&listing, bytes_of(NULL, 0), 0, err);
	if (status == 0 && listing.count + begun >= most) {
		return error_fail(err, ANNALS_E_LIMIT,
			"there are %zu webhooks and %zu are being made, which is what webhooks-max "
			"allows",
			listing.count, begun);
	}
	return status;
}

/* What a new setting keeps of the old one. */
static int inherit(struct webhook *webhook, const struct webhook *old, struct error *err)
{
	if (strcmp(webhook->group, old->group) != 0 ||
		webhook->has_own_group != old->has_own_group) {
		return error_fail(err, ANNALS_E_CONFLICT,
			"the webhook takes from the group '%s', which cannot be changed: delete it "
			"first",
			old->group);
	}
	webhook->created_us = old->created_us;
	if (!webhook->has_secrets) {
		memcpy(webhook->secrets, old->secrets, sizeof(webhook->secrets));
		webhook->secret_count = old->secret_count;
	}
	if (!webhook->has_authorization) {
		memcpy(webhook->authorization, old->authorization, sizeof(webhook->authorization));
	}
	if (old->state == WEBHOOK_ENABLED && strcmp(webhook->url, old->url) == 0 &&
		webhook->handshake == old->handshake && webhook->rate == old->rate) {
		webhook_set_state(webhook, WEBHOOK_ENABLED, old->reason);
		webhook->allowed_rate = old->allowed_rate;
	}
	return 0;
}

static int check_group(
	struct http_request *request, const struct webhook *webhook, struct error *err)
{
	const int mode = delivery_group_mode(
		http_loop(request)->server->delivery, bytes_text(webhook->group));
	if (webhook->has_own_group || mode == GROUP_BY_EVENT) {
		return 0;
	}
	return mode == 0
		       ? error_fail(err, ANNALS_E_UNKNOWN_GROUP, "there is no group '%s'",
				 webhook->group)
		       : error_fail(err, ANNALS_E_GROUP_MODE,
				 "the group '%s' delivers by offset: a webhook needs one by event",
				 webhook->group);
}

static int read_put(struct http_request *request, struct change *change, struct error *err)
{
	struct webhook *webhook = &change->webhook;
	struct webhook old;
	int status =
		webhook_read(webhook, request->params[0], buf_bytes(&request->body), false, err);
	if (status != 0) {
		return status;
	}
	webhook_set_state(webhook, webhook->handshake ? WEBHOOK_WAITING : WEBHOOK_ENABLED, "");
	webhook->created_us = webhook->changed_us;
	status = find_row(request, change, err);
	if (status == 0) {
		status = count_webhooks(request, err);
	} else if (status > 0) {
		change->existed = true;
		status = webhook_read(&old, request->params[0], buf_bytes(&change->row), true, err);
		status = status != 0 ? status : inherit(webhook, &old, err);
		webhook_release(&old);
	}
	return status != 0 ? status : check_group(request, webhook, err);
}

void http_put_webhook(struct http_request *request)
{
	struct error err = {0};
	struct change *change = calloc(1, sizeof(*change));
	if (change == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	request->work = change;
	request->free_work = change_free;
	const int status = read_put(request, change, &err);
	if (status != 0) {
		http_problem(request, status, err.code != 0 ? err.text : NULL, NULL);
	} else if (change->webhook.has_own_group) {
		put_group(request);
	} else {
		change_row(request);
	}
}

/* ---- DELETE, resume, pause ---- */

void http_delete_webhook(struct http_request *request)
{
	struct change *change = open_change(request);
	if (change == NULL) {
		return;
	}
	change->deletes = true;
	if (!change->webhook.has_own_group) {
		change_row(request);
		return;
	}
	struct op_delivery *op = group_op(request, DELIVERY_GROUP_DELETE);
	if (op != NULL) {
		start_group(request, op);
	}
}

void http_post_webhook_resume(struct http_request *request)
{
	struct change *change = open_change(request);
	if (change != NULL) {
		webhook_set_state(&change->webhook,
			change->webhook.handshake ? WEBHOOK_WAITING : WEBHOOK_ENABLED, "resumed");
		change_row(request);
	}
}

void http_post_webhook_pause(struct http_request *request)
{
	struct change *change = open_change(request);
	if (change != NULL) {
		webhook_set_state(&change->webhook, WEBHOOK_DISABLED, "paused");
		change_row(request);
	}
}

/* ---- Trials ---- */

static void tried(struct op *op)
{
	struct http_request *request = op->arg;
	const struct webhook_trial *trial = &((const struct op_webhook *)op)->request;
	struct buf body = BUF_INIT;
	struct json_writer writer;
	if (op->status != 0) {
		http_op_problem(request, op);
		return;
	}
	json_writer_init(&writer, &body);
	json_begin_object(&writer);
	json_member_bool(
		&writer, "delivered", trial->http_status >= 200 && trial->http_status < 300);
	json_member_u64(&writer, "httpStatus", trial->http_status);
	json_member_cstring(&writer, "answer", trial->text);
	json_member_u64(&writer, "durationMs", trial->duration_us / 1000);
	json_end_object(&writer);
	http_json_send(request, 200, &writer);
}

void http_post_webhook_test(struct http_request *request)
{
	struct op_webhook *op;
	if (open_change(request) == NULL) {
		return;
	}
	op = op_webhook_new(http_loop(request));
	if (op == NULL) {
		http_problem(request, ANNALS_E_NO_MEMORY, NULL, NULL);
		return;
	}
	op->op.done = tried;
	op->op.arg = request;
	request->op = &op->op;
	memcpy(op->request.name, request->params[0].data, request->params[0].size);
	op->request.name[request->params[0].size] = 0;
	if (op_webhook_start(op) == OP_DONE) {
		tried(&op->op);
	}
}
