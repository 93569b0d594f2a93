/*
 * One HTTP request to somebody else's server and its answer: libcurl's multi interface, driven by a
 * libevent base. Everything belongs to the base's thread.
 *
 * What is never done: following redirects, proxies of the environment, other schemes than http and
 * https, and, unless the options allow it, connecting to addresses that are not public. The address
 * is judged when the socket is made, after the name was resolved, so that a name whose address
 * changes in between gets nowhere. Answers are read to WEBHOOK_ANSWER_BYTES_MAX and thrown away.
 */
#ifndef SERVER_WEBHOOKS_EXCHANGE_H
#define SERVER_WEBHOOKS_EXCHANGE_H

#include <annals/buf.h>
#include <annals/error.h>
#include <annals/list.h>
#include <curl/curl.h>
#include <event2/event.h>

#define WEBHOOK_ANSWER_BYTES_MAX (64u << 10)

struct exchanger {
	struct event_base *base;
	bool allow_private;
	const char *ca_file; /* PEM, instead of the system's; "" = the system's. Borrowed */
	/* private */
	CURLM *multi;
	struct event *timer;
	struct list_node exchanges;
	unsigned count; /* under way */
};
/* ANNALS_E_NO_MEMORY. Half-opened ones can be closed. */
int exchanger_open(struct exchanger *exchanger, struct event_base *base, unsigned connections_max,
	struct error *err) ANNALS_MUST_CHECK;
/* Ends all that is under way as failed. */
void exchanger_cancel(struct exchanger *exchanger);
/* After exchanger_cancel(). Zeroed ones are fine. */
void exchanger_close(struct exchanger *exchanger);

struct exchange {
	/* input; the caller's until done */
	const char *url;
	const char *method; /* "POST", or "OPTIONS" without a body */
	struct curl_slist *headers;
	struct bytes body;
	uint64_t timeout_us;
	void (*done)(struct exchange *exchange); /* not from within exchange_start() */
	/* results */
	unsigned http_status; /* 0: there was no answer, and `text` says why */
	char text[256];
	char retry_after[64], allowed_origin[256], allowed_rate[32];
	uint64_t duration_ns;
	/* private */
	struct exchanger *exchanger;
	struct list_node node;
	CURL *easy;
	uint64_t started_ns;
	size_t head_bytes, body_bytes;
	bool address_refused;
	char curl_text[CURL_ERROR_SIZE];
};
/* ANNALS_E_NO_MEMORY. */
int exchange_start(struct exchanger *exchanger, struct exchange *exchange) ANNALS_MUST_CHECK;

#endif
