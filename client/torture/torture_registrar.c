/*
 * The registrar: schemas and webhooks, over HTTP. A schema keeps the id and the version it was
 * given, however often it is registered again; a webhook is what the last request made of it. It is
 * the only one who changes them, so it knows.
 */
#include "torture_clients.h"
#include "torture_http.h"

#include <annals/clock.h>
#include <annals/varint.h>
#include <inttypes.h>
#include <stdlib.h>

#define VERSIONS_MAX 12u
#define SUBJECT "torture.Typed"
/* So long a request that was given up may wait in a socket of a stopped server. */
#define MAYBE_NS UINT64_C(10000000000)
#define MAYBE_MAX 64u
#define HOOK "/v1/webhooks/torture"

struct registrar {
	struct worker *worker;
	struct http_connection http;
	struct buf body, file, message, field;
	uint64_t ids[VERSIONS_MAX + 1]; /* of versions that were acknowledged; 0: not yet */
	unsigned known;                 /* versions, from 1 */
	/* The webhook's concurrency: what was acknowledged last, and what was in doubt lately and
	 * may be set yet. */
	uint64_t concurrency, maybe[MAYBE_MAX], maybe_ns[MAYBE_MAX];
	unsigned next_maybe;
};

static int add_field(struct buf *out, uint8_t tag, const void *data, size_t size)
{
	uint8_t head[1 + VARINT_BYTES_MAX] = {tag};
	int status = buf_add(out, head, 1 + varint_put(head + 1, size));

	return status != 0 ? status : buf_add(out, data, size);
}

/* A FileDescriptorSet (descriptor.proto) with message torture.Typed of so many int64 fields. */
static int make_schema(struct registrar *registrar, unsigned fields)
{
	int status = 0;

	buf_reset(&registrar->body);
	buf_reset(&registrar->file);
	buf_reset(&registrar->message);
	status |= add_field(&registrar->message, 0x0a, "Typed", 5);
	for (unsigned i = 1; i <= fields; i++) {
		const uint8_t rest[] = {
			0x18, (uint8_t)i, 0x20, 1, 0x28, 3}; /* number, optional, int64 */
		char name[8];
		(void)snprintf(name, sizeof(name), "n%u", i);
		buf_reset(&registrar->field);
		status |= add_field(&registrar->field, 0x0a, name, strlen(name));
		status |= buf_add(&registrar->field, rest, sizeof(rest));
		status |= add_field(
			&registrar->message, 0x12, registrar->field.data, registrar->field.size);
	}
	status |= add_field(&registrar->file, 0x0a, "typed.proto", 11);
	status |= add_field(&registrar->file, 0x12, "torture", 7);
	status |=
		add_field(&registrar->file, 0x22, registrar->message.data, registrar->message.size);
	status |= add_field(&registrar->file, 0x62, "proto3", 6);
	status |= add_field(&registrar->body, 0x0a, registrar->file.data, registrar->file.size);
	return status;
}

/* The next version, or one that there is. */
static void register_schema(struct registrar *registrar)
{
	struct worker *worker = registrar->worker;
	unsigned version = 1 + (unsigned)random_below(&worker->random,
				       ANNALS_MIN(registrar->known + 1, VERSIONS_MAX));
	const char *answer = "";
	uint64_t id = 0, got = 0;
	int status;

	if (make_schema(registrar, version) != 0) {
		return;
	}
	status = http_ask(&registrar->http, "POST", "/v1/schemas/" SUBJECT "/versions",
		"Content-Type: application/x-protobuf\r\n", buf_bytes(&registrar->body), &answer);
	if (status != 200 && status != 201) {
		if (status >= 400 && status < 500 && status != 429) {
			torture_problem(worker->torture,
				"client %u: version %u of a schema was refused: %.300s",
				worker->number, version, answer);
		}
		return;
	}
	if (!http_json_number(answer, "id", &id) || !http_json_number(answer, "version", &got) ||
		got != version ||
		(registrar->ids[version] != 0 &&
			(registrar->ids[version] != id || status != 200))) {
		torture_problem(worker->torture,
			"client %u: version %u of a schema, which had id %" PRIu64
			", was registered again as: %.300s",
			worker->number, version, registrar->ids[version], answer);
		return;
	}
	registrar->ids[version] = id;
	registrar->known = ANNALS_MAX(registrar->known, version);
}

