/* Acknowledging with appending, checkpoints, and the story of one event, in the binary protocol. */
#include "proto_native_groups.h"

/* ---- Consume, produce, acknowledge ---- */

static void transact_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct op_delivery *delivery = (struct op_delivery *)op;
	Annals__V1__GroupTransactResponse response;
	ANNALS_CLEANUP(buf_release) struct buf text = BUF_INIT;
	ProtobufCBinaryData appends[APPEND_TOPICS_MAX];

	if (native_group_failed(request, op)) {
		return;
	}
	annals__v1__group_transact_response__init(&response);
	if (native_appends_encode(delivery->append, &text, appends, &response.n_append) != 0) {
		native_group_no_memory(request, op);
		return;
	}
	response.append = appends;
	native_group_answer(request, op, &response.base, NULL);
}

static int prepare_appends(struct native_request *request, struct op_delivery *op,
	const Annals__V1__GroupTransactRequest *message, struct bytes data, struct error *err)
{
	struct op_detail detail = {0};
	int status = native_appends_read(
		request, message->append, message->n_append, data, &op->append, err, &detail);

	for (const struct op_append *append = op->append; append != NULL && status == 0;
		append = append->next) {
		if (append->request.receipt_key.size > 0) {
			status = error_fail(err, ANNALS_E_INVALID,
				"what acknowledges leases cannot happen twice: it takes no "
				"idempotency key");
		}
	}
	return status;
}

/* Copies the texts: the append is read where the message lies. */
static int keep_checkpoint(struct op_delivery *op, const Annals__V1__GroupTransactRequest *message)
{
	struct transact_request *transact = &op->request.transact;
	size_t name_size = strlen(message->checkpoint_name);

	if (name_size > CHECKPOINT_NAME_MAX || message->checkpoint.len > CHECKPOINT_BYTES_MAX) {
		return op_fail(&op->op, ANNALS_E_TOO_LARGE,
			"a checkpoint has at most %u bytes, its name %u", CHECKPOINT_BYTES_MAX,
			CHECKPOINT_NAME_MAX);
	}
	if (buf_add(&op->texts, message->checkpoint_name, name_size) != 0 ||
		buf_add(&op->texts, message->checkpoint.data, message->checkpoint.len) != 0) {
		return op_fail(&op->op, ANNALS_E_NO_MEMORY, "out of memory");
	}
	transact->checkpoint_name = bytes_of(op->texts.data, name_size);
	transact->checkpoint = bytes_of(op->texts.data == NULL ? NULL : op->texts.data + name_size,
		message->checkpoint.len);
	return 0;
}

void native_group_transact(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupTransactRequest *message =
		native_unpack(request, frame, &annals__v1__group_transact_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL
				: native_group_begin(request, DELIVERY_TRANSACT, transact_done);
	char group[GROUP_NAME_MAX + 2];
	struct error err = {0};
	int status;

	if (op == NULL) {
		return;
	}
	(void)strncpy(group, message->group, sizeof(group) - 1); /* one too long is found so */
	group[sizeof(group) - 1] = 0;
	status = keep_checkpoint(op, message);
	for (size_t i = 0; i < message->n_lease && status == 0; i++) {
		const struct settle_entry entry = {.topic_id = message->lease[i]->topic_id,
			.partition = message->lease[i]->partition,
			.offset = message->lease[i]->offset,
			.lease = message->lease[i]->lease};
		status = op_delivery_add_lease(op, &entry);
	}
	if (status != 0) {
		native_fail_op(request, &op->op);
		return;
	}
	if (message->n_append > 0) {
		status = prepare_appends(request, op, message, frame->data, &err);
	} else if (frame->data.size > 0) {
		status = error_fail(&err, ANNALS_E_MALFORMED, "the data belongs to no append");
	}
	if (status != 0) {
		native_group_give_up(request, op, status, err.text);
	} else {
		native_group_start(request, op, group);
	}
}

static void checkpoint_done(struct op *op)
{
	struct native_request *request = op->arg;
	const struct checkpoint_request *checkpoint =
		&((struct op_delivery *)op)->request.checkpoint;
	Annals__V1__GroupCheckpointResponse response;

	if (!native_group_failed(request, op)) {
		annals__v1__group_checkpoint_response__init(&response);
		response.value.data = checkpoint->value.data;
		response.value.len = checkpoint->value.size;
		native_group_answer(request, op, &response.base, NULL);
	}
}

void native_group_checkpoint(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupCheckpointRequest *message =
		native_unpack(request, frame, &annals__v1__group_checkpoint_request__descriptor);
	struct op_delivery *op =
		message == NULL
			? NULL
			: native_group_begin(request, DELIVERY_CHECKPOINT_GET, checkpoint_done);

	if (op == NULL) {
		return;
	}
	if (buf_add_text(&op->texts, message->name) != 0) {
		native_group_give_up(request, op, ANNALS_E_NO_MEMORY, "out of memory");
		return;
	}
	op->request.checkpoint.name = buf_bytes(&op->texts);
	native_group_start(request, op, message->group);
}

/* ---- Explaining ---- */

static void explain_done(struct op *op)
{
	struct native_request *request = op->arg;
	struct explain_request *explain = &((struct op_delivery *)op)->request.explain;
	Annals__V1__GroupAttempt attempts[ATTEMPTS_KEPT + 1];
	Annals__V1__GroupAttempt *pointers[ATTEMPTS_KEPT + 1];
	Annals__V1__GroupExplainResponse response;

	if (native_group_failed(request, op)) {
		return;
	}
	annals__v1__group_explain_response__init(&response);
	response.state = (Annals__V1__GroupEventState)explain->state;
	response.due_us = explain->due_us;
	response.deliveries = explain->deliveries;
	response.attempts = explain->attempts;
	for (size_t i = 0; i < explain->attempt_count; i++) {
		struct attempt_info *from = &explain->attempts_kept[i];
		annals__v1__group_attempt__init(&attempts[i]);
		attempts[i].number = from->number;
		attempts[i].outcome = (Annals__V1__GroupOutcome)from->outcome;
		attempts[i].leased_us = from->leased_us;
		attempts[i].deadline_us = from->deadline_us;
		attempts[i].ended_us = from->ended_us;
		attempts[i].member = from->member;
		attempts[i].reason = from->reason;
		pointers[i] = &attempts[i];
	}
	response.attempt = pointers;
	response.n_attempt = explain->attempt_count;
	native_group_answer(request, op, &response.base, NULL);
}

void native_group_explain(struct native_request *request, const struct frame *frame)
{
	Annals__V1__GroupExplainRequest *message =
		native_unpack(request, frame, &annals__v1__group_explain_request__descriptor);
	struct op_delivery *op =
		message == NULL ? NULL
				: native_group_begin(request, DELIVERY_EXPLAIN, explain_done);
	struct error err = {0};

	if (op == NULL) {
		return;
	}
	if (native_group_topic(request, message->topic, &op->request.explain.topic_id, &err) != 0) {
		native_group_give_up(request, op, err.code, err.text);
		return;
	}
	op->request.explain.partition = message->partition;
	op->request.explain.offset = message->offset;
	native_group_start(request, op, message->group);
}
