/* Consumer groups that the server keeps. */
#include "http_fixture.h"
#include "suite.h"
#include <unistd.h>

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":1}");
	ask_for(201, "PUT", "/v1/topics/out", NULL, "{\"partitions\":1}");
	ask_for(200, "POST", "/v1/topics/t/events?type=x&key=k", NULL, "1");
	ask_for(200, "POST", "/v1/topics/t/events?type=x&key=k", NULL, "2");
	ask_for(200, "POST", "/v1/topics/t/events?type=x&key=z", NULL, "3");
	ask_for(201, "PUT", "/v1/groups/g", NULL,
		"{\"topics\":[\"t\"],\"attemptsMax\":2,\"backoffMs\":0,\"leaseMs\":\"20s\"}");
}

/* The n-th lease (from 0) in an answer, with its quotes. */
static const char *lease_of(const char *text, unsigned n)
{
	static char out[4][128];
	const char *at = text;
	for (unsigned i = 0; i <= n; i++) {
		at = strstr(at, "\"lease\":\"");
		ck_assert_ptr_nonnull(at);
		at += 8;
	}
	snprintf(out[n], sizeof(out[n]), "%.*s", (int)(strchr(at + 1, '"') + 1 - at), at);
	return out[n];
}

static const char *body(const char *format, const char *lease)
{
	static char out[1024];
	snprintf(out, sizeof(out), "{\"leases\":[%s]%s}", lease, format);
	return out;
}

/* Metrics are looked at every few seconds. */
static bool metric_comes(const char *line)
{
	for (unsigned i = 0; i < 600; i++) {
		if (strstr(ask_for(200, "GET", "/metrics", NULL, NULL), line) != NULL) {
			return true;
		}
		usleep(50000);
	}
	return false;
}

/* Both kinds of groups, and one that only commits. */
START_TEST(test_http_groups_lag_in_events_and_time)
{
	const char *text;
	ask_for(204, "PUT", "/v1/groups/plain/offsets/t/0", NULL, "{\"offset\":1}");
	ask_for(200, "POST", "/v1/groups/m/members", NULL, "{\"member\":\"a\",\"topics\":[\"t\"]}");
	text = ask_for(200, "GET", "/v1/groups/m", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "lag"), 0); /* of what was committed */
	ask_for(204, "PUT", "/v1/groups/m/offsets/t/0", NULL,
		"{\"member\":\"a\",\"generation\":1,\"offset\":0}");
	usleep(20000);
	text = ask_for(200, "GET", "/v1/groups/m", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "lag"), 3);
	ck_assert_uint_ge(json_number(text, "lagMs"), 20);
	ck_assert_uint_lt(json_number(text, "lagMs"), 600000);
	ck_assert(metric_comes("annals_group_lag_events{group=\"g\"} 3\n"));
	ck_assert(metric_comes("annals_group_lag_events{group=\"m\"} 3\n"));
	ck_assert(metric_comes("annals_group_lag_events{group=\"plain\"} 2\n"));
	text = ask_for(200, "GET", "/metrics", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "annals_group_lag_seconds{group=\"g\"} "));
	ck_assert_ptr_nonnull(strstr(text, "annals_group_lag_seconds{group=\"m\"} "));
	ck_assert_ptr_nonnull(strstr(text, "annals_group_lag_seconds{group=\"plain\"} "));
	ck_assert_ptr_null(strstr(text, "annals_group_lag_seconds{group=\"m\"} 0.000\n"));
	ask_for(204, "PUT", "/v1/groups/m/offsets/t/0", NULL,
		"{\"member\":\"a\",\"generation\":1,\"offset\":3}");
	text = ask_for(200, "GET", "/v1/groups/m", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "lag"), 0);
	ck_assert_uint_eq(json_number(text, "lagMs"), 0);
}
END_TEST

