/* One webhook: when it polls, asks, sends and rests. */
#include "webhooks/answer.h"
#include "webhooks/sender_internal.h"
#include <annals/clock.h>
#include <annals/log.h>
#include <stdlib.h>

#define POLL_WAIT_US UINT64_C(30000000)
#define POLL_BYTES (1u << 20)
#define RETRY_NS UINT64_C(1000000000)
#define ASK_FIRST_NS UINT64_C(10000000000)
#define ASK_MAX_NS UINT64_C(3600000000000)

static bool is_draining(const struct hook *hook)
{
	return atomic_load(&hook->webhooks->draining) || atomic_load(&hook->webhooks->stopping);
}

bool hook_is_stopped(const struct hook *hook)
{
	return hook->is_retired || hook->config.state != WEBHOOK_ENABLED || is_draining(hook);
}

static void note_failure(struct hook *hook, const char *text)
{
	(void)pthread_mutex_lock(&hook->webhooks->mutex);
	hook->status.failed_us = clock_wall_us();
	(void)snprintf(hook->status.text, sizeof(hook->status.text), "%s", text);
	(void)pthread_mutex_unlock(&hook->webhooks->mutex);
}

/* ---- Polls ---- */

static void member_name(const struct hook *hook, char *ret, size_t size)
{
	(void)snprintf(ret, size, WEBHOOK_GROUP_PREFIX "%s", hook->config.name);
}

static void polled(struct hook_call *call)
{
	struct hook *hook = call->hook;
	const int status = hook->poll.delivery.base.status;
	hook->polling = false;
	if (status != 0) {
		hook->next_poll_ns = clock_monotonic_ns() + RETRY_NS;
		note_failure(hook, hook->poll.delivery.base.error.text);
	} else {
		if (hook->poll.is_paused) {
			hook->next_poll_ns = clock_monotonic_ns() + RETRY_NS;
			note_failure(hook, "the group is paused: too much is parked");
		}
		hook_take_events(hook);
	}
	poll_request_release(&hook->poll);
	hook_run(hook);
}

static void start_poll(struct hook *hook, uint64_t now_ns)
{
	int status;
	const uint64_t room = hook->config.concurrency - hook->held;
	memset(&hook->poll, 0, sizeof(hook->poll));
	hook->poll.delivery.operation = DELIVERY_POLL;
	member_name(hook, hook->poll.member, sizeof(hook->poll.member));
	hook->poll.events_max = event_filter_is_empty(&hook->config.filter)
					? (uint32_t)room
					: ANNALS_MAX((uint32_t)room, hook->poll_events);
	hook->poll.bytes_max = POLL_BYTES;
	hook->poll.lease_us = webhook_lease_us(&hook->config);
	hook->poll.wait_us = POLL_WAIT_US;
	webhooks_submit(hook, &hook->poll.delivery, &hook->poll_call, polled, &status);
	hook->polling = status == 0;
	if (status != 0) {
		hook->next_poll_ns = now_ns + RETRY_NS;
	}
}

static void cancel_poll(struct hook *hook)
{
	if (hook->polling && delivery_cancel(hook->webhooks->delivery, &hook->poll.delivery)) {
		hook->polling = false;
		hook->calls--;
		hook->webhooks->calls--;
		poll_request_release(&hook->poll);
	}
}

static void left(struct hook_call *call)
{
	struct hook *hook = call->hook;
	hook->leaving = false;
	member_request_release(&hook->leave);
	hook_run(hook);
}

void hook_leave(struct hook *hook)
{
	int status;
	memset(&hook->leave, 0, sizeof(hook->leave));
	hook->leave.delivery.operation = DELIVERY_LEAVE;
	member_name(hook, hook->leave.member, sizeof(hook->leave.member));
	webhooks_submit(hook, &hook->leave.delivery, &hook->leave_call, left, &status);
	hook->leaving = status == 0;
}

/* ---- The row ---- */

