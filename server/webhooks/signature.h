/*
 * Signatures of deliveries after the Standard Webhooks specification (standardwebhooks.com, version
 * 1.0, "Signature scheme", symmetric): `webhook-signature: v1,<base64 of HMAC-SHA256>` over
 * "<webhook-id>.<webhook-timestamp>.<body>", one for each secret, separated by blanks, so that a
 * receiver may hold either of two secrets while they are exchanged. Pure; any thread.
 */
#ifndef SERVER_WEBHOOKS_SIGNATURE_H
#define SERVER_WEBHOOKS_SIGNATURE_H

#include <annals/buf.h>

#define WEBHOOK_SECRET_BYTES_MIN 16u
#define WEBHOOK_SECRET_BYTES_MAX 64u
#define WEBHOOK_SECRETS_MAX 2u

struct webhook_secret {
	uint8_t key[WEBHOOK_SECRET_BYTES_MAX];
	size_t size;
};

/* "whsec_" and base64 of 16 to 64 bytes; the prefix may be missing. ANNALS_E_INVALID. */
int webhook_secret_parse(struct bytes text, struct webhook_secret *ret) ANNALS_MUST_CHECK;
/* Appends the text as above, with its prefix. ANNALS_E_NO_MEMORY. */
int webhook_secret_format(const struct webhook_secret *secret, struct buf *out) ANNALS_MUST_CHECK;

/* Appends the header's value. timestamp: seconds since 1970. ANNALS_E_NO_MEMORY, ANNALS_E_INTERNAL
 * (the cryptographic library failed). */
int webhook_sign(struct buf *out, const struct webhook_secret *secrets, size_t count,
	const char *id, uint64_t timestamp, struct bytes body) ANNALS_MUST_CHECK;

#endif