START_TEST(test_http_groups_poll_and_acknowledge)
{
	const char *text =
		ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"member\":\"w1\",\"max\":10}");
	ck_assert_uint_eq(count_of(text, "\"lease\":"), 2); /* the second of key k waits */
	ck_assert_ptr_nonnull(strstr(text, "\"partitionkey\":\"k\""));
	ck_assert_uint_eq(json_number(text, "attempt"), 1);
	const char *first = lease_of(text, 0), *third = lease_of(text, 1);
	text = ask_for(200, "GET", "/v1/groups/g", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "inFlight"), 2);
	ck_assert_uint_eq(json_number(text, "lag"), 3);
	ck_assert_uint_eq(json_number(text, "leaseMs"), 20000);
	text = ask_for(200, "POST", "/v1/groups/g/acknowledge", NULL, body("", first));
	ck_assert_uint_eq(json_number(text, "settled"), 1);
	text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":10,\"waitMs\":50}");
	ck_assert_uint_eq(count_of(text, "\"lease\":"), 1);
	ck_assert_uint_eq(json_number(text, "offset"), 1);
	ask_for(200, "POST", "/v1/groups/g/extend", NULL, body(",\"leaseMs\":60000", third));
	ask_for(200, "POST", "/v1/groups/g/acknowledge", NULL, body("", third));
	text = ask_for(200, "GET", "/v1/groups/g/events/t/0/2", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"state\":\"finished\""));
	ck_assert_ptr_nonnull(strstr(text, "\"member\":\"w1\""));
	ask_problem(
		409, "lease-lost", "none", "POST", "/v1/groups/g/extend", NULL, body("", third));
}
END_TEST

START_TEST(test_http_groups_park_and_replay)
{
	const char *text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":1}");
	ask_for(200, "POST", "/v1/groups/g/refuse", NULL,
		body(",\"park\":true,\"reason\":\"no \\\"stock\\\"\"", lease_of(text, 0)));
	text = ask_for(200, "GET", "/v1/groups/g/parked", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "count"), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"reason\":\"no \\\"stock\\\"\""));
	ck_assert_ptr_nonnull(strstr(text, "\"partitionkey\":\"k\""));
	text = ask_for(200, "POST", "/v1/groups/g/parked/replay", NULL, "{\"dryRun\":true}");
	ck_assert_uint_eq(json_number(text, "count"), 1);
	text = ask_for(200, "GET", "/v1/groups/g/parked?topic=t&after=0.0", NULL, NULL);
	ck_assert_uint_eq(count_of(text, "\"reason\":"), 0);
	text = ask_for(200, "POST", "/v1/groups/g/parked/replay", NULL,
		"{\"topic\":\"t\",\"partition\":0,\"offset\":0}");
	ck_assert_uint_eq(json_number(text, "count"), 1);
	ask_problem(404, "not-found", "parked", "POST", "/v1/groups/g/parked/drop", NULL,
		"{\"topic\":\"t\",\"partition\":0,\"offset\":0}");
	text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":1}");
	ck_assert_uint_eq(json_number(text, "offset"), 0);
}
END_TEST

/* Outputs to several topics, with dedupe in one: a repeat of all but one of them. */
START_TEST(test_http_groups_transactions_over_topics)
{
	static const char *const event =
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"y\"}";
	char rest[600];
	ask_for(201, "PUT", "/v1/topics/known", NULL, "{\"dedupe\":{\"age\":\"1h\"}}");
	(void)snprintf(rest, sizeof(rest),
		",\"appends\":[{\"topic\":\"known\",\"events\":[%s]},"
		"{\"topic\":\"out\",\"events\":[%s,%s]}]",
		event, event, event);
	for (unsigned round = 0; round < 2; round++) {
		const char *text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":1}");
		const char *lease = lease_of(text, 0);
		text = ask_for(200, "POST", "/v1/groups/g/transactions", NULL, body(rest, lease));
		ck_assert_uint_eq(json_number(text, "settled"), 1);
		ck_assert_ptr_nonnull(strstr(text, "{\"topic\":\"known\""));
		ck_assert_ptr_nonnull(strstr(text, "{\"topic\":\"out\""));
		ask_problem(409, "lease-lost", "nothing was done", "POST",
			"/v1/groups/g/transactions", NULL, body(rest, lease));
		text = ask_for(200, "GET", "/v1/topics/out", NULL, NULL);
		ck_assert_uint_eq(json_number(text, "endOffset"), 2 * (round + 1));
		text = ask_for(200, "GET", "/v1/topics/known", NULL, NULL);
		ck_assert_uint_eq(json_number(text, "endOffset"), 1);
	}
	/* Refused as a whole: the lease is still held. */
	const char *text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":1}");
	const char *lease = lease_of(text, 0);
	(void)snprintf(rest, sizeof(rest),
		",\"appends\":[{\"topic\":\"out\",\"events\":[%s]},"
		"{\"topic\":\"out\",\"events\":[%s]}]",
		event, event);
	ask_problem(400, "invalid-argument", "twice", "POST", "/v1/groups/g/transactions", NULL,
		body(rest, lease));
	ask_for(200, "POST", "/v1/groups/g/acknowledge", NULL, body("", lease));
	text = ask_for(200, "GET", "/v1/topics/out", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 4);
}
END_TEST

