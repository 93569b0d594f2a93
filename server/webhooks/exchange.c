#include "webhooks/exchange.h"
#include "webhooks/address.h"
#include <annals/build.h>
#include <annals/clock.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define HEAD_BYTES_MAX (64u << 10)

/* ---- Between libcurl and libevent ---- */

static void finish(struct exchange *exchange, CURLcode code);

static void take_finished(struct exchanger *exchanger)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(exchanger->multi, &left)) != NULL) {
		char *owner = NULL;
		if (message->msg == CURLMSG_DONE) {
			const CURLcode code = message->data.result;
			(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner);
			finish((struct exchange *)(void *)owner, code);
		}
	}
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
	struct exchanger *exchanger = arg;
	int running;
	const int ready = ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
			  ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0);
	(void)curl_multi_socket_action(exchanger->multi, fd, ready, &running);
	take_finished(exchanger);
}

static void on_timer(evutil_socket_t fd ANNALS_UNUSED, short what ANNALS_UNUSED, void *arg)
{
	struct exchanger *exchanger = arg;
	int running;
	(void)curl_multi_socket_action(exchanger->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_finished(exchanger);
}

static int watch_socket(
	CURL *easy ANNALS_UNUSED, curl_socket_t fd, int what, void *arg, void *known)
{
	struct exchanger *exchanger = arg;
	struct event *event = known;
	if (event != NULL) {
		event_free(event);
		event = NULL;
	}
	if (what != CURL_POLL_REMOVE) {
		const int wanted = EV_PERSIST | ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) |
				   ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);
		event = event_new(exchanger->base, fd, (short)wanted, on_socket_event, exchanger);
		if (event == NULL || event_add(event, NULL) != 0) {
			if (event != NULL) {
				event_free(event);
			}
			(void)curl_multi_assign(exchanger->multi, fd, NULL);
			return -1;
		}
	}
	(void)curl_multi_assign(exchanger->multi, fd, event);
	return 0;
}

static int set_timer(CURLM *multi ANNALS_UNUSED, long delay_ms, void *arg)
{
	struct exchanger *exchanger = arg;
	if (delay_ms < 0) {
		return evtimer_del(exchanger->timer);
	}
	const struct timeval delay = {
		.tv_sec = delay_ms / 1000, .tv_usec = (delay_ms % 1000) * 1000};
	return evtimer_add(exchanger->timer, &delay);
}

int exchanger_open(struct exchanger *exchanger, struct event_base *base, unsigned connections_max,
	struct error *err)
{
	exchanger->base = base;
	list_init(&exchanger->exchanges);
	exchanger->count = 0;
	exchanger->timer = evtimer_new(base, on_timer, exchanger);
	exchanger->multi = curl_multi_init();
	if (exchanger->timer == NULL || exchanger->multi == NULL ||
		curl_multi_setopt(exchanger->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) != 0 ||
		curl_multi_setopt(exchanger->multi, CURLMOPT_SOCKETDATA, exchanger) != 0 ||
		curl_multi_setopt(exchanger->multi, CURLMOPT_TIMERFUNCTION, set_timer) != 0 ||
		curl_multi_setopt(exchanger->multi, CURLMOPT_TIMERDATA, exchanger) != 0 ||
		curl_multi_setopt(exchanger->multi, CURLMOPT_MAXCONNECTS, (long)connections_max) !=
			0) {
		exchanger_close(exchanger);
		return error_fail(err, ANNALS_E_NO_MEMORY, "cannot start the HTTP client");
	}
	return 0;
}

void exchanger_cancel(struct exchanger *exchanger)
{
	while (exchanger->base != NULL && !list_is_empty(&exchanger->exchanges)) {
		finish(LIST_ENTRY(exchanger->exchanges.next, struct exchange, node),
			CURLE_ABORTED_BY_CALLBACK);
	}
}

void exchanger_close(struct exchanger *exchanger)
{
	if (exchanger->base == NULL) {
		return;
	}
	if (exchanger->multi != NULL) {
		(void)curl_multi_cleanup(exchanger->multi);
	}
	if (exchanger->timer != NULL) {
		event_free(exchanger->timer);
	}
	exchanger->multi = NULL;
	exchanger->timer = NULL;
	exchanger->base = NULL;
}

/* ---- One exchange ---- */

