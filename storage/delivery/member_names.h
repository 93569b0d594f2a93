/* Names of members as small numbers, counted, so that a lease holds four bytes of them. One thread.
 */
#ifndef STORAGE_DELIVERY_MEMBER_NAMES_H
#define STORAGE_DELIVERY_MEMBER_NAMES_H

#include <annals/bytes.h>
#include <annals/macros.h>

struct member_name {
	uint8_t *text;
	uint32_t size;
	uint32_t references; /* 0: free; `following` is the next free one then */
	uint32_t held;       /* leases that go on */
	uint32_t following;  /* in its bucket */
	uint64_t hash;
};
struct member_names {
	struct member_name *names; /* [0] is nobody */
	uint32_t count, capacity, free;
	uint32_t *buckets;
	uint32_t bucket_count; /* a power of two */
	uint32_t used;
	bool let_go; /* a lease ended since the caller set it to false */
};

void member_names_init(struct member_names *names);
void member_names_release(struct member_names *names);
/* A counted reference to the name's number, never 0. ANNALS_E_NO_MEMORY. */
int member_names_get(
	struct member_names *names, struct bytes name, uint32_t *ret) ANNALS_MUST_CHECK;
/* The number of a name somebody holds, or 0; not counted. */
uint32_t member_names_find(const struct member_names *names, struct bytes name);
void member_names_ref(struct member_names *names, uint32_t member);
/* 0 is a no-op. */
void member_names_unref(struct member_names *names, uint32_t member);
/* One lease of the member's more, one less. */
void member_names_hold(struct member_names *names, uint32_t member);
void member_names_let_go(struct member_names *names, uint32_t member);
/* Leases that the member holds. */
uint32_t member_names_held(const struct member_names *names, uint32_t member);
/* Borrowed while somebody holds a reference; empty for 0. */
struct bytes member_names_text(const struct member_names *names, uint32_t member);

#endif
