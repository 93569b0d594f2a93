/* Leased events of a webhook: sending, judging, settling. */
#include "webhooks/answer.h"
#include "webhooks/sender_internal.h"
#include <annals/clock.h>
#include <annals/hash.h>
#include <annals/log.h>
#include <stdlib.h>

/* A lease that is sent must last for the exchange, and for settling it. */
#define SETTLE_MARGIN_NS UINT64_C(5000000000)
#define POLL_EVENTS_MOST 100u
#define EXTEND_MARGIN_NS UINT64_C(15000000000)

/* ---- Settling ---- */

struct settling {
	struct hook_call call;
	struct settle_request request;
	struct hook_item *item; /* ends with it; or NULL */
	char reason[REASON_BYTES_MAX + 1];
	struct settle_entry entries[];
};

static void item_free(struct hook_item *item)
{
	item->hook->held--;
	webhook_message_release(&item->message);
	free(item);
}

static void forget_lost(struct hook *hook, const struct settle_entry *entry)
{
	struct list_node *node, *following;
	LIST_FOR_EACH_SAFE (node, following, &hook->ready) {
		struct hook_item *item = LIST_ENTRY(node, struct hook_item, node);
		if (item->lease.topic_id == entry->topic_id &&
			item->lease.partition == entry->partition &&
			item->lease.offset == entry->offset && item->lease.lease == entry->lease) {
			item->extending = false;
			if (entry->status != 0) {
				list_remove(&item->node);
				item_free(item);
			}
		}
	}
}

static void settled(struct hook_call *call)
{
	struct settling *settling = ANNALS_CONTAINER_OF(call, struct settling, call);
	struct hook *hook = call->hook;
	const int status = settling->request.delivery.base.status;
	if (settling->request.kind == SETTLE_EXTEND) {
		for (size_t i = 0; i < settling->request.entry_count; i++) {
			struct settle_entry *entry = &settling->entries[i];
			entry->status = status != 0 ? status : entry->status;
			forget_lost(hook, entry);
		}
	} else if (status != 0 && status != ANNALS_E_UNKNOWN_GROUP) {
		/* The lease runs out and the event comes again. */
		log_warning("a webhook's delivery could not be settled", "webhook",
			hook->config.name, "error", settling->request.delivery.base.error.text);
	}
	if (settling->item != NULL) {
		hook->sending--;
		item_free(settling->item);
	}
	free(settling);
	hook_run(hook);
}

/* time_us: of a refusal or an extension. item: ends with it, may be NULL. What is not 0: without
 * memory, and when delivery does not take it, the leases run out by themselves. */
static int settle(struct hook *hook, enum settle_kind kind, const struct settle_entry *entries,
	size_t count, uint64_t time_us, const char *reason, struct hook_item *item)
{
	struct settling *settling = calloc(1, sizeof(*settling) + count * sizeof(*entries));
	int status = ANNALS_E_NO_MEMORY;
	/* The own group of a webhook went with it; one of its name may be another's, with leases of
	 * the same numbers. */
	const bool is_void = hook->is_retired && hook->config.has_own_group;
	if (settling != NULL && !is_void) {
		memcpy(settling->entries, entries, count * sizeof(*entries));
		(void)snprintf(settling->reason, sizeof(settling->reason), "%s", reason);
		settling->item = item;
		settling->request.delivery.operation = DELIVERY_SETTLE;
		settling->request.kind = kind;
		settling->request.time_us = time_us;
		settling->request.reason = bytes_text(settling->reason);
		settling->request.entries = settling->entries;
		settling->request.entry_count = count;
		webhooks_submit(
			hook, &settling->request.delivery, &settling->call, settled, &status);
	}
	if (status != 0) {
		free(settling);
		if (item != NULL) {
			hook->sending--;
			item_free(item);
		}
	}
	return status;
}

/* ---- Sending ---- */

static void count_outcome(struct hook *hook, enum webhook_outcome outcome, uint64_t times)
{
	(void)pthread_mutex_lock(&hook->webhooks->mutex);
	hook->status.outcomes[outcome] += times;
	(void)pthread_mutex_unlock(&hook->webhooks->mutex);
}

static void note_exchange(struct hook *hook, const struct exchange *exchange,
	enum webhook_outcome outcome, uint64_t now_us)
{
	struct webhooks *webhooks = hook->webhooks;
	unsigned bucket = 0;
	while (bucket + 1 < WEBHOOK_LATENCY_BUCKETS &&
		exchange->duration_ns >= UINT64_C(1) << (bucket + 14)) {
		bucket++;
	}
	(void)pthread_mutex_lock(&webhooks->mutex);
	hook->status.outcomes[outcome]++;
	hook->status.in_flight--;
	webhooks->latency.buckets[bucket]++;
	webhooks->latency.total_ns += exchange->duration_ns;
	if (outcome == WEBHOOK_OUTCOME_DELIVERED) {
		hook->status.delivered_us = now_us;
	} else {
		hook->status.failed_us = now_us;
		memcpy(hook->status.text, exchange->text, sizeof(hook->status.text));
	}
	hook->status.paused_until_us =
		hook->paused_until_ns > clock_monotonic_ns()
			? now_us + (hook->paused_until_ns - clock_monotonic_ns()) / 1000
			: 0;
	(void)pthread_mutex_unlock(&webhooks->mutex);
}