static void stored(struct hook_call *call)
{
	struct hook *hook = call->hook;
	const int status = hook->store.base.status;
	hook->storing = false;
	if (status == 0) {
		buf_release(&hook->row);
		hook->row = hook->value;
		hook->value = BUF_INIT;
	} else if (status == ANNALS_E_CONFLICT) {
		hook->must_store = false; /* somebody else said something newer */
		atomic_store(&hook->webhooks->must_reload, true);
	} else {
		hook->must_store = true;
		hook->next_store_ns = clock_monotonic_ns() + RETRY_NS;
	}
	webhooks_reload(hook->webhooks);
	hook_run(hook);
}

/* True while nothing more can be done about it. */
static void store_row(struct hook *hook, uint64_t now_ns)
{
	struct error err = {0};
	buf_reset(&hook->value);
	buf_reset(&hook->expected);
	hook->next_store_ns = now_ns + RETRY_NS;
	if (webhook_write_row(&hook->config, &hook->value) != 0 ||
		buf_add(&hook->expected, hook->row.data, hook->row.size) != 0) {
		return;
	}
	hook->key = webhook_key(bytes_text(hook->config.name));
	hook->change = (struct row_change){.key = bytes_of(hook->key.bytes, hook->key.size),
		.value = buf_bytes(&hook->value),
		.expect = ROW_EXPECT_VALUE,
		.expected_value = buf_bytes(&hook->expected)};
	memset(&hook->store, 0, sizeof(hook->store));
	hook->store_call = (struct hook_call){hook, stored};
	hook->store.base.operation = STORE_ROWS;
	hook->store.base.queue = &hook->webhooks->completions;
	hook->store.base.arg = &hook->store_call;
	list_init(&hook->store.base.node);
	hook->store.changes = &hook->change;
	hook->store.change_count = 1;
	if (store_submit(hook->webhooks->store, &hook->store.base, &err) == 0) {
		hook->storing = true;
		hook->must_store = false;
		hook->calls++;
		hook->webhooks->calls++;
	}
}

void hook_change_state(struct hook *hook, enum webhook_state state, const char *reason)
{
	(void)pthread_mutex_lock(&hook->webhooks->mutex);
	webhook_set_state(&hook->config, state, reason);
	(void)pthread_mutex_unlock(&hook->webhooks->mutex);
	hook->must_store = true;
	hook->next_store_ns = 0;
	log_info("webhook changed", "webhook", hook->config.name, "state",
		webhook_state_name(state), "reason", reason);
}

/* ---- The handshake: http-webhook.md, section 4 ---- */

static const char *judge_ask(const struct hook *hook, uint64_t *ret_rate)
{
	const struct exchange *ask = &hook->ask;
	if (ask->http_status < 200 || ask->http_status >= 300) {
		return ask->text;
	}
	if (!webhook_origin_is_allowed(bytes_text(ask->allowed_origin), hook->webhooks->origin)) {
		return ask->allowed_origin[0] == 0 ? "the answer has no WebHook-Allowed-Origin"
						   : "WebHook-Allowed-Origin names another origin";
	}
	if (ask->allowed_rate[0] != 0 &&
		webhook_allowed_rate(bytes_text(ask->allowed_rate), ret_rate) != 0) {
		return "WebHook-Allowed-Rate is neither a number above 0 nor '*'";
	}
	return NULL;
}

static void asked(struct exchange *exchange)
{
	struct hook *hook = ANNALS_CONTAINER_OF(exchange, struct hook, ask);
	struct webhooks *webhooks = hook->webhooks;
	uint64_t rate = 0;
	const char *problem = judge_ask(hook, &rate);
	hook->asking = false;
	webhook_message_release(&hook->ask_message);
	if (hook->config.state != WEBHOOK_WAITING || hook->is_retired) {
		/* It has changed meanwhile. */
	} else if (problem == NULL) {
		hook->refusals = 0;
		hook->config.allowed_rate = rate;
		hook_change_state(hook, WEBHOOK_ENABLED, "the receiver agreed");
	} else {
		char text[sizeof(hook->status.text)];
		const uint64_t wait_ns = ASK_FIRST_NS << ANNALS_MIN(hook->refusals, 9u);
		hook->refusals++;
		hook->next_ask_ns = clock_monotonic_ns() + ANNALS_MIN(wait_ns, ASK_MAX_NS);
		(void)snprintf(text, sizeof(text), "handshake: %.200s", problem);
		note_failure(hook, text);
		log_info("a webhook's receiver has not agreed", "webhook", hook->config.name,
			"reason", problem);
	}
	hook_run(hook);
	webhooks_use_room(webhooks);
}