/* What was registered is there under its id. */
static void look_up(struct registrar *registrar)
{
	unsigned version = 1 + (unsigned)random_below(&registrar->worker->random, VERSIONS_MAX);
	const char *answer = "";
	char path[64];
	int status;

	if (registrar->ids[version] == 0) {
		return;
	}
	(void)snprintf(path, sizeof(path), "/v1/schema-ids/%" PRIu64, registrar->ids[version]);
	status = http_ask(&registrar->http, "GET", path, "", bytes_of(NULL, 0), &answer);
	if (status == 404) {
		torture_problem(registrar->worker->torture,
			"client %u: the schema with id %" PRIu64 " is gone: %.300s",
			registrar->worker->number, registrar->ids[version], answer);
	}
}

static void set_hook(struct registrar *registrar)
{
	struct worker *worker = registrar->worker;
	uint64_t concurrency = 1 + random_below(&worker->random, 100);
	const char *answer = "";
	int status;

	buf_reset(&registrar->body);
	/* Nothing answers there, and private addresses are not asked at all. */
	if (buf_printf(&registrar->body,
		    "{\"url\":\"http://127.0.0.1:9/\",\"topics\":[\"side-hook\"],"
		    "\"concurrency\":%" PRIu64 "}",
		    concurrency) != 0) {
		return;
	}
	status = http_ask(&registrar->http, "PUT", HOOK, "Content-Type: application/json\r\n",
		buf_bytes(&registrar->body), &answer);
	switch (http_outcome(status == 201 ? 200 : status, answer)) {
	case HISTORY_DONE:
		registrar->concurrency = concurrency;
		break;
	case HISTORY_UNKNOWN:
		registrar->maybe[registrar->next_maybe % MAYBE_MAX] = concurrency;
		registrar->maybe_ns[registrar->next_maybe++ % MAYBE_MAX] = clock_monotonic_ns();
		break;
	default:
		break;
	}
}

static bool may_be(const struct registrar *registrar, uint64_t concurrency)
{
	uint64_t now_ns = clock_monotonic_ns();

	for (unsigned i = 0; i < MAYBE_MAX; i++) {
		if (registrar->maybe[i] == concurrency &&
			now_ns - registrar->maybe_ns[i] < MAYBE_NS) {
			return true;
		}
	}
	return concurrency == registrar->concurrency;
}

static void look_at_hook(struct registrar *registrar)
{
	const char *answer = "";
	uint64_t found = 0;
	int status = http_ask(&registrar->http, "GET", HOOK, "", bytes_of(NULL, 0), &answer);

	if (registrar->concurrency == 0 || (status != 200 && status != 404)) {
		return;
	}
	if (status == 404 || !http_json_number(answer, "concurrency", &found) ||
		!may_be(registrar, found)) {
		torture_problem(registrar->worker->torture,
			"client %u: a webhook was given concurrency %" PRIu64 ", and is: %.300s",
			registrar->worker->number, registrar->concurrency, answer);
	}
}

void registrar_run(struct worker *worker)
{
	struct registrar *registrar = calloc(1, sizeof(*registrar));
	struct annals_topic_config config = {.partitions = 1};

	if (registrar == NULL) {
		torture_problem(worker->torture, "no memory for the registrar");
		return;
	}
	registrar->worker = worker;
	http_connection_init(&registrar->http, worker->torture->server.http);
	(void)annals_topic_create(worker->client, "side-hook", &config, 5000, NULL, NULL);
	while (worker_gate(worker)) {
		register_schema(registrar);
		look_up(registrar);
		set_hook(registrar);
		look_at_hook(registrar);
		torture_sleep_ms(20);
	}
	http_connection_release(&registrar->http);
	buf_release(&registrar->body);
	buf_release(&registrar->file);
	buf_release(&registrar->message);
	buf_release(&registrar->field);
	free(registrar);
}