START_TEST(test_http_groups_transactions)
{
	const char *text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":1}");
	const char *lease = lease_of(text, 0);
	const char *rest = ",\"topic\":\"out\",\"events\":[{\"specversion\":\"1.0\",\"id\":\"1\","
			   "\"source\":\"/s\",\"type\":\"y\",\"data\":7}],"
			   "\"checkpointName\":\"sum\",\"checkpoint\":\"{\\\"n\\\":1}\"";
	text = ask_for(200, "POST", "/v1/groups/g/transactions", NULL, body(rest, lease));
	ck_assert_uint_eq(json_number(text, "settled"), 1);
	ck_assert_uint_eq(json_number(text, "count"), 1);
	ask_problem(409, "lease-lost", "nothing was done", "POST", "/v1/groups/g/transactions",
		NULL, body(rest, lease));
	text = ask_for(200, "GET", "/v1/topics/out", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "endOffset"), 1);
	text = ask_for(200, "GET", "/v1/groups/g/checkpoints/sum", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"checkpoint\":\"{\\\"n\\\":1}\""));
	ask_problem(
		404, "not-found", "checkpoint", "GET", "/v1/groups/g/checkpoints/none", NULL, NULL);
}
END_TEST

#define PUSH(query)                                                                                \
	"GET /v1/groups/g/events" query " HTTP/1.1\r\nHost: a\r\nAccept: "                         \
	"text/event-stream\r\n\r\n"

/* A delivery says which version of its stream an event is, the first time and again. */
START_TEST(test_http_groups_versions)
{
	ask_for(201, "PUT", "/v1/topics/s", NULL, "{\"partitions\":1,\"streams\":true}");
	ask_for(201, "PUT", "/v1/groups/h", NULL, "{\"topics\":[\"s\"],\"backoffMs\":0}");
	ask_for(200, "POST", "/v1/topics/s/events?type=x&key=k", NULL, "1");
	ask_for(200, "POST", "/v1/topics/s/events?type=x&key=z", NULL, "2");
	ask_for(200, "POST", "/v1/topics/s/events?type=x&key=k", NULL, "3");
	for (unsigned i = 0; i < 2; i++) {
		const char *text = ask_for(200, "POST", "/v1/groups/h/poll", NULL, "{\"max\":1}");
		ck_assert_uint_eq(json_number(text, "offset"), 0);
		ck_assert_uint_eq(json_number(text, "annalsversion"), 0);
		ask_for(200, "POST", i == 0 ? "/v1/groups/h/refuse" : "/v1/groups/h/acknowledge",
			NULL, body(i == 0 ? ",\"delayMs\":0" : "", lease_of(text, 0)));
	}
	const char *text = ask_for(200, "POST", "/v1/groups/h/poll", NULL, "{\"max\":5}");
	ck_assert_uint_eq(count_of(text, "\"annalsversion\":0"), 1);
	ck_assert_uint_eq(count_of(text, "\"annalsversion\":1"), 1);
	text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":5}");
	ck_assert_uint_eq(count_of(text, "annalsversion"), 0);
}
END_TEST

