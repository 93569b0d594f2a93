#include "webhooks/signature.h"
#include <annals/parse.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define PREFIX "whsec_"
#define BASE64_CHARS_MAX ((WEBHOOK_SECRET_BYTES_MAX + 2) / 3 * 4)

int webhook_secret_parse(struct bytes text, struct webhook_secret *ret)
{
	uint8_t key[BASE64_CHARS_MAX / 4 * 3 + 3];
	size_t size;
	const size_t prefix = strlen(PREFIX);
	if (text.size >= prefix && memcmp(text.data, PREFIX, prefix) == 0) {
		text = bytes_of(text.data + prefix, text.size - prefix);
	}
	if (text.size > BASE64_CHARS_MAX || base64_decode(key, text, false, &size) != 0 ||
		size < WEBHOOK_SECRET_BYTES_MIN || size > WEBHOOK_SECRET_BYTES_MAX) {
		return ANNALS_E_INVALID;
	}
	memcpy(ret->key, key, size);
	ret->size = size;
	return 0;
}

int webhook_secret_format(const struct webhook_secret *secret, struct buf *out)
{
	char text[BASE64_CHARS_MAX];
	const size_t size = base64_encode(text, bytes_of(secret->key, secret->size), false);
	int status = buf_add_text(out, PREFIX);
	return status != 0 ? status : buf_add(out, text, size);
}

int webhook_sign(struct buf *out, const struct webhook_secret *secrets, size_t count,
	const char *id, uint64_t timestamp, struct bytes body)
{
	ANNALS_CLEANUP(buf_release) struct buf content = BUF_INIT;
	uint8_t digest[EVP_MAX_MD_SIZE];
	char text[(EVP_MAX_MD_SIZE + 2) / 3 * 4];
	unsigned size;
	int status = buf_printf(&content, "%s.%llu.", id, (unsigned long long)timestamp);
	status = status != 0 ? status : buf_add(&content, body.data, body.size);
	for (size_t i = 0; i < count && status == 0; i++) {
		if (HMAC(EVP_sha256(), secrets[i].key, (int)secrets[i].size, content.data,
			    content.size, digest, &size) == NULL) {
			return ANNALS_E_INTERNAL;
		}
		status = buf_add_text(out, i == 0 ? "v1," : " v1,");
		if (status == 0) {
			status = buf_add(
				out, text, base64_encode(text, bytes_of(digest, size), false));
		}
	}
	return status;
}