static curl_socket_t open_socket(
	void *arg, curlsocktype purpose ANNALS_UNUSED, struct curl_sockaddr *address)
{
	struct exchange *exchange = arg;
	if (!exchange->exchanger->allow_private &&
		!webhook_address_is_public(&address->addr, address->addrlen)) {
		exchange->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t count_body(const char *data ANNALS_UNUSED, size_t one, size_t size, void *arg)
{
	struct exchange *exchange = arg;
	exchange->body_bytes += one * size;
	return exchange->body_bytes > WEBHOOK_ANSWER_BYTES_MAX ? 0 : one * size;
}

static void keep_header(const char *line, size_t size, const char *name, char *ret, size_t ret_size)
{
	const size_t skip = strlen(name);
	if (size <= skip || strncasecmp(line, name, skip) != 0) {
		return;
	}
	size -= skip;
	line += skip;
	while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n')) {
		size--;
	}
	if (size < ret_size) {
		memcpy(ret, line, size);
		ret[size] = 0;
	}
}

static size_t read_header(const char *line, size_t one, size_t size, void *arg)
{
	struct exchange *exchange = arg;
	size *= one;
	exchange->head_bytes += size;
	if (exchange->head_bytes > HEAD_BYTES_MAX) {
		return 0;
	}
	keep_header(
		line, size, "retry-after:", exchange->retry_after, sizeof(exchange->retry_after));
	keep_header(line, size, "webhook-allowed-origin:", exchange->allowed_origin,
		sizeof(exchange->allowed_origin));
	keep_header(line, size, "webhook-allowed-rate:", exchange->allowed_rate,
		sizeof(exchange->allowed_rate));
	return size;
}

static CURLcode set_up(struct exchange *exchange)
{
	CURL *easy = exchange->easy;
	CURLcode code = CURLE_OK;
#define SET(option, value)                                                                         \
	do {                                                                                       \
		if (code == CURLE_OK) {                                                            \
			code = curl_easy_setopt(easy, option, value);                              \
		}                                                                                  \
	} while (0)
	SET(CURLOPT_PRIVATE, exchange);
	SET(CURLOPT_URL, exchange->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_USERAGENT, "annals/" ANNALS_VERSION);
	SET(CURLOPT_HTTPHEADER, exchange->headers);
	SET(CURLOPT_TIMEOUT_MS, (long)ANNALS_MAX(exchange->timeout_us / 1000, UINT64_C(1)));
	SET(CURLOPT_ERRORBUFFER, exchange->curl_text);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, exchange);
	SET(CURLOPT_WRITEFUNCTION, count_body);
	SET(CURLOPT_WRITEDATA, exchange);
	SET(CURLOPT_HEADERFUNCTION, read_header);
	SET(CURLOPT_HEADERDATA, exchange);
	if (exchange->exchanger->ca_file != NULL && exchange->exchanger->ca_file[0] != 0) {
		SET(CURLOPT_CAINFO, exchange->exchanger->ca_file);
	}
	if (strcmp(exchange->method, "POST") == 0) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body.size);
		SET(CURLOPT_POSTFIELDS,
			exchange->body.size > 0 ? (const char *)exchange->body.data : "");
	} else {
		SET(CURLOPT_CUSTOMREQUEST, exchange->method);
	}
#undef SET
	return code;
}

int exchange_start(struct exchanger *exchanger, struct exchange *exchange)
{
	exchange->exchanger = exchanger;
	exchange->http_status = 0;
	exchange->head_bytes = exchange->body_bytes = 0;
	exchange->address_refused = false;
	exchange->text[0] = exchange->curl_text[0] = 0;
	exchange->retry_after[0] = exchange->allowed_origin[0] = exchange->allowed_rate[0] = 0;
	exchange->started_ns = clock_monotonic_ns();
	exchange->easy = curl_easy_init();
	if (exchange->easy == NULL || set_up(exchange) != CURLE_OK ||
		curl_multi_add_handle(exchanger->multi, exchange->easy) != CURLM_OK) {
		curl_easy_cleanup(exchange->easy);
		exchange->easy = NULL;
		return ANNALS_E_NO_MEMORY;
	}
	list_add_tail(&exchanger->exchanges, &exchange->node);
	exchanger->count++;
	return 0;
}

static void explain(struct exchange *exchange, CURLcode code)
{
	if (exchange->address_refused && code == CURLE_COULDNT_CONNECT) {
		(void)snprintf(exchange->text, sizeof(exchange->text),
			"the address of the receiver is not public: see the option "
			"'webhook-private-addresses'");
	} else if (code == CURLE_ABORTED_BY_CALLBACK) {
		(void)snprintf(exchange->text, sizeof(exchange->text),
			"no answer before the server stopped");
	} else if (code == CURLE_OPERATION_TIMEDOUT) {
		(void)snprintf(exchange->text, sizeof(exchange->text), "no answer within %llu ms",
			(unsigned long long)(exchange->timeout_us / 1000));
	} else {
		(void)snprintf(exchange->text, sizeof(exchange->text), "no answer: %.200s",
			exchange->curl_text[0] != 0 ? exchange->curl_text
						    : curl_easy_strerror(code));
	}
}

static void finish(struct exchange *exchange, CURLcode code)
{
	struct exchanger *exchanger = exchange->exchanger;
	long status = 0;
	(void)curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
	/* An answer whose body is too long is one all the same: its status says it all. */
	const bool is_cut =
		code == CURLE_WRITE_ERROR && exchange->body_bytes > WEBHOOK_ANSWER_BYTES_MAX;
	if ((code == CURLE_OK || is_cut) && status >= 200 && status < 600) {
		exchange->http_status = (unsigned)status;
		(void)snprintf(exchange->text, sizeof(exchange->text), "HTTP %ld%s", status,
			status < 400 && status >= 300 ? ": redirects are not followed" : "");
	} else if (code == CURLE_OK) {
		(void)snprintf(exchange->text, sizeof(exchange->text),
			"the answer's status %ld means nothing", status);
	} else {
		explain(exchange, code);
	}
	exchange->duration_ns = clock_monotonic_ns() - exchange->started_ns;
	list_remove(&exchange->node);
	exchanger->count--;
	(void)curl_multi_remove_handle(exchanger->multi, exchange->easy);
	curl_easy_cleanup(exchange->easy);
	exchange->easy = NULL;
	exchange->done(exchange);
}
