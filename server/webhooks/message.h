/* An event as a request to a receiver: CloudEvents 1.0.2 over HTTP, structured or binary. Pure but
 * for memory. */
#ifndef SERVER_WEBHOOKS_MESSAGE_H
#define SERVER_WEBHOOKS_MESSAGE_H

#include "webhooks/webhook.h"
#include <annals/cloudevents.h>
#include <curl/curl.h>

struct webhook_message {
	struct buf body;
	struct curl_slist *headers;
};
struct webhook_event {
	const struct topic *topic;
	uint32_t partition, attempt;
	uint64_t offset, position, recorded_us, version;
	struct bytes encoded;
};

/*
 * Content type, the event's attributes in binary mode, WebHook-Request-Origin, and the Standard
 * Webhooks headers: webhook-id "<topic uuid>-<partition>-<offset>", the same at every attempt,
 * webhook-timestamp, and webhook-signature when there are secrets. ANNALS_E_NO_MEMORY,
 * ANNALS_E_CORRUPT_DATA, ANNALS_E_INTERNAL. Release it in any case.
 */
int webhook_message_make(struct webhook_message *message, const struct webhook *webhook,
	const char *origin, const struct webhook_event *event, uint64_t now_us) ANNALS_MUST_CHECK;
/* The handshake's headers, without a body. ANNALS_E_NO_MEMORY. */
int webhook_message_ask(struct webhook_message *message, const struct webhook *webhook,
	const char *origin) ANNALS_MUST_CHECK;
void webhook_message_release(struct webhook_message *message);

#endif
