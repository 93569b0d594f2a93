#include "webhooks/answer.h"
#include <annals/parse.h>
#include <strings.h>
#include <time.h>

enum webhook_verdict webhook_judge(unsigned http_status)
{
	if (http_status >= 200 && http_status < 300) {
		return WEBHOOK_DONE;
	}
	switch (http_status) {
	case 410:
		return WEBHOOK_GONE;
	case 429:
	case 503:
		return WEBHOOK_THROTTLED;
	default:
		return WEBHOOK_FAILED;
	}
}

static struct bytes trimmed(struct bytes text)
{
	while (text.size > 0 && (*text.data == ' ' || *text.data == '\t')) {
		text = bytes_of(text.data + 1, text.size - 1);
	}
	while (text.size > 0 &&
		(text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) {
		text.size--;
	}
	return text;
}

int webhook_retry_after(struct bytes text, uint64_t now_us, uint64_t *ret_us)
{
	char date[40];
	struct tm parts = {0};
	uint64_t seconds;
	text = trimmed(text);
	if (parse_u64(text, &seconds) == 0) {
		*ret_us = ANNALS_MIN(seconds, WEBHOOK_RETRY_AFTER_US_MAX / 1000000) * 1000000;
		return 0;
	}
	if (text.size >= sizeof(date)) {
		return ANNALS_E_INVALID;
	}
	memcpy(date, text.data, text.size);
	date[text.size] = 0;
	const char *end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
	const time_t at = end == NULL || *end != 0 ? -1 : timegm(&parts);
	if (at < 0) {
		return ANNALS_E_INVALID;
	}
	const uint64_t at_us = (uint64_t)at * 1000000;
	*ret_us = at_us <= now_us ? 0 : ANNALS_MIN(at_us - now_us, WEBHOOK_RETRY_AFTER_US_MAX);
	return 0;
}

uint64_t webhook_backoff_us(uint64_t first_us, uint64_t max_us, uint32_t attempt, uint64_t random)
{
	uint64_t delay = first_us;
	for (uint32_t i = 1; i < attempt && delay < max_us; i++) {
		delay = delay > max_us / 2 ? max_us : delay * 2;
	}
	delay = ANNALS_MIN(delay, max_us);
	return delay - random % (delay / 2 + 1);
}

bool webhook_origin_is_allowed(struct bytes allowed, const char *origin)
{
	allowed = trimmed(allowed);
	return bytes_is(allowed, "*") ||
	       (allowed.size > 0 && allowed.size == strlen(origin) &&
		       strncasecmp((const char *)allowed.data, origin, allowed.size) == 0);
}

int webhook_allowed_rate(struct bytes text, uint64_t *ret)
{
	uint64_t rate;
	text = trimmed(text);
	if (bytes_is(text, "*")) {
		*ret = 0;
		return 0;
	}
	if (parse_u64(text, &rate) != 0 || rate == 0) {
		return ANNALS_E_INVALID;
	}
	*ret = rate;
	return 0;
}