/* The stream holds what ?max= says and not an event more until one is handled. */
START_TEST(test_http_groups_push)
{
	static const char *const order[] = {"\"offset\":0", "\"offset\":1", "\"offset\":2"};
	struct http_client client;
	char lease[128];
	client_open(&client);
	client_send_text(&client, PUSH("?member=w1&max=1&leaseMs=30000"));
	const char *text = client_read_until(&client, "\"partitionkey\":\"k\"");
	ck_assert_ptr_nonnull(strstr(text, "Content-Type: text/event-stream"));
	ck_assert_ptr_nonnull(strstr(text, "Annals-Member: w1\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "retry: 2000\n\n"));
	ck_assert_ptr_nonnull(strstr(text, "id: 1.1\ndata: {\"lease\":\"1.0.0."));
	ck_assert_uint_eq(
		json_number(ask_for(200, "GET", "/v1/groups/g", NULL, NULL), "inFlight"), 1);
	for (unsigned i = 0; i < ANNALS_COUNT_OF(order); i++) {
		text = client_read_until(&client, order[i]);
		ck_assert_uint_eq(count_of(text, "\"lease\":"), i + 1);
		ck_assert_uint_eq(count_of(text, "caught-up"), 0);
		snprintf(lease, sizeof(lease), "%s", lease_of(text, i));
		ask_for(200, "POST", "/v1/groups/g/acknowledge", NULL, body("", lease));
	}
	(void)client_read_until(&client, "event: caught-up\ndata: {}\n\n");
	ask_for(200, "POST", "/v1/topics/t/events?type=x&key=live", NULL, "4");
	text = client_read_until(&client, "\"offset\":3");
	ck_assert_uint_eq(count_of(text, "\"attempt\":1"), 4);
	client_close(&client);
}
END_TEST

/* Another member has room while one has not; what a stream held when it ended comes to the next one
 * as if it had not been tried. */
START_TEST(test_http_groups_push_gives_back)
{
	struct http_client full, second, third;
	client_open(&full);
	client_send_text(&full, PUSH("?max=1"));
	const char *text = client_read_until(&full, "\"offset\":0");
	ck_assert_ptr_nonnull(strstr(text, "Annals-Member: sse-"));
	client_open(&second);
	client_send_text(&second, PUSH("?max=1"));
	(void)client_read_until(&second, "\"offset\":2");
	ask_for(200, "POST", "/v1/topics/t/events?type=x&key=n", NULL, "5");
	client_open(&third);
	client_send_text(&third, PUSH("?max=5"));
	(void)client_read_until(&third, "\"offset\":3");
	client_close(&full);
	text = client_read_until(&third, "\"offset\":0");
	ck_assert_uint_eq(count_of(text, "\"attempt\":1"), 2);
	client_close(&second);
	text = client_read_until(&third, "\"offset\":2");
	ck_assert_uint_eq(count_of(text, "\"attempt\":1"), 3);
	text = ask_for(200, "GET", "/v1/groups/g/events/t/0/0", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"outcome\":\"left\""));
	client_close(&third);
}
END_TEST

START_TEST(test_http_groups_push_ends)
{
	struct http_client client;
	const char *accept = "Accept: text/event-stream\r\n";
	ask_problem(404, "unknown-group", "'none'", "GET", "/v1/groups/none/events", accept, NULL);
	ask_problem(406, "not-acceptable", "text/event-stream", "GET", "/v1/groups/g/events",
		"Accept: application/json\r\n", NULL);
	ask_problem(400, "invalid-argument", "max", "GET", "/v1/groups/g/events?max=1001", accept,
		NULL);
	ask_problem(400, "invalid-argument", "data", "GET", "/v1/groups/g/events?data=no", accept,
		NULL);
	ask_for(201, "PUT", "/v1/groups/log", NULL, "{\"mode\":\"offset\"}");
	ask_problem(409, "group-mode", "by offset", "GET", "/v1/groups/log/events", accept, NULL);
	ck_assert_int_eq(ask("HEAD", "/v1/groups/g/events", accept, NULL)->status, 200);
	ck_assert_int_eq(ask("HEAD", "/v1/groups/none/events", accept, NULL)->status, 404);
	ck_assert_uint_eq(
		json_number(ask_for(200, "GET", "/v1/groups/g", NULL, NULL), "inFlight"), 0);
	client_open(&client);
	client_send_text(&client, PUSH("?max=2"));
	(void)client_read_until(&client, "\"offset\":2");
	ask_for(204, "DELETE", "/v1/groups/g", NULL, NULL);
	const char *text = client_read_until(&client, "0\r\n\r\n");
	ck_assert_ptr_nonnull(
		strstr(text, "event: error\ndata: {\"type\":\"urn:annals:problem:unknown-group\""));
	client_close(&client);
}
END_TEST

START_TEST(test_http_groups_seek)
{
	const char *text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":10}");
	const char *lease = lease_of(text, 0);
	text = ask_for(
		200, "POST", "/v1/groups/g/seek", NULL, "{\"to\":\"earliest\",\"dryRun\":true}");
	ck_assert_uint_eq(json_number(text, "leasesEnded"), 2);
	ask_for(200, "POST", "/v1/groups/g/seek", NULL,
		"{\"topic\":\"t\",\"partition\":0,\"offset\":2}");
	ask_problem(409, "lease-lost", "none", "POST", "/v1/groups/g/acknowledge", NULL,
		body("", lease));
	text = ask_for(200, "POST", "/v1/groups/g/poll", NULL, "{\"max\":10}");
	ck_assert_uint_eq(json_number(text, "offset"), 2);
	ask_for(200, "POST", "/v1/groups/g/seek", NULL, "{\"time\":\"2001-01-01T00:00:00Z\"}");
	ask_problem(400, "invalid-argument", "one of", "POST", "/v1/groups/g/seek", NULL, "{}");
	ask_problem(416, "offset-beyond-end", "go there", "POST", "/v1/groups/g/seek", NULL,
		"{\"topic\":\"t\",\"partition\":0,\"offset\":9}");
}
END_TEST

