/* The thread: its life, the list of webhooks, requests that come back. */
#include "webhooks/sender_internal.h"
#include <annals/clock.h>
#include <annals/log.h>
#include <annals/thread.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

const char *webhook_outcome_name(enum webhook_outcome outcome)
{
	static const char *const names[WEBHOOK_OUTCOMES] = {
		[WEBHOOK_OUTCOME_DELIVERED] = "delivered",
		[WEBHOOK_OUTCOME_FAILED] = "failed",
		[WEBHOOK_OUTCOME_THROTTLED] = "throttled",
		[WEBHOOK_OUTCOME_GONE] = "gone",
		[WEBHOOK_OUTCOME_FILTERED] = "filtered",
	};
	return names[outcome];
}

static void wake(void *arg)
{
	struct webhooks *webhooks = arg;
	const uint64_t one = 1;
	ssize_t n;
	do {
		n = write(webhooks->wake_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

/* ---- Requests ---- */

void webhooks_submit(struct hook *hook, struct delivery_request *request, struct hook_call *call,
	void (*returned)(struct hook_call *call), int *ret_status)
{
	struct error err = {0};
	*call = (struct hook_call){hook, returned};
	memcpy(request->group, hook->config.group, sizeof(request->group));
	request->base.queue = &hook->webhooks->completions;
	request->base.arg = call;
	request->base.operation = STORE_OPERATIONS;
	list_init(&request->base.node);
	list_init(&request->waiting);
	*ret_status = delivery_submit(hook->webhooks->delivery, request, &err);
	if (*ret_status == 0) {
		hook->calls++;
		hook->webhooks->calls++;
	}
}

static void take_completions(struct webhooks *webhooks)
{
	struct list_node requests;
	struct list_node *node;
	list_init(&requests);
	completion_queue_take(&webhooks->completions, &requests);
	while ((node = list_pop(&requests)) != NULL) {
		struct hook_call *call = LIST_ENTRY(node, struct store_request, node)->arg;
		call->hook->calls--;
		webhooks->calls--;
		call->returned(call);
	}
}

/* ---- Hooks ---- */

void hook_free(struct hook *hook)
{
	struct webhooks *webhooks = hook->webhooks;
	(void)pthread_mutex_lock(&webhooks->mutex);
	list_remove(&hook->node);
	(void)pthread_mutex_unlock(&webhooks->mutex);
	list_remove(&hook->blocked);
	event_free(hook->timer);
	webhook_message_release(&hook->ask_message);
	webhook_release(&hook->config);
	buf_release(&hook->row);
	buf_release(&hook->value);
	buf_release(&hook->expected);
	free(hook);
}

void webhooks_use_room(struct webhooks *webhooks)
{
	struct list_node *node;
	while (webhooks->exchanger.count < webhooks->requests_max &&
		(node = list_pop(&webhooks->blocked)) != NULL) {
		hook_run(LIST_ENTRY(node, struct hook, blocked));
	}
}

static void on_hook_timer(evutil_socket_t fd ANNALS_UNUSED, short what ANNALS_UNUSED, void *arg)
{
	hook_run(arg);
}

static struct hook *hook_find(struct webhooks *webhooks, struct bytes name)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &webhooks->hooks) {
		struct hook *hook = LIST_ENTRY(node, struct hook, node);
		if (!hook->is_retired && bytes_is(name, hook->config.name)) {
			return hook;
		}
	}
	return NULL;
}

/* ---- Rows ---- */

struct reading {
	struct webhooks *webhooks;
	bool is_first; /* the server starts */
};

static int hook_add(struct reading *reading, struct webhook *config, struct bytes row)
{
	struct webhooks *webhooks = reading->webhooks;
	struct hook *hook = calloc(1, sizeof(*hook));
	if (hook == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	hook->webhooks = webhooks;
	hook->timer = evtimer_new(webhooks->base, on_hook_timer, hook);
	if (hook->timer == NULL || buf_add(&hook->row, row.data, row.size) != 0) {
		if (hook->timer != NULL) {
			event_free(hook->timer);
		}
		free(hook);
		return ANNALS_E_NO_MEMORY;
	}
	hook->config = *config;
	*config = (struct webhook){.url = ""};
	hook->is_seen = true;
	list_init(&hook->ready);
	list_init(&hook->blocked);
	(void)pthread_mutex_lock(&webhooks->mutex);
	list_add_tail(&webhooks->hooks, &hook->node);
	(void)pthread_mutex_unlock(&webhooks->mutex);
	if (reading->is_first) {
		hook_leave(hook);
	}
	return 0;
}

static int hook_change(struct hook *hook, struct webhook *config, struct bytes row)
{
	struct buf copy = BUF_INIT;
	if (buf_add(&copy, row.data, row.size) != 0) {
		return ANNALS_E_NO_MEMORY;
	}
	buf_release(&hook->row);
	hook->row = copy;
	(void)pthread_mutex_lock(&hook->webhooks->mutex);
	webhook_release(&hook->config);
	hook->config = *config;
	hook->status.paused_until_us = 0;
	(void)pthread_mutex_unlock(&hook->webhooks->mutex);
	*config = (struct webhook){.url = ""};
	hook->must_store = false;
	hook->paused_until_ns = hook->next_send_ns = hook->next_poll_ns = 0;
	hook->next_ask_ns = 0;
	hook->refusals = 0;
	return 0;
}

static int read_row(void *arg, struct bytes key, struct bytes value)
{
	struct reading *reading = arg;
	const struct bytes name = bytes_of(key.data + 1, key.size - 1);
	struct hook *hook = hook_find(reading->webhooks, name);
	struct webhook config;
	struct error err = {0};
	int status;
	if (hook != NULL && (hook->storing || bytes_equal(buf_bytes(&hook->row), value))) {
		hook->is_seen = true; /* what is being stored is looked at again afterwards */
		return 0;
	}
	status = webhook_read(&config, name, value, true, &err);
	if (status != 0) {
		log_error("a webhook's row cannot be read", "error", err.text);
	} else if (hook != NULL && hook->config.created_us == config.created_us &&
		   strcmp(hook->config.group, config.group) == 0) {
		hook->is_seen = true;
		status = hook_change(hook, &config, value);
	} else {
		status = hook_add(reading, &config, value);
	}
	webhook_release(&config);
	return status == ANNALS_E_NO_MEMORY ? status : 0;
}

/* Makes the hooks what the rows say. */
static void read_rows(struct webhooks *webhooks, bool is_first)
{
	static const uint8_t prefix = ROW_WEBHOOK;
	struct reading reading = {webhooks, is_first};
	struct error err = {0};
	struct list_node *node, *following;
	LIST_FOR_EACH (node, &webhooks->hooks) {
		LIST_ENTRY(node, struct hook, node)->is_seen = false;
	}
	const int status = store_row_scan(webhooks->store, bytes_of(&prefix, 1), bytes_of(NULL, 0),
		0, read_row, &reading, &err);
	if (status != 0) {
		log_error("webhooks cannot be read", "error", annals_status_text(status));
	}
	LIST_FOR_EACH_SAFE (node, following, &webhooks->hooks) {
		struct hook *hook = LIST_ENTRY(node, struct hook, node);
		(void)pthread_mutex_lock(&webhooks->mutex);
		hook->is_retired = hook->is_retired || (status == 0 && !hook->is_seen);
		(void)pthread_mutex_unlock(&webhooks->mutex);
		hook_run(hook);
	}
}

/* ---- Trials ---- */

int webhooks_try(struct webhooks *webhooks, struct webhook_trial *trial, struct error *err)
{
	int status = 0;
	(void)pthread_mutex_lock(&webhooks->mutex);
	if (atomic_load(&webhooks->draining)) {
		status = error_fail(err, ANNALS_E_UNAVAILABLE, "the server stops");
	} else {
		list_add_tail(&webhooks->trials, &trial->base.node);
	}
	(void)pthread_mutex_unlock(&webhooks->mutex);
	if (status == 0) {
		wake(webhooks);
	}
	return status;
}

static void take_trials(struct webhooks *webhooks)
{
	struct list_node trials;
	struct list_node *node;
	list_init(&trials);
	(void)pthread_mutex_lock(&webhooks->mutex);
	list_splice(&trials, &webhooks->trials);
	(void)pthread_mutex_unlock(&webhooks->mutex);
	while ((node = list_pop(&trials)) != NULL) {
		struct webhook_trial *trial = ANNALS_CONTAINER_OF(
			LIST_ENTRY(node, struct store_request, node), struct webhook_trial, base);
		struct hook *hook = hook_find(webhooks, bytes_text(trial->name));
		if (hook != NULL && !atomic_load(&webhooks->stopping)) {
			hook_try(hook, trial);
			continue;
		}
		trial->base.status = error_fail(&trial->base.error,
			hook == NULL ? ANNALS_E_NOT_FOUND : ANNALS_E_UNAVAILABLE,
			hook == NULL ? "there is no webhook '%s'"
				     : "the server stops: webhook '%s' is not tried",
			trial->name);
		completion_push(&trial->base);
	}
}

/* ---- The thread ---- */

static bool has_work(const struct webhooks *webhooks)
{
	struct list_node *node;
	LIST_FOR_EACH (node, &webhooks->hooks) {
		const struct hook *hook = LIST_ENTRY(node, struct hook, node);
		if (hook->held > 0 || hook->polling || hook->storing || hook->must_store) {
			return true;
		}
	}
	return webhooks->exchanger.count > 0;
}

static void on_wake(evutil_socket_t fd, short what ANNALS_UNUSED, void *arg)
{
	struct webhooks *webhooks = arg;
	struct list_node *node, *following;
	uint64_t value;
	const ssize_t n = read(fd, &value, sizeof(value));
	(void)n;
	take_completions(webhooks);
	if (atomic_exchange(&webhooks->must_reload, false)) {
		read_rows(webhooks, false);
	}
	take_trials(webhooks);
	if (atomic_load(&webhooks->draining)) {
		LIST_FOR_EACH_SAFE (node, following, &webhooks->hooks) {
			hook_run(LIST_ENTRY(node, struct hook, node));
		}
	}
}

static void *run(void *arg)
{
	struct webhooks *webhooks = arg;
	thread_set_name("annals-webhook");
	read_rows(webhooks, true);
	while (!atomic_load(&webhooks->stopping)) {
		(void)event_base_loop(webhooks->base, EVLOOP_ONCE);
		atomic_store(&webhooks->drained,
			atomic_load(&webhooks->draining) && !has_work(webhooks));
	}
	exchanger_cancel(&webhooks->exchanger);
	on_wake(webhooks->wake_fd, 0, webhooks);
	while (webhooks->calls > 0) {
		(void)event_base_loop(webhooks->base, EVLOOP_ONCE);
	}
	return NULL;
}

static int open_parts(struct webhooks *webhooks, struct error *err)
{
	struct event_config *config = event_config_new();
	if (config != NULL) {
		(void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		webhooks->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	webhooks->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (webhooks->base != NULL && webhooks->wake_fd >= 0) {
		webhooks->wake_event = event_new(webhooks->base, webhooks->wake_fd,
			(short)(EV_READ | EV_PERSIST), on_wake, webhooks);
	}
	if (webhooks->wake_event == NULL || event_add(webhooks->wake_event, NULL) != 0) {
		return error_fail(
			err, ANNALS_E_NO_MEMORY, "cannot make the event loop of webhooks");
	}
	int status =
		exchanger_open(&webhooks->exchanger, webhooks->base, webhooks->requests_max, err);
	if (status != 0) {
		return status;
	}
	status = pthread_create(&webhooks->thread, NULL, run, webhooks);
	if (status != 0) {
		return error_errno(err, ANNALS_E_IO, status, "cannot start the webhooks' thread");
	}
	webhooks->started = true;
	return 0;
}

static int take_options(struct webhooks *webhooks, const struct options *options)
{
	webhooks->origin = strdup(options->webhook_origin);
	webhooks->ca_file = strdup(options->webhook_ca_file);
	webhooks->requests_max = (unsigned)options->webhook_requests_max;
	webhooks->exchanger.ca_file = webhooks->ca_file;
	webhooks->exchanger.allow_private =
		strcmp(options->webhook_private_addresses, "allow") == 0;
	return webhooks->origin == NULL || webhooks->ca_file == NULL ? ANNALS_E_NO_MEMORY : 0;
}

int webhooks_open(struct store *store, struct delivery *delivery, const struct options *options,
	struct webhooks **ret, struct error *err)
{
	struct webhooks *webhooks = calloc(1, sizeof(*webhooks));
	if (webhooks == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(webhooks);
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for webhooks");
	}
	webhooks->store = store;
	webhooks->delivery = delivery;
	webhooks->wake_fd = -1;
	atomic_init(&webhooks->must_reload, false);
	atomic_init(&webhooks->draining, false);
	atomic_init(&webhooks->drained, false);
	atomic_init(&webhooks->stopping, false);
	(void)pthread_mutex_init(&webhooks->mutex, NULL);
	list_init(&webhooks->hooks);
	list_init(&webhooks->blocked);
	list_init(&webhooks->trials);
	completion_queue_init(&webhooks->completions, wake, webhooks);
	int status = take_options(webhooks, options) != 0
			     ? error_fail(err, ANNALS_E_NO_MEMORY, "no memory for webhooks")
			     : open_parts(webhooks, err);
	if (status != 0) {
		webhooks_close(webhooks);
		return status;
	}
	*ret = webhooks;
	return 0;
}

void webhooks_close(struct webhooks *webhooks)
{
	struct list_node *node;
	if (webhooks == NULL) {
		return;
	}
	if (webhooks->started) {
		atomic_store(&webhooks->draining, true);
		atomic_store(&webhooks->stopping, true);
		wake(webhooks);
		(void)pthread_join(webhooks->thread, NULL);
	}
	while ((node = webhooks->hooks.next) != &webhooks->hooks) {
		hook_free(LIST_ENTRY(node, struct hook, node));
	}
	exchanger_close(&webhooks->exchanger);
	if (webhooks->wake_event != NULL) {
		event_free(webhooks->wake_event);
	}
	if (webhooks->base != NULL) {
		event_base_free(webhooks->base);
	}
	if (webhooks->wake_fd >= 0) {
		(void)close(webhooks->wake_fd);
	}
	free(webhooks->origin);
	free(webhooks->ca_file);
	completion_queue_release(&webhooks->completions);
	(void)pthread_mutex_destroy(&webhooks->mutex);
	curl_global_cleanup();
	free(webhooks);
}

/* ---- From other threads ---- */

void webhooks_reload(struct webhooks *webhooks)
{
	atomic_store(&webhooks->must_reload, true);
	wake(webhooks);
}

void webhooks_drain(struct webhooks *webhooks)
{
	if (webhooks != NULL) {
		atomic_store(&webhooks->draining, true);
		wake(webhooks);
	}
}

bool webhooks_is_drained(const struct webhooks *webhooks)
{
	return webhooks == NULL || atomic_load(&((struct webhooks *)(uintptr_t)webhooks)->drained);
}

void webhooks_status(struct webhooks *webhooks, const char *name, struct webhook_status *ret)
{
	memset(ret, 0, sizeof(*ret));
	(void)pthread_mutex_lock(&webhooks->mutex);
	const struct hook *hook = hook_find(webhooks, bytes_text(name));
	if (hook != NULL) {
		*ret = hook->status;
	}
	(void)pthread_mutex_unlock(&webhooks->mutex);
}

int webhooks_each(struct webhooks *webhooks,
	int (*fn)(void *arg, const char *name, enum webhook_state state,
		const struct webhook_status *status),
	void *arg)
{
	struct list_node *node;
	int status = 0;
	(void)pthread_mutex_lock(&webhooks->mutex);
	LIST_FOR_EACH (node, &webhooks->hooks) {
		const struct hook *hook = LIST_ENTRY(node, struct hook, node);
		if (status == 0 && !hook->is_retired) {
			status = fn(arg, hook->config.name, hook->config.state, &hook->status);
		}
	}
	(void)pthread_mutex_unlock(&webhooks->mutex);
	return status;
}

void webhooks_latency(struct webhooks *webhooks, struct webhooks_latency *ret)
{
	(void)pthread_mutex_lock(&webhooks->mutex);
	*ret = webhooks->latency;
	(void)pthread_mutex_unlock(&webhooks->mutex);
}
