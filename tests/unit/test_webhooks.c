/* What the sender of webhooks is made of: signatures, addresses, answers, settings, messages. */
#include "suite.h"
#include "webhooks/address.h"
#include "webhooks/answer.h"
#include "webhooks/message.h"
#include <annals/hash.h>
#include <arpa/inet.h>

static void setup(void)
{
}

/* The example of the Standard Webhooks libraries. */
START_TEST(test_webhooks_signature_vector)
{
	struct webhook_secret secrets[2];
	struct buf out = BUF_INIT;
	const struct bytes body = bytes_text("{\"test\": 2432232314}");
	const char *id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
	ck_assert_int_eq(webhook_secret_parse(
				 bytes_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), &secrets[0]),
		0);
	ck_assert_uint_eq(secrets[0].size, 24);
	ck_assert_int_eq(
		webhook_secret_parse(bytes_text("AAECAwQFBgcICQoLDA0ODw=="), &secrets[1]), 0);
	ck_assert_int_eq(webhook_sign(&out, secrets, 1, id, 1614265330, body), 0);
	ck_assert_str_eq(buf_text(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
	ck_assert_int_eq(webhook_sign(&out, secrets, 2, id, 1614265330, body), 0);
	ck_assert_uint_eq(out.size, 47 + 47 + 1 + 47);
	buf_reset(&out);
	ck_assert_int_eq(webhook_secret_format(&secrets[0], &out), 0);
	ck_assert_str_eq(buf_text(&out), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
	buf_release(&out);
}
END_TEST

START_TEST(test_webhooks_secrets_have_limits)
{
	static const char *const bad[] = {"", "whsec_", "whsec_AAECAwQFBgcICQoLDA0O" /* 15 */,
		"whsec_????????????????????????", "whsec_AAECAwQFBgcICQoLDA0ODw" /* no padding */,
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		"AA"
		"AAAA", /* 66 bytes */
		"whsec_whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
	struct webhook_secret secret;
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(webhook_secret_parse(bytes_text(bad[i]), &secret) == ANNALS_E_INVALID,
			"%s", bad[i]);
	}
}
END_TEST

static bool is_public(const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		return webhook_address_is_public((const struct sockaddr *)&v4, sizeof(v4));
	}
	ck_assert_int_eq(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	return webhook_address_is_public((const struct sockaddr *)&v6, sizeof(v6));
}

START_TEST(test_webhooks_addresses)
{
	static const char *const refused[] = {"0.0.0.0", "10.1.2.3", "100.64.0.1",
		"100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1",
		"239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::192.168.0.1", "64:ff9b:1::1",
		"100::1", "2001::1", "2001:1ff::1", "2001:db8::1",
		"2002:7f00:1::", "2002:a00:1::", "3fff::1", "4000::1", "fc00::1", "fd12::1",
		"fe80::1", "fec0::1", "ff02::1"};
	static const char *const allowed[] = {"1.1.1.1", "9.255.255.255", "11.0.0.0",
		"100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "169.253.1.1",
		"172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "2001:200::1", "2606:4700::1111", "2a00:1450::1",
		"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::"};
	const struct sockaddr unix_socket = {.sa_family = AF_UNIX};
	const struct sockaddr_in whole = {.sin_family = AF_INET, .sin_addr.s_addr = 0x08080808};
	for (size_t i = 0; i < ANNALS_COUNT_OF(refused); i++) {
		ck_assert_msg(!is_public(refused[i]), "%s", refused[i]);
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(allowed); i++) {
		ck_assert_msg(is_public(allowed[i]), "%s", allowed[i]);
	}
	ck_assert(!webhook_address_is_public(&unix_socket, sizeof(unix_socket)));
	ck_assert(!webhook_address_is_public((const struct sockaddr *)&whole, 4));
}
END_TEST

START_TEST(test_webhooks_verdicts)
{
	ck_assert_int_eq(webhook_judge(200), WEBHOOK_DONE);
	ck_assert_int_eq(webhook_judge(204), WEBHOOK_DONE);
	ck_assert_int_eq(webhook_judge(299), WEBHOOK_DONE);
	ck_assert_int_eq(webhook_judge(410), WEBHOOK_GONE);
	ck_assert_int_eq(webhook_judge(429), WEBHOOK_THROTTLED);
	ck_assert_int_eq(webhook_judge(503), WEBHOOK_THROTTLED);
	static const unsigned failed[] = {0, 301, 302, 307, 400, 404, 415, 500, 502, 599};
	for (size_t i = 0; i < ANNALS_COUNT_OF(failed); i++) {
		ck_assert_int_eq(webhook_judge(failed[i]), WEBHOOK_FAILED);
	}
}
END_TEST

START_TEST(test_webhooks_retry_after)
{
	const uint64_t now_us = UINT64_C(784111777) * 1000000; /* Sun, 06 Nov 1994 08:49:37 GMT */
	static const char *const bad[] = {"", "-1", "1.5", "soon", "Sun, 06 Nov 1994",
		"Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT and more",
		"Sun, 99 Nov 1994 08:49:37 GMT",
		"12345678901234567890123456789012345678901234567890"};
	uint64_t us;
	ck_assert_int_eq(webhook_retry_after(bytes_text("120"), now_us, &us), 0);
	ck_assert_uint_eq(us, 120000000);
	ck_assert_int_eq(webhook_retry_after(bytes_text(" 0 "), now_us, &us), 0);
	ck_assert_uint_eq(us, 0);
	ck_assert_int_eq(webhook_retry_after(bytes_text("18446744073709551615"), now_us, &us), 0);
	ck_assert_uint_eq(us, WEBHOOK_RETRY_AFTER_US_MAX);
	ck_assert_int_eq(
		webhook_retry_after(bytes_text("Sun, 06 Nov 1994 08:50:37 GMT"), now_us, &us), 0);
	ck_assert_uint_eq(us, 60000000);
	ck_assert_int_eq(
		webhook_retry_after(bytes_text("Sun, 06 Nov 1994 08:40:37 GMT"), now_us, &us), 0);
	ck_assert_uint_eq(us, 0);
	ck_assert_int_eq(
		webhook_retry_after(bytes_text("Tue, 06 Nov 2035 08:40:37 GMT"), now_us, &us), 0);
	ck_assert_uint_eq(us, WEBHOOK_RETRY_AFTER_US_MAX);
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_msg(
			webhook_retry_after(bytes_text(bad[i]), now_us, &us) == ANNALS_E_INVALID,
			"%s", bad[i]);
	}
}
END_TEST

START_TEST(test_webhooks_backoff)
{
	ck_assert_uint_eq(webhook_backoff_us(1000, 60000, 1, 0), 1000);
	ck_assert_uint_eq(webhook_backoff_us(1000, 60000, 3, 0), 4000);
	ck_assert_uint_eq(webhook_backoff_us(1000, 60000, 4000000000u, 0), 60000);
	ck_assert_uint_eq(webhook_backoff_us(0, 0, 5, UINT64_MAX), 0);
	ck_assert_uint_eq(webhook_backoff_us(UINT64_MAX, UINT64_MAX, 9, 0), UINT64_MAX);
	struct random random = {7};
	for (unsigned i = 0; i < 1000; i++) {
		const uint64_t delay = webhook_backoff_us(1000, 60000, 3, random_next(&random));
		ck_assert(delay >= 2000 && delay <= 4000);
	}
}
END_TEST

START_TEST(test_webhooks_consent)
{
	uint64_t rate = 7;
	ck_assert(webhook_origin_is_allowed(bytes_text("*"), "a.example"));
	ck_assert(webhook_origin_is_allowed(bytes_text(" A.Example "), "a.example"));
	ck_assert(!webhook_origin_is_allowed(bytes_text("a.example.org"), "a.example"));
	ck_assert(!webhook_origin_is_allowed(bytes_text("a.exampl"), "a.example"));
	ck_assert(!webhook_origin_is_allowed(bytes_text(""), "a.example"));
	ck_assert(!webhook_origin_is_allowed(bytes_text(""), ""));
	ck_assert_int_eq(webhook_allowed_rate(bytes_text("120"), &rate), 0);
	ck_assert_uint_eq(rate, 120);
	ck_assert_int_eq(webhook_allowed_rate(bytes_text(" *"), &rate), 0);
	ck_assert_uint_eq(rate, 0);
	ck_assert_int_eq(webhook_allowed_rate(bytes_text("0"), &rate), ANNALS_E_INVALID);
	ck_assert_int_eq(webhook_allowed_rate(bytes_text("many"), &rate), ANNALS_E_INVALID);
}
END_TEST

/* A row holds all that was said, and gives it back. */
START_TEST(test_webhooks_row_round_trip)
{
	const char *text =
		"{\"url\":\"https://example.com/h?a=1\",\"topics\":[\"a\",\"b\\u002dc\"],"
		"\"from\":\"latest\",\"filter\":{\"typePrefix\":\"x.\\u0001\\\"\",\"tags\":[\"t:"
		"1\",\"t:\\u0032\"]},"
		"\"secrets\":[\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"],\"mode\":\"binary\","
		"\"handshake\":\"off\",\"timeoutMs\":\"2s\",\"concurrency\":7,\"attemptsMax\":3,"
		"\"backoffMs\":5000,\"backoffMaxMs\":1,\"ratePerMinute\":60,"
		"\"state\":\"disabled\",\"reason\":\"ignored\"}";
	struct webhook webhook, again;
	struct buf row = BUF_INIT, row_again = BUF_INIT;
	ck_assert_int_eq(webhook_read(&webhook, bytes_text("w"), bytes_text(text), false, NULL), 0);
	ck_assert_int_eq(webhook.state, WEBHOOK_ENABLED); /* nobody sets it from outside */
	ck_assert_str_eq(webhook.reason, "");
	webhook_set_state(&webhook, WEBHOOK_WAITING, "because");
	webhook.created_us = 5;
	webhook.allowed_rate = 30;
	ck_assert_int_eq(webhook_write_row(&webhook, &row), 0);
	ck_assert_int_eq(webhook_read(&again, bytes_text("w"), buf_bytes(&row), true, NULL), 0);
	ck_assert_str_eq(again.url, "https://example.com/h?a=1");
	ck_assert_str_eq(again.group, "webhook.w");
	ck_assert(again.has_own_group && again.from_latest && again.binary && !again.handshake);
	ck_assert_uint_eq(again.topic_count, 2);
	ck_assert(bytes_is(again.topics[1], "b-c"));
	ck_assert(bytes_is(again.filter.type_prefix, "x.\x01\""));
	ck_assert(again.filter.type.data == NULL && again.filter.tag_count == 2);
	ck_assert(bytes_is(again.filter.tags[1], "t:2"));
	ck_assert_uint_eq(again.secret_count, 1);
	ck_assert_uint_eq(again.timeout_us, 2000000);
	ck_assert_uint_eq(again.backoff_max_us, 5000000); /* never below the first */
	ck_assert_int_eq(again.state, WEBHOOK_WAITING);
	ck_assert_str_eq(again.reason, "because");
	ck_assert_uint_eq(again.created_us, 5);
	ck_assert_uint_eq(webhook_rate(&again), 30);
	ck_assert_int_eq(webhook_write_row(&again, &row_again), 0);
	ck_assert(bytes_equal(buf_bytes(&row), buf_bytes(&row_again)));
	webhook_release(&webhook);
	webhook_release(&again);
	buf_release(&row);
	buf_release(&row_again);
}
END_TEST