START_TEST(test_http_groups_members)
{
	const char *text = ask_for(200, "POST", "/v1/groups/m/members", NULL,
		"{\"member\":\"a\",\"topics\":[\"t\",\"out\"]}");
	ck_assert_uint_eq(count_of(text, "\"partition\":"), 2);
	ck_assert_uint_eq(json_number(text, "generation"), 1);
	text = ask_for(200, "POST", "/v1/groups/m/members", NULL,
		"{\"member\":\"b\",\"topics\":[\"t\",\"out\"]}");
	text = ask_for(200, "POST", "/v1/groups/m/members/a/heartbeat", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "generation"), 2);
	ask_for(204, "DELETE", "/v1/groups/m/members/b", NULL, NULL);
	ask_problem(
		409, "unknown-member", "b", "POST", "/v1/groups/m/members/b/heartbeat", NULL, NULL);
	text = ask_for(200, "GET", "/v1/groups/m", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"mode\":\"offset\""));
	ask_problem(409, "group-mode", "offset", "POST", "/v1/groups/m/poll", NULL, "{}");
	ask_problem(409, "group-mode", "event", "POST", "/v1/groups/g/members", NULL,
		"{\"topics\":[\"t\"]}");
}
END_TEST

START_TEST(test_http_groups_members_commit)
{
	const char *commit = "{\"member\":\"a\",\"generation\":1,\"offset\":1}";
	ask_for(200, "POST", "/v1/groups/m/members", NULL, "{\"member\":\"a\",\"topics\":[\"t\"]}");
	ask_for(204, "PUT", "/v1/groups/m/offsets/t/0", NULL, commit);
	ask_for(204, "PUT", "/v1/groups/m/offsets", NULL,
		"{\"member\":\"a\",\"generation\":1,\"offsets\":[{\"topic\":\"t\",\"partition\":0,"
		"\"offset\":2}]}");
	ask_problem(409, "fenced", "members", "PUT", "/v1/groups/m/offsets/t/0", NULL,
		"{\"offset\":1}");
	ask_problem(409, "fenced", "generation", "PUT", "/v1/groups/m/offsets/t/0", NULL,
		"{\"member\":\"a\",\"generation\":9,\"offset\":1}");
	ask_problem(409, "unknown-member", "join", "PUT", "/v1/groups/m/offsets/t/0", NULL,
		"{\"member\":\"b\",\"generation\":1,\"offset\":1}");
	ask_problem(
		404, "unknown-group", "'none'", "PUT", "/v1/groups/none/offsets/t/0", NULL, commit);
	ask_problem(409, "group-mode", "event", "PUT", "/v1/groups/g/offsets/t/0", NULL, commit);
	ask_problem(400, "invalid-argument", "'generation'", "PUT", "/v1/groups/m/offsets/t/0",
		NULL, "{\"member\":\"a\",\"generation\":-1,\"offset\":1}");
	ask_problem(400, "invalid-argument", "no member", "PUT", "/v1/groups/m/offsets", NULL,
		"{\"offsets\":[{\"topic\":\"t\",\"partition\":0,\"offset\":2,"
		"\"member\":\"a\"}]}");
	const char *text = ask_for(200, "GET", "/v1/groups/m/offsets/t/0", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "offset"), 2);
	/* Another one joins: the first lets go when it says so. */
	ask_for(200, "POST", "/v1/groups/m/members", NULL,
		"{\"member\":\"b\",\"topics\":[\"t\",\"out\"]}");
	text = ask_for(200, "POST", "/v1/groups/m/members/a/heartbeat?generation=1", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "generation"), 2);
	ask_problem(400, "invalid-argument", "generation", "POST",
		"/v1/groups/m/members/a/heartbeat?generation=x", NULL, NULL);
}
END_TEST

