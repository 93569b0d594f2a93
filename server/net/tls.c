#include "net/tls.h"
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#define RECORD_BYTES 16384

static int tls_fail(struct error *err, const char *what, const char *file)
{
	char text[160] = "unknown reason";
	unsigned long code = ERR_get_error();
	if (code != 0) {
		ERR_error_string_n(code, text, sizeof(text));
	}
	ERR_clear_error();
	return error_fail(err, ANNALS_E_INVALID, "cannot use the %s '%s': %s", what, file, text);
}

int tls_context_new(
	const char *cert_file, const char *key_file, void **ret_context, struct error *err)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	int status = 0;
	if (context == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "cannot make a TLS context");
	}
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_options(context,
		SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_use_certificate_chain_file(context, cert_file) != 1) {
		status = tls_fail(err, "certificate", cert_file);
	} else if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1 ||
		   SSL_CTX_check_private_key(context) != 1) {
		status = tls_fail(err, "private key", key_file);
	}
	if (status != 0) {
		SSL_CTX_free(context);
		return status;
	}
	*ret_context = context;
	return 0;
}

void tls_context_free(void *context)
{
	SSL_CTX_free(context);
}

void *tls_state_new(void *context, int fd)
{
	SSL *ssl = SSL_new(context);
	if (ssl == NULL) {
		return NULL;
	}
	if (SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}

static ssize_t result_of(SSL *ssl, int n, unsigned *ret_wants)
{
	switch (SSL_get_error(ssl, n)) {
	case SSL_ERROR_WANT_READ:
		*ret_wants = TRANSPORT_WANT_READ;
		return TRANSPORT_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		*ret_wants = TRANSPORT_WANT_WRITE;
		return TRANSPORT_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		ERR_clear_error();
		return TRANSPORT_FAILED;
	}
}

static ssize_t tls_recv(
	void *state, int fd ANNALS_UNUSED, void *out, size_t size, unsigned *ret_wants)
{
	int n = SSL_read(state, out, size > INT_MAX ? INT_MAX : (int)size);
	return n > 0 ? n : result_of(state, n, ret_wants);
}

static ssize_t tls_peek(
	void *state, int fd ANNALS_UNUSED, void *out, size_t size, unsigned *ret_wants)
{
	int n = SSL_peek(state, out, size > INT_MAX ? INT_MAX : (int)size);
	return n > 0 ? n : result_of(state, n, ret_wants);
}

static ssize_t tls_send(void *state, int fd ANNALS_UNUSED, const struct iovec *pieces, int count,
	unsigned *ret_wants)
{
	/* One record for what fits: a record per small piece would cost more than the copy. */
	uint8_t record[RECORD_BYTES];
	size_t size = 0;
	int n;
	for (int i = 0; i < count && size < sizeof(record); i++) {
		size_t part = ANNALS_MIN(pieces[i].iov_len, sizeof(record) - size);
		memcpy(record + size, pieces[i].iov_base, part);
		size += part;
	}
	n = SSL_write(state, record, (int)size);
	if (n > 0) {
		return n;
	}
	n = (int)result_of(state, n, ret_wants);
	return n == 0 ? TRANSPORT_FAILED : n;
}

static void tls_shutdown(void *state, int fd ANNALS_UNUSED, int final)
{
	if (!final) {
		(void)SSL_shutdown(state);
	} else {
		SSL_free(state);
	}
	ERR_clear_error();
}

const struct transport_ops transport_tls = {
	.name = "tls",
	.short_recv_means_empty = false,
	.peek = tls_peek,
	.recv = tls_recv,
	.send = tls_send,
	.shutdown = tls_shutdown,
};
