/* What the files of groups share in the binary protocol. Loop thread. */
#ifndef SERVER_PROTO_NATIVE_GROUPS_H
#define SERVER_PROTO_NATIVE_GROUPS_H

#include "op_delivery.h"
#include "proto_native.h"

struct loop *native_loop(struct native_request *request);
/* An operation that calls `done`; or NULL, and the request was answered. */
struct op_delivery *native_group_begin(struct native_request *request,
	enum delivery_operation operation, void (*done)(struct op *op)) ANNALS_MUST_CHECK;
void native_group_start(struct native_request *request, struct op_delivery *op, const char *group);
/* A request that cannot even start. */
void native_group_give_up(
	struct native_request *request, struct op_delivery *op, int status, const char *text);
/* ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_INVALID. */
int native_group_topic(struct native_request *request, const char *name, uint32_t *ret,
	struct error *err) ANNALS_MUST_CHECK;
/* The name of a member. ANNALS_E_INVALID: too long. */
int native_group_copy(
	const char *from, char *ret, size_t size, struct error *err) ANNALS_MUST_CHECK;
/* True: the request failed and was answered. */
bool native_group_failed(struct native_request *request, struct op *op);
/* Ends the request; takes the memory of `data` unless NULL. */
void native_group_answer(struct native_request *request, struct op *op,
	const ProtobufCMessage *message, struct buf *data);
void native_group_no_memory(struct native_request *request, struct op *op);

/* Names of topics that an answer speaks of, each once, in the loop's arena. */
struct topic_names {
	struct unpack_arena *arena;
	struct store *store;
	Annals__V1__GroupTopic **list;
	size_t count;
};
/* Both ANNALS_E_NO_MEMORY. */
int topic_names_init(struct topic_names *names, struct native_request *request) ANNALS_MUST_CHECK;
int topic_names_add(struct topic_names *names, uint32_t id) ANNALS_MUST_CHECK;

#endif