struct refusal {
	int status;
	const char *type, *says, *method, *path, *body;
};

static void expect_refusals(const struct refusal *refusals, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct refusal *refusal = &refusals[i];
		ask_problem(refusal->status, refusal->type, refusal->says, refusal->method,
			refusal->path, NULL, refusal->body);
	}
}

/* Every route of a group by event, of a group that does not exist and of one by offset. */
START_TEST(test_http_groups_wrong_group)
{
	static const char lease[] = "{\"leases\":[\"1.0.0.4294967297\"]}";
	static const struct {
		const char *method, *path, *body;
	} routes[] = {{"POST", "poll", "{}"}, {"POST", "acknowledge", lease},
		{"POST", "refuse", lease}, {"POST", "extend", lease},
		{"POST", "transactions", lease}, {"POST", "seek", "{\"to\":\"latest\"}"},
		{"GET", "parked", NULL}, {"POST", "parked/replay", "{}"},
		{"POST", "parked/drop", "{}"}, {"GET", "events/t/0/0", NULL}};
	static const struct refusal others[] = {
		{404, "unknown-group", "'none'", "GET", "/v1/groups/none", NULL},
		{404, "unknown-group", "'none'", "GET", "/v1/groups/none/checkpoints/c", NULL},
		{404, "unknown-group", "'none'", "POST", "/v1/groups/none/members/a/heartbeat",
			NULL},
		{404, "unknown-group", "'none'", "DELETE", "/v1/groups/none/members/a", NULL},
		{409, "group-mode", "event", "POST", "/v1/groups/g/members/a/heartbeat", NULL},
		{409, "group-mode", "event", "PUT", "/v1/groups/g", "{\"mode\":\"offset\"}"},
		{409, "group-mode", "offset", "PUT", "/v1/groups/m", "{\"topics\":[\"t\"]}"},
		{405, "method-not-allowed", "", "PUT", "/v1/groups/g/poll", "{}"},
		{400, "invalid-argument", "", "GET", "/v1/groups/..bad..%20", NULL}};
	char path[128];
	ask_for(201, "PUT", "/v1/groups/m", NULL, "{\"mode\":\"offset\"}");
	for (size_t i = 0; i < ANNALS_COUNT_OF(routes); i++) {
		(void)snprintf(path, sizeof(path), "/v1/groups/none/%s", routes[i].path);
		ask_problem(404, "unknown-group", "'none'", routes[i].method, path, NULL,
			routes[i].body);
		(void)snprintf(path, sizeof(path), "/v1/groups/m/%s", routes[i].path);
		ask_problem(409, "group-mode", "by offset", routes[i].method, path, NULL,
			routes[i].body);
	}
	expect_refusals(others, ANNALS_COUNT_OF(others));
}
END_TEST

