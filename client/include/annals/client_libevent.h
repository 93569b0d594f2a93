/*
 * Runs a client in a libevent loop, without a thread of its own. Header only: compile and link with
 * libevent yourself.
 *
 *   struct annals_libevent glue;
 *   annals_options_set(options, ANNALS_OPTION_EXTERNAL_LOOP, 1, NULL);
 *   annals_client_open(options, &client, &error);
 *   annals_libevent_attach(&glue, base, client);
 *   ... event_base_dispatch(base) ...
 *   annals_libevent_detach(&glue);
 *   annals_client_close(client);
 *
 * Callbacks of the client, its producers and consumers run inside the loop. Use
 * annals_consumer_on_ready() and annals_producer_send() with a timeout of 0 to never hold the loop
 * up.
 */
#ifndef ANNALS_CLIENT_LIBEVENT_H
#define ANNALS_CLIENT_LIBEVENT_H

#include <annals/client.h>
#include <event2/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct annals_libevent {
	struct annals_client *client;
	struct event *event;
};

static inline void annals_libevent_ready_(evutil_socket_t fd, short what, void *arg)
{
	struct annals_libevent *glue = (struct annals_libevent *)arg;
	(void)fd;
	(void)what;
	annals_client_process(glue->client);
}

/* Watches the client in the loop; glue is the caller's and must stay until
 * annals_libevent_detach(). 0, ANNALS_E_NO_MEMORY or ANNALS_E_IO. */
static inline int annals_libevent_attach(
	struct annals_libevent *glue, struct event_base *base, struct annals_client *client)
{
	glue->client = client;
	glue->event = event_new(
		base, annals_client_fd(client), EV_READ | EV_PERSIST, annals_libevent_ready_, glue);
	if (!glue->event) {
		return ANNALS_E_NO_MEMORY;
	}
	if (event_add(glue->event, NULL) != 0) {
		event_free(glue->event);
		glue->event = NULL;
		return ANNALS_E_IO;
	}
	return ANNALS_OK;
}

/* Stops watching. The client stays open. */
static inline void annals_libevent_detach(struct annals_libevent *glue)
{
	if (glue->event) {
		event_free(glue->event);
		glue->event = NULL;
	}
}

#ifdef __cplusplus
}
#endif

#endif
