/* Metrics, health, several loops, TLS. */
#include "health.h"
#include "metrics.h"
#include "native_fixture.h"
#include "suite.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct client client;
static char cert_file[64];
static char key_file[64];

static void setup(void)
{
	memset(&client, 0, sizeof(client));
	client.fd = -1;
}

static void teardown(void)
{
	client_close(&client);
	fixture_stop();
	if (cert_file[0] != 0) {
		(void)unlink(cert_file);
		(void)unlink(key_file);
	}
}

/* The value of a metric, by its whole name with labels; -1 if it is not there. */
static double metric(const char *name)
{
	struct buf text = BUF_INIT;
	double value = -1;
	char line[128];
	const char *at;
	ck_assert_int_eq(metrics_write(&fixture_server, &text), 0);
	(void)snprintf(line, sizeof(line), "\n%s ", name);
	at = strstr(buf_text(&text), line);
	if (at != NULL) {
		value = atof(at + strlen(line));
	}
	buf_release(&text);
	return value;
}

START_TEST(test_metrics_count_what_was_done)
{
	fixture_setup();
	client_open(&client);
	create_topic(&client, "t", 2);
	append(&client, "t", 0, "a", 5);
	receive_fetch(&client, send_fetch(&client, "t", 0, 0, 0));
	client_refused(&client, send_fetch(&client, "nope", 0, 0, 0), ANNALS_E_UNKNOWN_TOPIC, "");
	ck_assert_double_eq(metric("annals_events_appended_total"), 5);
	ck_assert_double_eq(metric("annals_operations_total{operation=\"append\"}"), 1);
	ck_assert_double_eq(metric("annals_operations_total{operation=\"read\"}"), 2);
	ck_assert_double_eq(metric("annals_failures_total{status=\"unknown-topic\"}"), 1);
	ck_assert_double_eq(metric("annals_connections{protocol=\"binary\"}"), 1);
	ck_assert_double_eq(metric("annals_requests_in_flight{protocol=\"binary\"}"), 0);
	ck_assert_double_eq(metric("annals_append_duration_seconds_count"), 1);
	ck_assert_double_eq(metric("annals_events_delivered_total"), 5);
	ck_assert_double_gt(metric("process_resident_memory_bytes"), 0);
}
END_TEST

START_TEST(test_metrics_are_lines_that_prometheus_reads)
{
	struct buf text = BUF_INIT;
	char *line;
	char *rest;
	fixture_setup();
	ck_assert_int_eq(metrics_write(&fixture_server, &text), 0);
	rest = (char *)(uintptr_t)buf_text(&text);
	while ((line = strsep(&rest, "\n")) != NULL && (*line != 0 || rest != NULL)) {
		const char *space = strrchr(line, ' ');
		char *end;
		if (strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0) {
			continue;
		}
		ck_assert_msg(space != NULL, "'%s'", line);
		(void)strtod(space + 1, &end);
		ck_assert_msg(*end == 0 && end > space + 1, "'%s'", line);
		ck_assert_msg(strncmp(line, "annals_", 7) == 0 || strncmp(line, "process_", 8) == 0,
			"'%s'", line);
	}
	buf_release(&text);
}
END_TEST

START_TEST(test_health_is_ready_until_the_server_drains)
{
	struct buf lines = BUF_INIT;
	fixture_setup();
	ck_assert(health_ready(&fixture_server, NULL, &lines));
	ck_assert_ptr_nonnull(strstr(buf_text(&lines), "[+]server ok"));
	ck_assert_ptr_nonnull(strstr(buf_text(&lines), "[+]storage ok"));
	ck_assert(server_drain(&fixture_server));
	buf_reset(&lines);
	ck_assert(!health_ready(&fixture_server, NULL, &lines));
	ck_assert_ptr_nonnull(strstr(buf_text(&lines), "[-]server: stopping"));
	ck_assert(health_ready(&fixture_server, "server", NULL));
	buf_release(&lines);
}
END_TEST

START_TEST(test_several_loops_serve_one_port)
{
	struct client clients[24];
	unsigned used = 0;
	fixture_start("loops=4", NULL);
	for (int i = 0; i < 24; i++) {
		client_open(&clients[i]);
	}
	create_topic(&clients[0], "t", 4);
	for (int i = 0; i < 24; i++) {
		append(&clients[i], "t", (uint32_t)i % 4, "a", 2);
	}
	ck_assert_uint_eq(
		receive_fetch(&clients[5], send_fetch(&clients[5], "t", 3, 0, 0)).events, 12);
	for (unsigned i = 0; i < 4; i++) {
		used += counter_get(&fixture_server.loops[i]
					     .counters.connections_open[COUNTER_BINARY]) > 0;
	}
	/* The kernel spreads connections by a hash; 24 on one of four loops would be a defect. */
	ck_assert_uint_gt(used, 1);
	for (int i = 0; i < 24; i++) {
		client_close(&clients[i]);
	}
}
END_TEST

