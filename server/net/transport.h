/*
 * The four calls that differ between plain TCP and TLS. Loop thread of the connection only.
 *
 * Results of recv and send: bytes moved (> 0), 0 at the end of input (recv only), or one of the
 * negative values below.
 */
#ifndef SERVER_NET_TRANSPORT_H
#define SERVER_NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define TRANSPORT_AGAIN (-1)  /* not now; wait for the event that *needs says */
#define TRANSPORT_FAILED (-2) /* the connection is broken */
#define TRANSPORT_WANT_READ 1u
#define TRANSPORT_WANT_WRITE 2u

struct transport_ops {
	const char *name;            /* "plain", "tls" */
	bool short_recv_means_empty; /* a recv() that filled less than its room has emptied the
					socket */
	/* Looks at the first bytes without taking them, for protocol detection. May be NULL. */
	ssize_t (*peek)(void *state, int fd, void *out, size_t size, unsigned *ret_wants);
	ssize_t (*recv)(void *state, int fd, void *out, size_t size, unsigned *ret_wants);
	ssize_t (*send)(
		void *state, int fd, const struct iovec *pieces, int count, unsigned *ret_wants);
	/* Says goodbye to the sending direction and frees `state` when `final`. Never blocks. */
	void (*shutdown)(void *state, int fd, int final);
};

extern const struct transport_ops transport_plain;
extern const struct transport_ops transport_tls;

#endif
