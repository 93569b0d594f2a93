/* A listening socket of one loop. With several loops each has its own on the same port
 * (SO_REUSEPORT). */
#ifndef SERVER_NET_LISTENER_H
#define SERVER_NET_LISTENER_H

#include "loop.h"
#include "protocol.h"

struct listener {
	struct list_node node; /* in loop->listeners */
	struct loop *loop;
	const struct protocol_ops *protocol;
	int fd;
	struct event *event;
	struct loop_timer retry; /* accepting goes on when descriptors may be free again */
	bool paused;
};

/*
 * Makes a listening socket on "host:port" and tells the port it got. shared: others will listen on
 * the same port. ANNALS_E_INVALID (address), ANNALS_E_IO with a sentence that says what to do.
 */
int listener_bind(const char *address, uint16_t port_override, bool shared, int *ret_fd,
	uint16_t *ret_port, struct error *err) ANNALS_MUST_CHECK;
/* Main thread, before the loop runs: accepts on fd for the loop. Takes fd on success.
 * ANNALS_E_NO_MEMORY. */
int listener_open(struct loop *loop, int fd, const struct protocol_ops *protocol) ANNALS_MUST_CHECK;
/* Closes all listeners of a loop. Loop thread, or after it ended. */
void listener_close_all(struct loop *loop);

#endif