static uint64_t backoff(const struct hook_item *item)
{
	uint64_t number;
	random_bytes(&number, sizeof(number));
	return webhook_backoff_us(item->hook->config.backoff_us, item->hook->config.backoff_max_us,
		item->attempt, number);
}

static void judged(struct hook_item *item)
{
	static const enum webhook_outcome outcomes[WEBHOOK_VERDICTS] = {
		[WEBHOOK_DONE] = WEBHOOK_OUTCOME_DELIVERED,
		[WEBHOOK_GONE] = WEBHOOK_OUTCOME_GONE,
		[WEBHOOK_THROTTLED] = WEBHOOK_OUTCOME_THROTTLED,
		[WEBHOOK_FAILED] = WEBHOOK_OUTCOME_FAILED,
	};
	struct hook *hook = item->hook;
	const struct exchange *exchange = &item->exchange;
	const uint64_t now_us = clock_wall_us();
	const enum webhook_verdict verdict = webhook_judge(exchange->http_status);
	uint64_t delay_us = verdict == WEBHOOK_DONE ? 0 : backoff(item), asked_us;
	if (verdict == WEBHOOK_THROTTLED) {
		if (webhook_retry_after(bytes_text(exchange->retry_after), now_us, &asked_us) ==
			0) {
			delay_us = asked_us;
		}
		hook->paused_until_ns = ANNALS_MAX(
			hook->paused_until_ns, clock_monotonic_ns() + us_to_ns(delay_us));
	} else if (verdict == WEBHOOK_GONE) {
		delay_us = 0; /* it comes when somebody resumes the webhook */
		if (hook->config.state == WEBHOOK_ENABLED && !hook->is_retired) {
			hook_change_state(hook, WEBHOOK_DISABLED, "the receiver answered 410 Gone");
		}
	}
	if (atomic_load(&hook->webhooks->stopping)) {
		delay_us = 0; /* cut off */
	}
	note_exchange(hook, exchange, outcomes[verdict], now_us);
	/* "Too many requests" says nothing about the event: no attempt. */
	(void)settle(hook,
		verdict == WEBHOOK_DONE        ? SETTLE_ACKNOWLEDGE
		: exchange->http_status == 429 ? SETTLE_RETURN
					       : SETTLE_REFUSE,
		&item->lease, 1, delay_us, exchange->text, item);
}

static void item_done(struct exchange *exchange)
{
	struct hook_item *item = ANNALS_CONTAINER_OF(exchange, struct hook_item, exchange);
	struct hook *hook = item->hook;
	struct webhooks *webhooks = hook->webhooks;
	judged(item);
	hook_run(hook);
	webhooks_use_room(webhooks);
}

static int start_exchange(struct hook_item *item, const struct topic *topic)
{
	struct hook *hook = item->hook;
	const struct webhook_event event = {.topic = topic,
		.partition = item->lease.partition,
		.attempt = item->attempt,
		.offset = item->lease.offset,
		.position = item->position,
		.recorded_us = item->recorded_us,
		.version = item->version,
		.encoded = bytes_of(item->encoded, item->size)};
	const int status = webhook_message_make(
		&item->message, &hook->config, hook->webhooks->origin, &event, clock_wall_us());
	if (status != 0) {
		return status;
	}
	item->exchange.url = hook->config.url;
	item->exchange.method = "POST";
	item->exchange.headers = item->message.headers;
	item->exchange.body = buf_bytes(&item->message.body);
	item->exchange.timeout_us = hook->config.timeout_us;
	item->exchange.done = item_done;
	return exchange_start(&hook->webhooks->exchanger, &item->exchange);
}

static void send_item(struct hook_item *item)
{
	struct hook *hook = item->hook;
	struct topic *topic = store_topic_find_id(hook->webhooks->store, item->lease.topic_id);
	list_remove(&item->node);
	hook->sending++;
	const int status = topic == NULL ? ANNALS_E_UNKNOWN_TOPIC : start_exchange(item, topic);
	topic_unref(topic);
	if (status == 0) {
		(void)pthread_mutex_lock(&hook->webhooks->mutex);
		hook->status.in_flight++;
		(void)pthread_mutex_unlock(&hook->webhooks->mutex);
		return;
	}
	count_outcome(hook, WEBHOOK_OUTCOME_FAILED, 1);
	(void)settle(hook, status == ANNALS_E_CORRUPT_DATA ? SETTLE_PARK : SETTLE_REFUSE,
		&item->lease, 1, backoff(item), annals_status_text(status), item);
}

