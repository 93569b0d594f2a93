/* Frames in: small ones in one buffer, a large one in a page of its own. All on the I/O side. */
#include "conn_internal.h"

#include <annals/macros.h>
#include <errno.h>
#include <sys/uio.h>

#define READ_BYTES_PER_TURN ((size_t)(8 << 20))

static int dispatch(struct annals_client *client, const struct frame *frame, struct page **page,
	struct error *err)
{
	struct conn *conn = &client->conn;
	if (frame->kind == FRAME_PUSH) {
		return consumer_push(client, frame, page, err);
	}
	if (frame->kind != FRAME_RESPONSE) {
		return error_fail(
			err, ANNALS_E_MALFORMED, "the server sent a frame of kind %u", frame->kind);
	}
	struct request *request = conn->slots[frame->correlation & (SLOT_COUNT - 1)];
	if (frame->correlation == 0 && conn->hello && frame->status != 0) {
		request = conn->hello; /* refused before the hello was understood */
	} else if (!request || request->correlation != frame->correlation) {
		return ANNALS_OK; /* the answer to a request that was given up */
	}
	list_remove(&request->node);
	conn_slot_release(conn, request);
	if (frame->status != 0) {
		struct annals_error error;
		int status = request_error_decode(frame, &error);
		request->complete(request, status, NULL, &error);
	} else {
		request->complete(request, ANNALS_OK, frame, NULL);
	}
	return ANNALS_OK;
}

/* Handles every whole frame in the buffer; a large one that is not whole gets a page of its own. */
static int parse_input(struct annals_client *client, struct error *err)
{
	struct conn *conn = &client->conn;
	size_t frame_bytes_max = client->options->numbers[ANNALS_OPTION_FRAME_BYTES_MAX];
	while (conn->in_end > conn->in_start) {
		struct frame frame;
		size_t needed = 0, have = conn->in_end - conn->in_start;
		int got = frame_parse(bytes_of(conn->in + conn->in_start, have), frame_bytes_max,
			&frame, &needed, err);
		if (got < 0) {
			return got;
		}
		if (got == 0) {
			if (needed <= IN_BYTES / 2) {
				break;
			}
			conn->page = page_new(&client->pages, needed);
			if (!conn->page) {
				return error_fail(err, ANNALS_E_NO_MEMORY,
					"no memory for a frame of %zu bytes", needed);
			}
			memcpy(conn->page->bytes, conn->in + conn->in_start, have);
			conn->page->size = have;
			conn->in_start = conn->in_end = 0;
			return ANNALS_OK;
		}
		struct page *none = NULL;
		conn->in_start += frame.size;
		got = dispatch(client, &frame, &none, err);
		if (got < 0) {
			return got;
		}
		if (conn->fd < 0) {
			return ANNALS_OK; /* the connection ended inside */
		}
	}
	if (conn->in_start > 0) {
		conn->in_end -= conn->in_start;
		memmove(conn->in, conn->in + conn->in_start, conn->in_end);
		conn->in_start = 0;
	}
	return ANNALS_OK;
}

static int finish_page(struct annals_client *client, struct error *err)
{
	struct conn *conn = &client->conn;
	struct page *page = conn->page;
	if (!page || page->size < page->capacity) {
		return ANNALS_OK;
	}
	conn->page = NULL;
	struct frame frame;
	size_t needed;
	int got = frame_parse(bytes_of(page->bytes, page->size),
		client->options->numbers[ANNALS_OPTION_FRAME_BYTES_MAX], &frame, &needed, err);
	if (got == 0) {
		got = error_fail(err, ANNALS_E_MALFORMED, "a frame changed its size");
	}
	if (got > 0) {
		got = dispatch(client, &frame, &page, err);
	}
	page_free(&client->pages, page);
	return got;
}

/* Reads until the socket is empty or enough was read for one turn. */
void conn_read_input(struct annals_client *client, uint64_t now_ns)
{
	struct conn *conn = &client->conn;
	size_t total = 0;
	while (conn->fd >= 0 && total < READ_BYTES_PER_TURN) {
		struct iovec iov[2];
		int count = 0;
		struct page *page = conn->page;
		size_t page_left = page ? page->capacity - page->size : 0;
		if (page) {
			iov[count++] = (struct iovec){page->bytes + page->size, page_left};
		}
		iov[count++] = (struct iovec){conn->in + conn->in_end, IN_BYTES - conn->in_end};
		ssize_t got = readv(conn->fd, iov, count);
		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			return;
		}
		if (got <= 0) {
			conn_lost(client, ANNALS_E_DISCONNECTED, "%s",
				got == 0 ? "the server closed the connection" : strerror(errno));
			return;
		}
		conn->heard_ns = now_ns;
		conn->ping_sent = false;
		total += (size_t)got;
		if (page) {
			size_t into_page = ANNALS_MIN((size_t)got, page_left);
			page->size += into_page;
			conn->in_end += (size_t)got - into_page;
		} else {
			conn->in_end += (size_t)got;
		}
		struct error err = {0, ""};
		int status = finish_page(client, &err);
		if (status >= 0 && conn->fd >= 0 && !conn->page) {
			status = parse_input(client, &err);
		}
		if (status < 0) {
			conn_lost(client, ANNALS_E_MALFORMED, "%s", err.text);
		}
	}
}