static void start_ask(struct hook *hook, uint64_t now_ns)
{
	hook->next_ask_ns = now_ns + RETRY_NS;
	if (hook->webhooks->exchanger.count >= hook->webhooks->requests_max) {
		return;
	}
	if (webhook_message_ask(&hook->ask_message, &hook->config, hook->webhooks->origin) != 0) {
		webhook_message_release(&hook->ask_message);
		return;
	}
	hook->ask = (struct exchange){.url = hook->config.url,
		.method = "OPTIONS",
		.headers = hook->ask_message.headers,
		.timeout_us = hook->config.timeout_us,
		.done = asked};
	hook->asking = exchange_start(&hook->webhooks->exchanger, &hook->ask) == 0;
	if (!hook->asking) {
		webhook_message_release(&hook->ask_message);
	}
}

/* ---- All of it ---- */

static void set_timer(struct hook *hook, uint64_t at_ns, uint64_t now_ns)
{
	if (at_ns == UINT64_MAX) {
		(void)evtimer_del(hook->timer);
		return;
	}
	const uint64_t delay_us = at_ns > now_ns ? (at_ns - now_ns + 999) / 1000 : 0;
	const struct timeval delay = {.tv_sec = (time_t)(delay_us / 1000000),
		.tv_usec = (suseconds_t)(delay_us % 1000000)};
	(void)evtimer_add(hook->timer, &delay);
}

static uint64_t run_enabled(struct hook *hook, uint64_t now_ns)
{
	uint64_t next_ns = hook_send(hook, now_ns);
	if (hook->polling || hook->leaving || hook->held >= hook->config.concurrency ||
		!list_is_empty(&hook->ready)) {
		return next_ns;
	}
	const uint64_t poll_ns = ANNALS_MAX(
		ANNALS_MAX(hook->next_poll_ns, hook->paused_until_ns), hook->next_send_ns);
	if (poll_ns > now_ns) {
		return ANNALS_MIN(next_ns, poll_ns);
	}
	start_poll(hook, now_ns);
	return hook->polling ? next_ns : ANNALS_MIN(next_ns, hook->next_poll_ns);
}

static uint64_t run_waiting(struct hook *hook, uint64_t now_ns)
{
	if (hook->asking) {
		return UINT64_MAX;
	}
	if (hook->next_ask_ns <= now_ns) {
		start_ask(hook, now_ns);
	}
	return hook->asking ? UINT64_MAX : hook->next_ask_ns;
}

void hook_run(struct hook *hook)
{
	const uint64_t now_ns = clock_monotonic_ns();
	uint64_t next_ns = UINT64_MAX;
	if (hook_is_stopped(hook)) {
		cancel_poll(hook);
		hook_give_back(
			hook, is_draining(hook) ? "the server stops" : "the webhook was stopped");
	} else {
		next_ns = run_enabled(hook, now_ns);
	}
	if (hook->config.state == WEBHOOK_WAITING && !hook->is_retired && !is_draining(hook)) {
		next_ns = run_waiting(hook, now_ns);
	}
	if (hook->must_store && !hook->storing && !hook->is_retired) {
		if (hook->next_store_ns <= now_ns) {
			store_row(hook, now_ns);
		}
		next_ns = hook->storing ? next_ns : ANNALS_MIN(next_ns, hook->next_store_ns);
	}
	if (hook->is_retired && hook->calls == 0 && hook->held == 0 && !hook->asking) {
		hook_free(hook);
		return;
	}
	set_timer(hook, next_ns, now_ns);
}
