/*
 * Members of a group by event, over HTTP: they lease events, acknowledge most, refuse some and
 * forget some, whose leases then run out. What was acknowledged must not come again, unless one of
 * them has made the group go back.
 */
#include "torture_clients.h"
#include "torture_http.h"

#include <annals/clock.h>
#include <inttypes.h>
#include <stdlib.h>

#define LEASES_MAX 32u
#define POLL_EVENTS 20u
#define POLL_WAIT_MS 50u
#define SEEK_EVERY 60u                 /* polls */
#define GROUP_NUMBER UINT64_C(1000000) /* above the committers' */

struct lease {
	char token[80];
	uint32_t partition;
	uint64_t offset;
};

struct member {
	struct worker *worker;
	struct http_connection http;
	struct buf body, data, scratch;
	struct lease leases[LEASES_MAX];
	size_t lease_count;
	unsigned era; /* in which the group was made; 0: in none */
};

static int ask(struct member *member, const char *method, const char *what, const char **ret_body)
{
	struct buf *request = &member->http.request;

	buf_reset(request);
	if (buf_printf(request,
		    "%s /v1/groups/work-%u%s HTTP/1.1\r\nHost: torture\r\n"
		    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
		    method, member->worker->torture->era, what, member->body.size) != 0 ||
		buf_add(request, member->body.data, member->body.size) != 0) {
		return ANNALS_E_UNAVAILABLE;
	}
	return http_exchange(&member->http, TORTURE_CALL_MS, ret_body);
}

static bool make_group(struct member *member)
{
	const char *body = "";
	int status;

	buf_reset(&member->body);
	if (buf_printf(&member->body,
		    "{\"topics\":[\"%s\"],\"attemptsMax\":1000,\"backoffMs\":10,\"leaseMs\":1000}",
		    member->worker->torture->topic) != 0) {
		return false;
	}
	status = ask(member, "PUT", "", &body);
	if (status == 200 || status == 201) {
		member->era = member->worker->torture->era;
		return true;
	}
	return false;
}

static struct history_op begin(struct member *member, enum history_kind kind)
{
	struct history_op op = worker_begin(member->worker, kind, ++member->worker->next_request);

	op.mask = HISTORY_OP_GROUP;
	op.group = GROUP_NUMBER + member->worker->torture->era;
	return op;
}

/* One lease of an answer, NUL-terminated. */
static void take_lease(
	struct member *member, const char *text, struct history_part *part, uint8_t *value)
{
	struct lease *lease = &member->leases[member->lease_count];
	struct annals_bytes token = http_json_text(text, "lease");
	uint64_t partition = 0, number = 0;

	*part = (struct history_part){.mask = 0};
	if (token.size == 0 || token.size >= sizeof(lease->token) ||
		!http_json_number(text, "partition", &partition) ||
		!http_json_number(text, "offset", &lease->offset) ||
		!http_json_number(text, "attempt", &part->delivery)) {
		torture_problem(member->worker->torture,
			"client %u: a lease cannot be read: %.100s", member->worker->number, text);
		return;
	}
	(void)snprintf(lease->token, sizeof(lease->token), "%.*s", (int)token.size,
		(const char *)token.data);
	lease->partition = part->partition = (uint32_t)partition;
	part->offset = lease->offset;
	part->count = 1;
	part->mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT | HISTORY_PART_DELIVERY;
	if (torture_json_value(text, &member->data, &member->scratch, &number)) {
		store_u64(value, number);
		part->values = value;
		part->mask |= HISTORY_PART_VALUES;
	}
	member->lease_count++;
}

static void poll_events(struct member *member)
{
	struct history_op op = begin(member, HISTORY_DELIVER);
	struct history_part parts[LEASES_MAX];
	uint8_t values[LEASES_MAX][8];
	const char *body = "";
	char *at;

	member->lease_count = 0;
	buf_reset(&member->body);
	if (buf_printf(&member->body, "{\"member\":\"m%u\",\"max\":%u,\"waitMs\":%u}",
		    member->worker->number, POLL_EVENTS, POLL_WAIT_MS) != 0 ||
		ask(member, "POST", "/poll", &body) != 200) {
		torture_sleep_ms(5);
		return;
	}
	op.return_ns = clock_monotonic_ns();
	/* The answer is in a buffer of ours: cut it before each lease. */
	at = strstr((char *)member->http.answer.data, "{\"lease\":");
	while (at != NULL && member->lease_count < LEASES_MAX) {
		char *next = strstr(at + 1, "{\"lease\":");
		size_t index = member->lease_count;
		if (next != NULL) {
			next[-1] = 0;
		}
		take_lease(member, at, &parts[index], values[index]);
		at = next;
	}
	if (member->lease_count > 0) {
		op.parts = parts;
		op.part_count = (uint32_t)member->lease_count;
		torture_record(member->worker->torture, &op);
	}
}