/* What each route does not take. */
START_TEST(test_http_groups_wrong_values)
{
	static const struct refusal refusals[] = {
		{400, "invalid-argument", "mode", "PUT", "/v1/groups/h", "{\"mode\":\"both\"}"},
		{400, "invalid-argument", "parked", "PUT", "/v1/groups/h",
			"{\"topics\":[\"t\"],\"parked\":\"drop\"}"},
		{400, "invalid-argument", "leaseMs", "PUT", "/v1/groups/h",
			"{\"topics\":[\"t\"],\"leaseMs\":\"13h\"}"},
		{400, "invalid-argument", "attemptsMax", "PUT", "/v1/groups/h",
			"{\"topics\":[\"t\"],\"attemptsMax\":10001}"},
		{400, "invalid-argument", "taken away", "PUT", "/v1/groups/g",
			"{\"topics\":[\"out\"]}"},
		{400, "malformed", "byte", "PUT", "/v1/groups/h", "{"},
		{400, "invalid-argument", "waitMs", "POST", "/v1/groups/g/poll",
			"{\"waitMs\":60001}"},
		{400, "invalid-argument", "poll", "POST", "/v1/groups/g/poll", "{\"max\":0}"},
		{400, "invalid-argument", "leases", "POST", "/v1/groups/g/refuse", "{}"},
		{400, "invalid-argument", "delayMs", "POST", "/v1/groups/g/refuse",
			"{\"leases\":[\"1.0.0.1\"],\"delayMs\":\"31d\"}"},
		{400, "invalid-argument", "leases", "POST", "/v1/groups/g/extend",
			"{\"leases\":[]}"},
		{409, "lease-lost", "none", "POST", "/v1/groups/g/refuse",
			"{\"leases\":[\"1.0.0.1\"]}"},
		{409, "lease-lost", "none", "POST", "/v1/groups/g/acknowledge",
			"{\"leases\":[\"1.9.0.1\"]}"},
		{400, "invalid-argument", "lease", "POST", "/v1/groups/g/transactions", "{}"},
		{409, "lease-lost", "nothing", "POST", "/v1/groups/g/transactions",
			"{\"leases\":[\"1.0.0.1\"]}"},
		{404, "unknown-topic", "'none'", "POST", "/v1/groups/g/transactions",
			"{\"leases\":[\"1.0.0.1\"],\"topic\":\"none\",\"events\":[{}]}"},
		{404, "unknown-topic", "append 0", "POST", "/v1/groups/g/transactions",
			"{\"leases\":[\"1.0.0.1\"],\"appends\":[{\"topic\":\"none\",\"events\":["
			"]}]}"},
		{400, "invalid-argument", "not both", "POST", "/v1/groups/g/transactions",
			"{\"leases\":[\"1.0.0.1\"],\"topic\":\"out\",\"appends\":[]}"},
		{400, "invalid-argument", "'appends' is no array", "POST",
			"/v1/groups/g/transactions", "{\"leases\":[\"1.0.0.1\"],\"appends\":7}"},
		{400, "invalid-argument", "no batch", "POST", "/v1/groups/g/transactions",
			"{\"leases\":[\"1.0.0.1\"],\"appends\":[{\"topic\":\"out\"}]}"},
		{400, "malformed", "event 0", "POST", "/v1/groups/g/transactions",
			"{\"leases\":[\"1.0.0.1\"],\"topic\":\"out\",\"events\":[{}]}"},
		{400, "invalid-argument", "both", "POST", "/v1/groups/g/seek", "{\"offset\":0}"},
		{400, "invalid-argument", "RFC 3339", "POST", "/v1/groups/g/seek",
			"{\"time\":\"yesterday\"}"},
		{400, "invalid-argument", "'to'", "POST", "/v1/groups/g/seek",
			"{\"to\":\"middle\"}"},
		{404, "unknown-topic", "'none'", "POST", "/v1/groups/g/seek",
			"{\"to\":\"latest\",\"topic\":\"none\"}"},
		{404, "unknown-partition", "", "POST", "/v1/groups/g/seek",
			"{\"to\":\"latest\",\"topic\":\"t\",\"partition\":7}"},
		{404, "unknown-partition", "", "POST", "/v1/groups/g/seek",
			"{\"to\":\"latest\",\"topic\":\"out\"}"},
		{400, "invalid-argument", "limit", "GET", "/v1/groups/g/parked?limit=1001", NULL},
		{400, "invalid-argument", "after", "GET", "/v1/groups/g/parked?after=0.0", NULL},
		{400, "invalid-argument", "after", "GET", "/v1/groups/g/parked?topic=t&after=x",
			NULL},
		{404, "unknown-topic", "'none'", "GET", "/v1/groups/g/parked?topic=none", NULL},
		{400, "invalid-argument", "together", "POST", "/v1/groups/g/parked/drop",
			"{\"topic\":\"t\",\"offset\":0}"},
		{404, "not-found", "parked", "POST", "/v1/groups/g/parked/replay",
			"{\"topic\":\"t\",\"partition\":0,\"offset\":0}"},
		{404, "unknown-topic", "'none'", "POST", "/v1/groups/g/parked/drop",
			"{\"topic\":\"none\"}"},
		{404, "unknown-topic", "'none'", "GET", "/v1/groups/g/events/none/0/0", NULL},
		{404, "unknown-partition", "", "GET", "/v1/groups/g/events/t/9/0", NULL},
		{404, "unknown-partition", "", "GET", "/v1/groups/g/events/out/0/0", NULL},
		{404, "not-found", "no number", "GET", "/v1/groups/g/events/t/x/0", NULL},
		{400, "invalid-argument", "1 to 64", "POST", "/v1/groups/m/members", "{}"},
		{404, "unknown-topic", "'none'", "POST", "/v1/groups/m/members",
			"{\"topics\":[\"none\"]}"},
		{400, "invalid-argument", "1 s to 1 h", "POST", "/v1/groups/m/members",
			"{\"topics\":[\"t\"],\"sessionMs\":10}"},
		{400, "malformed", "byte", "POST", "/v1/groups/m/members", "["}};
	expect_refusals(refusals, ANNALS_COUNT_OF(refusals));
}
END_TEST