static const char *header_of(const struct webhook_message *message, const char *name)
{
	for (const struct curl_slist *line = message->headers; line != NULL; line = line->next) {
		if (strncmp(line->data, name, strlen(name)) == 0) {
			return line->data + strlen(name);
		}
	}
	return NULL;
}

/* No producer's text ends a header line. */
START_TEST(test_webhooks_message_headers_are_safe)
{
	const struct topic topic = {.id = 1, .name = "t", .uuid = {1, 2, 3}};
	const struct attribute extension = {.name = bytes_text("evil"),
		.kind = ATTRIBUTE_TEXT,
		.value = bytes_text("a b\r\nX: \"%\xc3\xa9")};
	const struct record record = {.id = bytes_text("i\r\nd"),
		.source = bytes_text("/s"),
		.type = bytes_text("x"),
		.datacontenttype = bytes_text("text/plain\r\nX-Evil: 1"),
		.data = bytes_text("hello\r\n"),
		.has_data = true,
		.extension_count = 1,
		.extensions = &extension};
	struct webhook webhook;
	struct webhook_message message;
	struct buf encoded = BUF_INIT;
	ck_assert_int_eq(record_encode(&record, &encoded), 0);
	const struct webhook_event event = {.topic = &topic,
		.version = VERSION_NONE,
		.partition = 3,
		.offset = 9,
		.attempt = 2,
		.encoded = buf_bytes(&encoded)};
	ck_assert_int_eq(
		webhook_read(&webhook, bytes_text("w"),
			bytes_text("{\"url\":\"http://a/\",\"topic\":\"t\",\"mode\":\"binary\"}"),
			false, NULL),
		0);
	ck_assert_int_eq(webhook_message_make(&message, &webhook, "o", &event, 1500000), 0);
	ck_assert_str_eq(header_of(&message, "ce-id: "), "i%0D%0Ad");
	ck_assert_str_eq(header_of(&message, "ce-evil: "), "a%20b%0D%0AX:%20%22%25%C3%A9");
	ck_assert_str_eq(header_of(&message, "Content-Type: "), "text/plain??X-Evil: 1");
	ck_assert_str_eq(header_of(&message, "webhook-timestamp: "), "1");
	ck_assert_str_eq(
		header_of(&message, "webhook-id: "), "01020300-0000-0000-0000-000000000000-3-9");
	ck_assert_ptr_null(header_of(&message, "webhook-signature"));
	ck_assert_ptr_null(header_of(&message, "ce-data"));
	ck_assert(bytes_is(buf_bytes(&message.body), "hello\r\n"));
	for (const struct curl_slist *line = message.headers; line != NULL; line = line->next) {
		ck_assert_ptr_null(strpbrk(line->data, "\r\n"));
	}
	webhook_message_release(&message);
	webhook_release(&webhook);
	buf_release(&encoded);
}
END_TEST

SUITE_MAIN("webhooks", setup, setup, test_webhooks_signature_vector,
	test_webhooks_secrets_have_limits, test_webhooks_addresses, test_webhooks_verdicts,
	test_webhooks_retry_after, test_webhooks_backoff, test_webhooks_consent,
	test_webhooks_row_round_trip, test_webhooks_message_headers_are_safe)
