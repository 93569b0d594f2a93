/* TLS 1.2 and 1.3 through OpenSSL 3. The context is made once and shared by all loops; the state
 * belongs to one connection. */
#ifndef SERVER_NET_TLS_H
#define SERVER_NET_TLS_H

#include "net/transport.h"
#include <annals/error.h>

/* Reads a certificate chain and its key (PEM). ANNALS_E_INVALID with the file that was wrong and
 * why. */
int tls_context_new(const char *cert_file, const char *key_file, void **ret_context,
	struct error *err) ANNALS_MUST_CHECK;
void tls_context_free(void *context); /* NULL is a no-op */
/* The state of a new connection, for transport_tls; NULL when memory ran out. */
void *tls_state_new(void *context, int fd);

#endif
