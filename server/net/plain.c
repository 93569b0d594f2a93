#include "net/transport.h"
#include <annals/macros.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static ssize_t result_of(ssize_t n, unsigned want, unsigned *ret_wants)
{
	if (n >= 0) {
		return n;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		*ret_wants = want;
		return TRANSPORT_AGAIN;
	}
	return TRANSPORT_FAILED;
}

static ssize_t plain_recv_flags(int fd, void *out, size_t size, int flags, unsigned *ret_wants)
{
	ssize_t n;
	do {
		n = recv(fd, out, size, flags);
	} while (n < 0 && errno == EINTR);
	return result_of(n, TRANSPORT_WANT_READ, ret_wants);
}

static ssize_t plain_peek(
	void *state ANNALS_UNUSED, int fd, void *out, size_t size, unsigned *ret_wants)
{
	return plain_recv_flags(fd, out, size, MSG_PEEK, ret_wants);
}

static ssize_t plain_recv(
	void *state ANNALS_UNUSED, int fd, void *out, size_t size, unsigned *ret_wants)
{
	return plain_recv_flags(fd, out, size, 0, ret_wants);
}

static ssize_t plain_send(void *state ANNALS_UNUSED, int fd, const struct iovec *pieces, int count,
	unsigned *ret_wants)
{
	ssize_t n;
	/* sendmsg rather than writev for MSG_NOSIGNAL. */
	struct msghdr message;
	memset(&message, 0, sizeof(message));
	message.msg_iov = (struct iovec *)(uintptr_t)pieces;
	message.msg_iovlen = (size_t)count;
	do {
		n = sendmsg(fd, &message, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return result_of(n, TRANSPORT_WANT_WRITE, ret_wants);
}

static void plain_shutdown(void *state ANNALS_UNUSED, int fd, int final)
{
	if (!final) {
		(void)shutdown(fd, SHUT_WR);
	}
}

const struct transport_ops transport_plain = {
	.name = "plain",
	.short_recv_means_empty = true,
	.peek = plain_peek,
	.recv = plain_recv,
	.send = plain_send,
	.shutdown = plain_shutdown,
};