/* Makes the group go back to somewhere before what was leased last: from there on all comes again.
 */
static void seek(struct member *member)
{
	struct history_op op = begin(member, HISTORY_COMMIT);
	const struct lease *lease = &member->leases[0];
	struct history_part part = {.partition = lease->partition,
		.offset = random_below(&member->worker->random, lease->offset + 1),
		.mask = HISTORY_PART_OFFSET};
	const char *body = "";
	int status;

	buf_reset(&member->body);
	if (buf_printf(&member->body, "{\"topic\":\"%s\",\"partition\":%u,\"offset\":%" PRIu64 "}",
		    member->worker->torture->topic, part.partition, part.offset) != 0) {
		return;
	}
	status = ask(member, "POST", "/seek", &body);
	op.outcome = http_outcome(status, body);
	op.mask |= HISTORY_OP_RESET;
	op.parts = &part;
	op.part_count = 1;
	op.return_ns = clock_monotonic_ns();
	torture_record(member->worker->torture, &op);
}

/* Acknowledges or refuses leases [first, end). */
static void settle(
	struct member *member, enum history_kind kind, const char *what, size_t first, size_t end)
{
	struct history_op op = begin(member, kind);
	struct history_part parts[LEASES_MAX];
	const char *body = "";
	uint64_t settled = 0;
	int status = 0;

	if (first == end) {
		return;
	}
	buf_reset(&member->body);
	for (size_t i = first; i < end; i++) {
		const struct lease *lease = &member->leases[i];
		status |= buf_printf(&member->body, "%s\"%s\"", i == first ? "{\"leases\":[" : ",",
			lease->token);
		parts[i - first] = (struct history_part){.partition = lease->partition,
			.offset = lease->offset,
			.count = 1,
			.mask = HISTORY_PART_OFFSET | HISTORY_PART_COUNT};
	}
	if (status != 0 || buf_add_text(&member->body, "]}") != 0) {
		return;
	}
	status = ask(member, "POST", what, &body);
	op.outcome = http_outcome(status, body);
	if (op.outcome == HISTORY_DONE &&
		(!http_json_number(body, "settled", &settled) || settled != end - first)) {
		op.outcome = HISTORY_UNKNOWN;
	}
	op.parts = parts;
	op.part_count = (uint32_t)(end - first);
	op.return_ns = clock_monotonic_ns();
	torture_record(member->worker->torture, &op);
}

void member_run(struct worker *worker)
{
	struct member *member = calloc(1, sizeof(*member));

	if (member == NULL) {
		torture_problem(worker->torture, "no memory for a member of a group");
		return;
	}
	member->worker = worker;
	http_connection_init(&member->http, worker->torture->server.http);
	while (worker_gate(worker)) {
		if (member->era != worker->torture->era && !make_group(member)) {
			torture_sleep_ms(10);
			continue;
		}
		poll_events(member);
		/* The first few are forgotten, the next refused, the rest acknowledged. */
		size_t forgotten = random_below(&worker->random, 16) == 0 ? 1 : 0;
		size_t refused = forgotten + random_below(&worker->random, 3);
		forgotten = ANNALS_MIN(forgotten, member->lease_count);
		refused = ANNALS_MIN(refused, member->lease_count);
		settle(member, HISTORY_REFUSE, "/refuse", forgotten, refused);
		settle(member, HISTORY_ACKNOWLEDGE, "/acknowledge", refused, member->lease_count);
		if (member->lease_count > 0 && random_below(&worker->random, SEEK_EVERY) == 0) {
			seek(member);
		}
	}
	http_connection_release(&member->http);
	buf_release(&member->body);
	buf_release(&member->data);
	buf_release(&member->scratch);
	free(member);
}