START_TEST(test_http_groups_errors)
{
	ask_problem(404, "unknown-group", "'none'", "GET", "/v1/groups/none", NULL, NULL);
	ask_problem(404, "unknown-group", "'none'", "POST", "/v1/groups/none/poll", NULL, "{}");
	ask_problem(400, "invalid-argument", "no lease", "POST", "/v1/groups/g/acknowledge", NULL,
		"{\"leases\":[\"1.2.3\"]}");
	ask_problem(400, "invalid-argument", "no lease", "POST", "/v1/groups/g/acknowledge", NULL,
		"{}");
	ask_problem(400, "malformed", "byte", "POST", "/v1/groups/g/poll", NULL, "{\"max\":");
	ask_problem(400, "invalid-argument", "no member", "POST", "/v1/groups/g/poll", NULL,
		"{\"maximum\":1}");
	ask_problem(400, "invalid-argument", "'max'", "POST", "/v1/groups/g/poll", NULL,
		"{\"max\":1001}");
	ask_problem(404, "unknown-topic", "'none'", "PUT", "/v1/groups/h", NULL,
		"{\"topics\":[\"none\"]}");
	ask_problem(400, "invalid-argument", "1 to 64", "PUT", "/v1/groups/h", NULL, "{}");
	ask_problem(
		416, "offset-beyond-end", "yet", "GET", "/v1/groups/g/events/t/0/99", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(ask_for(200, "GET", "/v1/groups", NULL, NULL), "\"g\""));
	ask_for(204, "DELETE", "/v1/groups/g", NULL, NULL);
	ask_problem(404, "unknown-group", "'g'", "GET", "/v1/groups/g", NULL, NULL);
}
END_TEST

SUITE_MAIN("http_groups", setup, server_teardown, test_http_groups_lag_in_events_and_time,
	test_http_groups_poll_and_acknowledge, test_http_groups_park_and_replay,
	test_http_groups_transactions, test_http_groups_transactions_over_topics,
	test_http_groups_versions, test_http_groups_push, test_http_groups_push_gives_back,
	test_http_groups_push_ends, test_http_groups_seek, test_http_groups_members,
	test_http_groups_members_commit, test_http_groups_wrong_group,
	test_http_groups_wrong_values, test_http_groups_errors)