/* Keeps the leases of what has to wait. */
static void extend(struct hook *hook, uint64_t now_ns)
{
	struct settle_entry entries[SETTLE_ENTRIES_MAX / 8];
	const uint64_t lease_us = webhook_lease_us(&hook->config);
	const uint64_t least_ns = us_to_ns(hook->config.timeout_us) + EXTEND_MARGIN_NS;
	size_t count = 0;
	struct list_node *node;
	LIST_FOR_EACH (node, &hook->ready) {
		struct hook_item *item = LIST_ENTRY(node, struct hook_item, node);
		if (!item->extending && item->deadline_ns < now_ns + least_ns &&
			count < ANNALS_COUNT_OF(entries)) {
			item->extending = true;
			item->deadline_ns = now_ns + us_to_ns(lease_us);
			entries[count++] = item->lease;
		}
	}
	if (count > 0 && settle(hook, SETTLE_EXTEND, entries, count, lease_us, "", NULL) != 0) {
		/* Nothing is sent on a lease that may have run out: try again later. */
		LIST_FOR_EACH (node, &hook->ready) {
			struct hook_item *item = LIST_ENTRY(node, struct hook_item, node);
			item->deadline_ns = item->extending ? 0 : item->deadline_ns;
			item->extending = false;
		}
	}
}

uint64_t hook_send(struct hook *hook, uint64_t now_ns)
{
	struct webhooks *webhooks = hook->webhooks;
	const uint64_t rate = webhook_rate(&hook->config);
	const uint64_t timeout_ns = us_to_ns(hook->config.timeout_us);
	uint64_t next_ns = UINT64_MAX;
	struct list_node *node, *following;
	extend(hook, now_ns);
	LIST_FOR_EACH_SAFE (node, following, &hook->ready) {
		struct hook_item *item = LIST_ENTRY(node, struct hook_item, node);
		const uint64_t wait_ns = ANNALS_MAX(hook->paused_until_ns, hook->next_send_ns);
		if (hook->sending >= hook->config.concurrency) {
			break;
		}
		if (wait_ns > now_ns) {
			next_ns = wait_ns;
			break;
		}
		if (webhooks->exchanger.count >= webhooks->requests_max) {
			if (list_is_empty(&hook->blocked)) {
				list_add_tail(&webhooks->blocked, &hook->blocked);
			}
			break;
		}
		if (item->extending || item->deadline_ns < now_ns + timeout_ns + SETTLE_MARGIN_NS) {
			continue;
		}
		if (rate > 0) {
			hook->next_send_ns = now_ns + UINT64_C(60000000000) / rate;
		}
		send_item(item);
	}
	if (!list_is_empty(&hook->ready)) {
		next_ns = ANNALS_MIN(next_ns, now_ns + SETTLE_MARGIN_NS); /* for the leases */
	}
	return next_ns;
}

/* ---- Polls ---- */

static void take_event(
	struct hook *hook, const struct delivered_event *event, uint64_t now_ns, uint64_t now_us)
{
	struct hook_item *item = calloc(1, sizeof(*item) + event->size);
	if (item == NULL) {
		return; /* its lease runs out */
	}
	item->hook = hook;
	item->lease = (struct settle_entry){.topic_id = event->topic_id,
		.partition = event->partition,
		.offset = event->offset,
		.lease = event->lease};
	item->attempt = event->attempt;
	item->position = event->position;
	item->recorded_us = event->recorded_us;
	item->version = event->version;
	item->deadline_ns =
		now_ns + (event->deadline_us > now_us ? us_to_ns(event->deadline_us - now_us) : 0);
	item->size = event->size;
	memcpy(item->encoded, hook->poll.bytes.data + event->at, event->size);
	list_add_tail(&hook->ready, &item->node);
	hook->held++;
}

void hook_take_events(struct hook *hook)
{
	struct settle_entry unwanted[SETTLE_ENTRIES_MAX / 8];
	const uint64_t now_ns = clock_monotonic_ns(), now_us = clock_wall_us();
	size_t count = 0;
	/* What is leased and has to wait counts as delivered: the more only where few are wanted.
	 */
	if (hook->poll.event_count > 0) {
		hook->poll_events =
			ANNALS_MIN(ANNALS_MAX(hook->poll_events, 4u) * 2, POLL_EVENTS_MOST);
	}
	for (size_t i = 0; i < hook->poll.event_count; i++) {
		const struct delivered_event *event = &hook->poll.events[i];
		if (event_filter_passes(&hook->config.filter,
			    bytes_of(hook->poll.bytes.data + event->at, event->size))) {
			take_event(hook, event, now_ns, now_us);
			hook->poll_events = 0;
		} else if (count < ANNALS_COUNT_OF(unwanted)) {
			unwanted[count++] = (struct settle_entry){.topic_id = event->topic_id,
				.partition = event->partition,
				.offset = event->offset,
				.lease = event->lease};
		}
	}
	if (count > 0) {
		count_outcome(hook, WEBHOOK_OUTCOME_FILTERED, count);
		(void)settle(hook, SETTLE_ACKNOWLEDGE, unwanted, count, 0, "", NULL);
	}
}

void hook_give_back(struct hook *hook, const char *reason)
{
	struct list_node *node;
	while ((node = list_pop(&hook->ready)) != NULL) {
		struct hook_item *item = LIST_ENTRY(node, struct hook_item, node);
		hook->sending++;
		(void)settle(hook, SETTLE_REFUSE, &item->lease, 1, 0, reason, item);
	}
}
