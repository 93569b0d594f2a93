/*
 * A webhook as it is kept: a row of JSON (docs/disk-format.md) whose key is ROW_WEBHOOK and its
 * name. The same members are what people PUT and GET, but for those that only the row has. Pure but
 * for memory; a struct belongs to one thread.
 */
#ifndef SERVER_WEBHOOKS_WEBHOOK_H
#define SERVER_WEBHOOKS_WEBHOOK_H

#include "webhooks/signature.h"
#include <annals/delivery.h>
#include <annals/filter.h>
#include <annals/json.h>

#define WEBHOOK_NAME_MAX 200u
#define WEBHOOK_URL_BYTES_MAX 2048u
#define WEBHOOK_ORIGIN_BYTES_MAX 253u
#define WEBHOOK_AUTHORIZATION_BYTES_MAX 4096u
#define WEBHOOK_REASON_BYTES_MAX 255u
#define WEBHOOK_CONCURRENCY_MAX 100u
#define WEBHOOK_TIMEOUT_US_MAX UINT64_C(60000000)
#define WEBHOOK_GROUP_PREFIX "webhook."
/* How long a lease outlives the time an exchange may take. */
#define WEBHOOK_LEASE_MARGIN_US UINT64_C(30000000)

enum webhook_state {
	WEBHOOK_ENABLED,
	WEBHOOK_WAITING,  /* for the receiver to agree (the handshake) */
	WEBHOOK_DISABLED, /* until somebody resumes it; `reason` says why */
	WEBHOOK_STATES
};
const char *webhook_state_name(enum webhook_state state);

struct webhook {
	char name[WEBHOOK_NAME_MAX + 1];
	/* Settings. */
	char url[WEBHOOK_URL_BYTES_MAX + 1];
	struct bytes topics[GROUP_TOPICS_MAX];
	uint32_t topic_count;
	char group[GROUP_NAME_MAX + 1]; /* its own, or the one that was named */
	bool has_own_group;
	bool from_latest; /* where its own group begins */
	struct event_filter filter;
	struct webhook_secret secrets[WEBHOOK_SECRETS_MAX];
	uint32_t secret_count;
	bool has_secrets; /* "secrets" was given, be it empty */
	/* The Authorization header; "" = none. */
	char authorization[WEBHOOK_AUTHORIZATION_BYTES_MAX + 1];
	bool has_authorization; /* "authorization" was given, be it empty */
	bool binary;            /* the content mode; else structured */
	bool handshake;
	uint64_t timeout_us, concurrency, attempts_max, backoff_us, backoff_max_us;
	uint64_t rate; /* requests a minute; 0: no limit */
	/* What has become of it. */
	enum webhook_state state;
	char reason[WEBHOOK_REASON_BYTES_MAX + 1];
	uint64_t created_us, changed_us;
	uint64_t allowed_rate; /* by the receiver; 0: no limit */
	/* private */
	struct buf text, scratch, filter_scratch, list_scratch;
};

/* ANNALS_E_INVALID with a sentence. */
int webhook_name_check(struct bytes name, struct error *err) ANNALS_MUST_CHECK;
/*
 * Reads what somebody PUTs (stored false: what only the row has is passed over), or a row. Copies
 * the text. ANNALS_E_INVALID and ANNALS_E_MALFORMED with a sentence, ANNALS_E_TOO_LARGE,
 * ANNALS_E_LIMIT, ANNALS_E_NO_MEMORY. Release it in any case.
 */
int webhook_read(struct webhook *webhook, struct bytes name, struct bytes text, bool stored,
	struct error *err) ANNALS_MUST_CHECK;
void webhook_release(struct webhook *webhook);
/* Writes the members of its object. stored: with the secrets and all else that the row has. */
void webhook_write(const struct webhook *webhook, struct json_writer *writer, bool stored);
/* The whole row's value, appended. ANNALS_E_NO_MEMORY. */
int webhook_write_row(const struct webhook *webhook, struct buf *out) ANNALS_MUST_CHECK;
void webhook_set_state(struct webhook *webhook, enum webhook_state state, const char *reason);
static inline uint64_t webhook_lease_us(const struct webhook *webhook)
{
	return webhook->timeout_us + WEBHOOK_LEASE_MARGIN_US;
}
/* The effective limit of requests a minute, 0: none. */
uint64_t webhook_rate(const struct webhook *webhook);

/* The key of its row; the prefix of all of them is the first byte. */
struct webhook_key {
	uint8_t bytes[1 + WEBHOOK_NAME_MAX + 1]; /* and room for a byte behind it */
	size_t size;
};
struct webhook_key webhook_key(struct bytes name);

#endif
