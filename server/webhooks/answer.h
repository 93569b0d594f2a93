/* What a receiver's answer means (CloudEvents 1.0.2, http-webhook.md, section 2.2). Pure; any
 * thread. */
#ifndef SERVER_WEBHOOKS_ANSWER_H
#define SERVER_WEBHOOKS_ANSWER_H

#include <annals/bytes.h>
#include <annals/macros.h>
#include <annals/status.h>

enum webhook_verdict {
	WEBHOOK_DONE,      /* any 2xx */
	WEBHOOK_GONE,      /* 410: never again */
	WEBHOOK_THROTTLED, /* 429 and 503: everything waits, as long as Retry-After says */
	WEBHOOK_FAILED,    /* all else, redirects among them: this event comes again */
	WEBHOOK_VERDICTS
};
/* http_status 0: there was no answer. */
enum webhook_verdict webhook_judge(unsigned http_status);

#define WEBHOOK_RETRY_AFTER_US_MAX (UINT64_C(24) * 3600 * 1000000)
/*
 * Retry-After (RFC 9110, section 10.2.3): seconds, or a date in the preferred form of HTTP, which
 * counts from now_us on (microseconds since 1970); what is past is 0. At most a day.
 * ANNALS_E_INVALID.
 */
int webhook_retry_after(struct bytes text, uint64_t now_us, uint64_t *ret_us) ANNALS_MUST_CHECK;

/*
 * How long an event waits after its attempt-th failure (from 1): the first delay doubled each time
 * up to the longest, of which between the half and all is taken by `random` (jitter: receivers that
 * come back are not met by everything at once).
 */
uint64_t webhook_backoff_us(uint64_t first_us, uint64_t max_us, uint32_t attempt, uint64_t random);

/* Does WebHook-Allowed-Origin name this origin, or "*"? Any case. */
bool webhook_origin_is_allowed(struct bytes allowed, const char *origin);
/* WebHook-Allowed-Rate: requests a minute; "*" is 0, no limit. ANNALS_E_INVALID. */
int webhook_allowed_rate(struct bytes text, uint64_t *ret) ANNALS_MUST_CHECK;

#endif