/* ---- TLS ---- */

static void write_pem(char *path, EVP_PKEY *key, X509 *certificate)
{
	FILE *file;
	int fd;
	(void)snprintf(path, sizeof(cert_file), "/tmp/annals-tls-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	file = fdopen(fd, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(certificate != NULL
				 ? PEM_write_X509(file, certificate)
				 : PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL),
		1);
	fclose(file);
}

static void make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_NAME *name;
	ck_assert_ptr_nonnull(key);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	name = X509_get_subject_name(certificate);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	ck_assert_int_gt(X509_sign(certificate, key, EVP_sha256()), 0);
	write_pem(cert_file, NULL, certificate);
	write_pem(key_file, key, NULL);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static void tls_read(SSL *ssl, void *out, size_t size)
{
	uint8_t *at = out;
	while (size > 0) {
		int n = SSL_read(ssl, at, (int)size);
		ck_assert_int_gt(n, 0);
		at += n;
		size -= (size_t)n;
	}
}

START_TEST(test_tls_carries_many_large_requests)
{
	char cert_option[96];
	char key_option[96];
	uint8_t header[FRAME_HEADER_BYTES];
	static const uint8_t hello[] = {0x0d, 0x41, 0x4e, 0x4e, 0x4c, 0x10, 1, 0x18, 1};
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	make_certificate();
	(void)snprintf(cert_option, sizeof(cert_option), "tls-cert=%s", cert_file);
	(void)snprintf(key_option, sizeof(key_option), "tls-key=%s", key_file);
	fixture_start(cert_option, key_option, "event-bytes-max=1MiB", NULL);
	client_connect(&client);
	SSL_set_fd(ssl, client.fd);
	ck_assert_int_eq(SSL_connect(ssl), 1);
	frame_write_header(header, FRAME_REQUEST, FRAME_HELLO, 0, 1, sizeof(hello), 0);
	ck_assert_int_gt(SSL_write(ssl, header, sizeof(header)), 0);
	ck_assert_int_gt(SSL_write(ssl, hello, sizeof(hello)), 0);
	/* Unknown operations with 300 KB each: they cross many records and are answered one by one.
	 */
	for (uint32_t i = 0; i < 10; i++) {
		static uint8_t filler[300000];
		frame_write_header(header, FRAME_REQUEST, (enum frame_operation)200, 0, 100 + i,
			sizeof(filler), 0);
		ck_assert_int_gt(SSL_write(ssl, header, sizeof(header)), 0);
		ck_assert_int_eq(SSL_write(ssl, filler, sizeof(filler)), sizeof(filler));
	}
	for (uint32_t i = 0; i < 11; i++) {
		static uint8_t rest[65536];
		tls_read(ssl, header, sizeof(header));
		ck_assert_uint_eq(load_u32(header + 8), i == 0 ? 1 : 99 + i);
		ck_assert_int_eq(
			load_u16(header + 6), i == 0 ? 0 : -ANNALS_E_UNSUPPORTED_OPERATION);
		tls_read(ssl, rest, load_u32(header) - 12);
	}
	SSL_free(ssl);
	SSL_CTX_free(context);
}
END_TEST

START_TEST(test_tls_names_the_file_that_is_wrong)
{
	struct server server;
	struct options options;
	struct options_request request;
	struct error err = {0};
	char *argv[] = {(char *)(uintptr_t) "annalsd",
		(char *)(uintptr_t) "--tls-cert=/nowhere.pem",
		(char *)(uintptr_t) "--tls-key=/nowhere.key"};
	char *environment[] = {NULL};
	ck_assert_int_eq(options_load(3, argv, environment, &options, &request, &err), 0);
	ASSERT_FAILS(server_start(&server, &options, &err), ANNALS_E_INVALID, err, "/nowhere.pem");
	options_release(&options);
}
END_TEST

SUITE_MAIN("operate", setup, teardown, test_metrics_count_what_was_done,
	test_metrics_are_lines_that_prometheus_reads, test_health_is_ready_until_the_server_drains,
	test_several_loops_serve_one_port, test_tls_carries_many_large_requests,
	test_tls_names_the_file_that_is_wrong)
