/* Trials: an event of no topic for a receiver, at once, whose answer somebody waits for. */
#include "webhooks/sender_internal.h"
#include <annals/clock.h>
#include <annals/hash.h>
#include <stdlib.h>

struct trial {
	struct exchange exchange;
	struct webhooks *webhooks;
	struct webhook_trial *request;
	struct webhook_message message;
};

static void answer(struct webhook_trial *request, int status, const char *text)
{
	if (status != 0) {
		request->base.status = error_fail(&request->base.error, status, "%s", text);
	}
	completion_push(&request->base);
}

static void trial_done(struct exchange *exchange)
{
	struct trial *trial = ANNALS_CONTAINER_OF(exchange, struct trial, exchange);
	struct webhooks *webhooks = trial->webhooks;
	struct webhook_trial *request = trial->request;
	request->http_status = exchange->http_status;
	request->duration_us = exchange->duration_ns / 1000;
	memcpy(request->text, exchange->text, sizeof(request->text));
	answer(request, 0, "");
	webhook_message_release(&trial->message);
	free(trial);
	webhooks_use_room(webhooks);
}

static int make_message(struct trial *trial, const struct hook *hook)
{
	static const struct topic no_topic = {.name = "annals.webhook.test"};
	ANNALS_CLEANUP(buf_release) struct buf encoded = BUF_INIT;
	uint8_t uuid[16];
	char id[37];
	uuid_new(uuid);
	uuid_format(id, uuid);
	const uint64_t now_us = clock_wall_us();
	const struct record record = {.id = bytes_text(id),
		.source = bytes_text("urn:annals:webhook"),
		.type = bytes_text("annals.webhook.test"),
		.subject = bytes_text(hook->config.name),
		.datacontenttype = bytes_text("application/json"),
		.data = bytes_text("{}"),
		.has_data = true};
	int status = record_encode(&record, &encoded);
	const struct webhook_event event = {.topic = &no_topic,
		.attempt = 1,
		.offset = now_us,
		.recorded_us = now_us,
		.version = VERSION_NONE,
		.encoded = buf_bytes(&encoded)};
	return status != 0 ? status
			   : webhook_message_make(&trial->message, &hook->config,
				     hook->webhooks->origin, &event, now_us);
}

void hook_try(struct hook *hook, struct webhook_trial *request)
{
	struct webhooks *webhooks = hook->webhooks;
	struct trial *trial;
	int status;
	if (hook->config.state == WEBHOOK_WAITING) {
		answer(request, ANNALS_E_CONFLICT,
			"the receiver has not agreed yet: resuming the webhook asks it again");
		return;
	}
	if (webhooks->exchanger.count >= webhooks->requests_max) {
		answer(request, ANNALS_E_OVERLOADED,
			"as many requests are under way as webhook-requests-max allows");
		return;
	}
	trial = calloc(1, sizeof(*trial));
	status = trial == NULL ? ANNALS_E_NO_MEMORY : make_message(trial, hook);
	if (status == 0) {
		trial->webhooks = webhooks;
		trial->request = request;
		trial->exchange.url = hook->config.url;
		trial->exchange.method = "POST";
		trial->exchange.headers = trial->message.headers;
		trial->exchange.body = buf_bytes(&trial->message.body);
		trial->exchange.timeout_us = hook->config.timeout_us;
		trial->exchange.done = trial_done;
		status = exchange_start(&webhooks->exchanger, &trial->exchange);
	}
	if (status != 0) {
		if (trial != NULL) {
			webhook_message_release(&trial->message);
		}
		free(trial);
		answer(request, status, annals_status_text(status));
	}
}
