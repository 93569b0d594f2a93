#include "webhooks/message.h"
#include <annals/hash.h>

static int add_header(struct webhook_message *message, const struct buf *line)
{
	struct buf copy = BUF_INIT;
	struct curl_slist *longer = NULL;
	if (buf_add(&copy, line->data, line->size) == 0 && buf_text(&copy) != NULL) {
		longer = curl_slist_append(message->headers, (const char *)copy.data);
	}
	buf_release(&copy);
	if (longer == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	message->headers = longer;
	return 0;
}

static int add_text(struct webhook_message *message, const char *name, const char *value)
{
	ANNALS_CLEANUP(buf_release) struct buf line = BUF_INIT;
	const int status = buf_printf(&line, "%s: %s", name, value);
	return status != 0 ? status : add_header(message, &line);
}

/* Section 3.1.3.2 of the HTTP binding. */
static int add_encoded(struct buf *line, struct bytes text)
{
	for (size_t i = 0; i < text.size; i++) {
		const uint8_t c = text.data[i];
		const bool plain = c > 0x20 && c < 0x7f && c != '"' && c != '%';
		const int status = plain ? buf_add_byte(line, c) : buf_printf(line, "%%%02X", c);
		if (status != 0) {
			return status;
		}
	}
	return 0;
}

/* One attribute of the event's JSON as a ce- header. */
static int add_attribute(struct webhook_message *message, const struct json_value *name,
	const struct json_value *value, struct buf *scratch)
{
	ANNALS_CLEANUP(buf_release) struct buf line = BUF_INIT;
	struct bytes text = value->raw;
	int status = 0;
	if (json_string_is(name, "data") || json_string_is(name, "data_base64") ||
		json_string_is(name, "datacontenttype")) {
		return 0;
	}
	if (value->type == JSON_STRING) {
		buf_reset(scratch);
		status = json_string(value, scratch, &text);
	}
	status = status != 0 ? status : buf_add_text(&line, "ce-");
	status = status != 0 ? status : buf_add(&line, name->raw.data + 1, name->raw.size - 2);
	/* libcurl's way of an empty value is a semicolon. */
	status = status != 0 ? status : buf_add_text(&line, text.size == 0 ? ";" : ": ");
	status = status != 0 ? status : add_encoded(&line, text);
	return status != 0 ? status : add_header(message, &line);
}

static int add_attributes(struct webhook_message *message, struct bytes json)
{
	ANNALS_CLEANUP(buf_release) struct buf scratch = BUF_INIT;
	struct json_scanner scanner;
	struct json_value name, value;
	int more, status = 0;
	json_scanner_init(&scanner, json);
	if (json_enter_object(&scanner) != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	while (status == 0 && (more = json_next_name(&scanner, &name)) != 0) {
		if (more < 0 || json_scan(&scanner, &value) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		status = add_attribute(message, &name, &value, &scratch);
	}
	return status;
}

/* Body and what is said about it. */
static int make_content(struct webhook_message *message, const struct webhook *webhook,
	const struct webhook_event *event)
{
	ANNALS_CLEANUP(buf_release) struct buf json = BUF_INIT;
	ANNALS_CLEANUP(buf_release) struct buf line = BUF_INIT;
	const struct cloudevent_place place = {.topic = event->topic->name,
		.topic_uuid = event->topic->uuid,
		.partition = event->partition,
		.offset = event->offset,
		.position = event->position,
		.recorded_us = event->recorded_us,
		.version = event->version};
	struct record record;
	if (record_decode_trusted(event->encoded, &record) != 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	if (!webhook->binary) {
		const int status = cloudevent_to_json(&message->body, &record, &place);
		return status != 0 ? status
				   : add_text(message, "Content-Type",
					     "application/cloudevents+json; charset=utf-8");
	}
	int status = cloudevent_to_json(&json, &record, &place);
	status = status != 0 ? status : add_attributes(message, buf_bytes(&json));
	status = status != 0 ? status : buf_add_text(&line, "Content-Type: ");
	/* The attribute is a producer's text: nothing of it may end the line. */
	if (status == 0 && record.datacontenttype.size > 0) {
		for (size_t i = 0; i < record.datacontenttype.size && status == 0; i++) {
			const uint8_t c = record.datacontenttype.data[i];
			status = buf_add_byte(&line, c < 0x20 || c > 0x7e ? '?' : c);
		}
	} else if (status == 0) {
		status = buf_add_text(&line, "application/json");
	}
	status = status != 0 ? status : add_header(message, &line);
	return status != 0 ? status : buf_add(&message->body, record.data.data, record.data.size);
}

int webhook_message_make(struct webhook_message *message, const struct webhook *webhook,
	const char *origin, const struct webhook_event *event, uint64_t now_us)
{
	ANNALS_CLEANUP(buf_release) struct buf line = BUF_INIT;
	char uuid[37], id[80], text[24];
	*message = (struct webhook_message){BUF_INIT, NULL};
	uuid_format(uuid, event->topic->uuid);
	(void)snprintf(id, sizeof(id), "%s-%u-%llu", uuid, event->partition,
		(unsigned long long)event->offset);
	int status = make_content(message, webhook, event);
	status = status != 0 ? status : add_text(message, "Expect", "");
	status = status != 0 ? status : add_text(message, "WebHook-Request-Origin", origin);
	if (status == 0 && webhook->authorization[0] != 0) {
		status = add_text(message, "Authorization", webhook->authorization);
	}
	status = status != 0 ? status : add_text(message, "webhook-id", id);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(now_us / 1000000));
	status = status != 0 ? status : add_text(message, "webhook-timestamp", text);
	(void)snprintf(text, sizeof(text), "%u", event->attempt);
	status = status != 0 ? status : add_text(message, "Annals-Attempt", text);
	if (status == 0 && webhook->secret_count > 0) {
		status = buf_add_text(&line, "webhook-signature: ");
		status = status != 0 ? status
				     : webhook_sign(&line, webhook->secrets, webhook->secret_count,
					       id, now_us / 1000000, buf_bytes(&message->body));
		status = status != 0 ? status : add_header(message, &line);
	}
	return status;
}

int webhook_message_ask(
	struct webhook_message *message, const struct webhook *webhook, const char *origin)
{
	char rate[24];
	*message = (struct webhook_message){BUF_INIT, NULL};
	int status = add_text(message, "WebHook-Request-Origin", origin);
	if (status == 0 && webhook->rate > 0) {
		(void)snprintf(rate, sizeof(rate), "%llu", (unsigned long long)webhook->rate);
		status = add_text(message, "WebHook-Request-Rate", rate);
	}
	if (status == 0 && webhook->authorization[0] != 0) {
		status = add_text(message, "Authorization", webhook->authorization);
	}
	return status;
}

void webhook_message_release(struct webhook_message *message)
{
	buf_release(&message->body);
	curl_slist_free_all(message->headers);
	message->headers = NULL;
}
