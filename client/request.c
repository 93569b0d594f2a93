#include "io.h"

#include "control.h"
#include <annals/clock.h>
#include <stdio.h>
#include <stdlib.h>

void request_init(
	struct request *request, enum frame_operation operation, request_fn *complete, void *arg)
{
	memset(request, 0, sizeof(*request));
	list_init(&request->node);
	request->operation = operation;
	request->complete = complete;
	request->arg = arg;
	request->deadline_ns = NO_DEADLINE;
}

void request_release(struct request *request)
{
	buf_release(&request->control);
}

void request_submit(struct annals_client *client, struct request *request)
{
	pthread_mutex_lock(&client->lock);
	bool closing = client->closing;
	if (!closing) {
		list_add_tail(&client->submitted, &request->node);
	}
	pthread_mutex_unlock(&client->lock);
	if (closing) {
		struct annals_error error;
		client_error(&error, ANNALS_E_CLOSED, "the client is being closed");
		request->complete(request, ANNALS_E_CLOSED, NULL, &error);
		return;
	}
	client_wake(client);
}

int request_error_decode(const struct frame *frame, struct annals_error *ret)
{
	client_error(ret, -(int)frame->status, "%s", annals_status_text(-(int)frame->status));
	Annals__V1__Error *message =
		annals__v1__error__unpack(NULL, frame->control.size, frame->control.data);
	if (message) {
		if (message->detail && message->detail[0]) {
			snprintf(ret->text, sizeof(ret->text), "%s", message->detail);
		}
		if (message->topic) {
			snprintf(ret->topic, sizeof(ret->topic), "%s", message->topic);
		}
		ret->first_offset = message->first_offset;
		ret->end_offset = message->end_offset;
		ret->retry_after_ms = message->retry_after_ms;
		if (message->has_conflict) {
			ret->conflict.condition = message->condition_index;
			ret->conflict.stream_exists = message->stream_exists;
			ret->conflict.version = message->stream_version;
			ret->conflict.position = message->position;
		}
		ret->event_index = message->has_event_index ? (int64_t)message->event_index : -1;
		annals__v1__error__free_unpacked(message, NULL);
	}
	return ret->status;
}

/* A request that a thread waits for. The thread may give up first, so both sides hold a reference.
 */
struct call {
	struct request request;
	struct annals_client *client;
	struct buf body, answer, answer_data;
	struct bytes data;
	int timeout_ms;
	bool done, abandoned; /* under client->lock */
	int status;
	struct annals_error error;
};

static void call_free(struct call *call)
{
	request_release(&call->request);
	buf_release(&call->body);
	buf_release(&call->answer);
	buf_release(&call->answer_data);
	free(call);
}

static bool keep_answer(struct call *call, const struct frame *response)
{
	const struct bytes control = response->control, data = response->data;
	return (control.size == 0 ||
		       buf_add(&call->answer, control.data, control.size) == ANNALS_OK) &&
	       (data.size == 0 || buf_add(&call->answer_data, data.data, data.size) == ANNALS_OK);
}

static void call_complete(struct request *request, int status, const struct frame *response,
	const struct annals_error *error)
{
	struct call *call = request->arg;
	if (status == ANNALS_OK && !keep_answer(call, response)) {
		status = client_error(&call->error, ANNALS_E_NO_MEMORY, "no memory for the answer");
	} else if (error) {
		call->error = *error;
	}
	pthread_mutex_lock(&call->client->lock);
	call->status = status;
	call->done = true;
	bool abandoned = call->abandoned;
	pthread_cond_broadcast(&call->client->cond);
	pthread_mutex_unlock(&call->client->lock);
	if (abandoned) {
		call_free(call);
	}
}

/* Waits for the call. Past its deadline it is left to the I/O side, which frees it. */
static bool call_wait(struct annals_client *client, struct call *call)
{
	/* The I/O side notices the deadline itself; the margin lets its better text arrive. */
	uint64_t deadline_ns = call->request.deadline_ns + 20000000;
	pthread_mutex_lock(&client->lock);
	while (!call->done) {
		if (!client_wait_step(client, &client->lock, &client->cond, deadline_ns)) {
			break;
		}
	}
	bool done = call->done;
	call->abandoned = !done;
	pthread_mutex_unlock(&client->lock);
	return done;
}

int request_call(struct annals_client *client, enum frame_operation operation, struct buf *control,
	struct buf *body, int timeout_ms, struct buf *ret_control, struct annals_error *error)
{
	return request_call_data(
		client, operation, control, body, timeout_ms, ret_control, NULL, error);
}

int request_call_start(struct annals_client *client, enum frame_operation operation,
	struct buf *control, struct buf *body, int timeout_ms, struct call **ret,
	struct annals_error *error)
{
	if (client_on_io_side(client)) {
		return client_error(
			error, ANNALS_E_INVALID, "blocking calls are not possible in callbacks");
	}
	struct call *call = calloc(1, sizeof(*call));
	if (!call) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	request_init(&call->request, operation, call_complete, call);
	call->client = client;
	call->request.control = *control;
	*control = BUF_INIT;
	if (body && body->size > 0) {
		call->body = *body;
		*body = BUF_INIT;
		call->data = buf_bytes(&call->body);
		call->request.data = &call->data;
		call->request.data_count = 1;
	}
	call->timeout_ms = timeout_ms;
	call->request.deadline_ns = deadline_after_ms(timeout_ms);
	request_submit(client, &call->request);
	*ret = call;
	return ANNALS_OK;
}

int request_call_finish(struct annals_client *client, struct call *call, struct buf *ret_control,
	struct buf *ret_data, struct annals_error *error)
{
	const int timeout_ms = call->timeout_ms; /* who gives up has no call any more */
	if (!call_wait(client, call)) {
		return client_error(error, ANNALS_E_TIMEOUT, "no answer within %d ms", timeout_ms);
	}
	int status = call->status;
	if (status != ANNALS_OK) {
		if (error) {
			*error = call->error;
		}
	} else if (ret_control) {
		*ret_control = call->answer;
		call->answer = BUF_INIT;
		if (ret_data) {
			*ret_data = call->answer_data;
			call->answer_data = BUF_INIT;
		}
	}
	call_free(call);
	return status;
}

int request_call_data(struct annals_client *client, enum frame_operation operation,
	struct buf *control, struct buf *body, int timeout_ms, struct buf *ret_control,
	struct buf *ret_data, struct annals_error *error)
{
	struct call *call;
	int status = request_call_start(client, operation, control, body, timeout_ms, &call, error);
	return status != ANNALS_OK
		       ? status
		       : request_call_finish(client, call, ret_control, ret_data, error);
}
