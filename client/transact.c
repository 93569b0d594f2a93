/* Appends to several topics in one commit. */
#include "transact.h"

#include "conditions.h"
#include "convert.h"

#include <annals/clock.h>
#include <stdlib.h>

#define TOPICS_MAX 64u

int left_ms(uint64_t deadline_ns)
{
	const uint64_t now_ns = clock_monotonic_ns();
	return now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns) / 1000000u);
}

static int make_one(struct transact *transact, size_t i, struct annals_client *client,
	enum annals_durability durability, uint64_t deadline_ns, struct annals_error *error)
{
	const struct annals_topic_append *given = &transact->given[i];
	struct append *append = &transact->appends[i];
	int status = append_make(append, client, given->topic, ANNALS_PARTITION_BY_KEY,
		given->events, given->event_count, left_ms(deadline_ns), error);
	if (status != ANNALS_OK) {
		return status;
	}
	if (append->body.size > BODY_BYTES_MAX - transact->body.size) {
		return client_error(
			error, ANNALS_E_TOO_LARGE, "the request exceeds %u bytes", BODY_BYTES_MAX);
	}
	if (wire_append_request_encode(&append->control, bytes_text(given->topic), durability,
		    append->batches, append->batch_count) != ANNALS_OK ||
		(given->conditions &&
			conditions_encode(given->conditions, &append->control) != ANNALS_OK) ||
		buf_add(&transact->body, append->body.data, append->body.size) != ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	buf_release(&append->body);
	transact->controls[i].data = append->control.data;
	transact->controls[i].len = append->control.size;
	return ANNALS_OK;
}

int transact_make(struct transact *transact, struct annals_client *client,
	const struct annals_topic_append *given, size_t count, enum annals_durability durability,
	uint64_t deadline_ns, struct annals_error *error)
{
	int status = ANNALS_OK;
	if (count > TOPICS_MAX) {
		return client_error(
			error, ANNALS_E_LIMIT, "a commit appends to at most %u topics", TOPICS_MAX);
	}
	transact->given = given;
	transact->appends = calloc(count + 1, sizeof(*transact->appends));
	transact->controls = calloc(count + 1, sizeof(*transact->controls));
	if (!transact->appends || !transact->controls) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	transact->count = count;
	for (size_t i = 0; i < count && status == ANNALS_OK; i++) {
		status = make_one(transact, i, client, durability, deadline_ns, error);
	}
	return status;
}

int transact_place(const struct transact *transact, const ProtobufCBinaryData *answers,
	size_t answer_count, struct annals_receipt *ret_receipt)
{
	if (answer_count != transact->count) {
		return ANNALS_E_MALFORMED;
	}
	for (size_t i = 0; i < transact->count; i++) {
		const struct annals_topic_append *given = &transact->given[i];
		struct wire_append_response response;
		if (wire_append_response_decode(bytes_of(answers[i].data, answers[i].len),
			    &response, NULL) != ANNALS_OK ||
			(given->ret_placements &&
				append_place(&transact->appends[i], &response, given->event_count,
					given->ret_placements) != ANNALS_OK)) {
			return ANNALS_E_MALFORMED;
		}
		if (ret_receipt && (i == 0 || response.recorded_us > ret_receipt->recorded_us)) {
			ret_receipt->durability = (enum annals_durability)response.durability;
			ret_receipt->recorded_us = response.recorded_us;
		}
	}
	return ANNALS_OK;
}

void transact_release(struct transact *transact)
{
	for (size_t i = 0; i < transact->count; i++) {
		append_release(&transact->appends[i]);
	}
	free(transact->appends);
	free(transact->controls);
	buf_release(&transact->body);
}

static int send(struct transact *transact, struct annals_client *client,
	struct annals_bytes idempotency_key, uint64_t deadline_ns,
	struct annals_receipt *ret_receipt, struct annals_error *error)
{
	Annals__V1__TransactRequest request = ANNALS__V1__TRANSACT_REQUEST__INIT;
	struct buf control ANNALS_CLEANUP(buf_release) = BUF_INIT;
	struct buf answer ANNALS_CLEANUP(buf_release) = BUF_INIT;
	request.append = transact->controls;
	request.n_append = transact->count;
	request.idempotency_key.data = (uint8_t *)(uintptr_t)idempotency_key.data;
	request.idempotency_key.len = idempotency_key.size;
	if (buf_reserve(&control, annals__v1__transact_request__get_packed_size(&request) + 1) !=
		ANNALS_OK) {
		return client_error(error, ANNALS_E_NO_MEMORY, "no memory for a request");
	}
	control.size = annals__v1__transact_request__pack(&request, control.data);
	int status = request_call(client, FRAME_TRANSACT, &control, &transact->body,
		left_ms(deadline_ns), &answer, error);
	if (status == ANNALS_E_UNKNOWN_TOPIC || status == ANNALS_E_UNKNOWN_PARTITION ||
		status == ANNALS_E_WRONG_PARTITION) {
		for (size_t i = 0; i < transact->count; i++) {
			topic_forget(client, transact->given[i].topic);
		}
	}
	if (status != ANNALS_OK) {
		return status;
	}
	Annals__V1__TransactResponse *message =
		annals__v1__transact_response__unpack(NULL, answer.size, answer.data);
	if (!message || transact_place(transact, message->append, message->n_append, ret_receipt) !=
				ANNALS_OK) {
		status = client_error(
			error, ANNALS_E_MALFORMED, "it is done, but its answer is malformed");
	}
	annals__v1__transact_response__free_unpacked(message, NULL);
	return status;
}

int annals_transact(struct annals_client *client, const struct annals_topic_append *appends,
	size_t count, struct annals_bytes idempotency_key, enum annals_durability durability,
	int timeout_ms, struct annals_receipt *ret_receipt, struct annals_error *error)
{
	const uint64_t deadline_ns = deadline_after_ms(timeout_ms);
	struct transact transact = {0};
	int status = count == 0 ? client_error(error, ANNALS_E_INVALID, "there are no appends")
				: transact_make(&transact, client, appends, count, durability,
					  deadline_ns, error);
	if (status == ANNALS_OK) {
		status = send(&transact, client, idempotency_key, deadline_ns, ret_receipt, error);
	}
	transact_release(&transact);
	return status;
}
