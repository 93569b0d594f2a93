/* Consumer groups' offsets. */
#include "http_fixture.h"
#include "suite.h"

static void setup(void)
{
	server_setup();
	ask_for(201, "PUT", "/v1/topics/t", NULL, "{\"partitions\":2}");
	ask_for(200, "POST", "/v1/topics/t/partitions/0/events?type=x", NULL, "1");
	ask_for(200, "POST", "/v1/topics/t/partitions/0/events?type=x", NULL, "2");
}

START_TEST(test_http_offsets_commit_one_and_read_it)
{
	ask_problem(404, "not-found", "no offset", "GET", "/v1/groups/g/offsets/t/0", NULL, NULL);
	ask_for(204, "PUT", "/v1/groups/g/offsets/t/0", NULL,
		"{\"offset\":1,\"metadata\":\"caf\xc3\xa9\",\"leaderEpoch\":3}");
	const char *text = ask_for(200, "GET", "/v1/groups/g/offsets/t/0", NULL, NULL);
	ck_assert_uint_eq(json_number(text, "offset"), 1);
	ck_assert_uint_eq(json_number(text, "lag"), 1);
	ck_assert_uint_eq(json_number(text, "endOffset"), 2);
	ck_assert_uint_eq(json_number(text, "leaderEpoch"), 3);
	ck_assert_ptr_nonnull(strstr(text, "\"metadata\":\"caf\xc3\xa9\""));
	/* What was read can be written back. */
	char copy[1024];
	snprintf(copy, sizeof(copy), "%s", text);
	ask_for(204, "PUT", "/v1/groups/g/offsets/t/0", NULL, copy);
}
END_TEST

START_TEST(test_http_offsets_commit_several_or_none)
{
	ask_for(204, "PUT", "/v1/groups/g/offsets", NULL,
		"{\"offsets\":[{\"topic\":\"t\",\"partition\":0,\"offset\":2},{\"topic\":\"t\","
		"\"partition\":1,\"offset\":0}]}");
	ck_assert_uint_eq(
		count_of(ask_for(200, "GET", "/v1/groups/g/offsets", NULL, NULL), "\"partition\":"),
		2);
	ck_assert_uint_eq(count_of(ask_for(200, "GET", "/v1/groups/g/offsets?topic=t", NULL, NULL),
				  "\"partition\":"),
		2);
	ask_problem(416, "offset-beyond-end", "'t'", "PUT", "/v1/groups/h/offsets", NULL,
		"{\"offsets\":[{\"topic\":\"t\",\"partition\":0,\"offset\":2},{\"topic\":\"t\","
		"\"partition\":1,\"offset\":1}]}");
	ck_assert_uint_eq(
		count_of(ask_for(200, "GET", "/v1/groups/h/offsets", NULL, NULL), "\"partition\":"),
		0);
}
END_TEST

START_TEST(test_http_offsets_groups_are_listed_and_deleted)
{
	ask_for(204, "PUT", "/v1/groups/g2/offsets/t/0", NULL, "{\"offset\":1}");
	ask_for(204, "PUT", "/v1/groups/g1/offsets/t/0", NULL, "{\"offset\":1}");
	ck_assert_str_eq(
		ask_for(200, "GET", "/v1/groups", NULL, NULL), "{\"groups\":[\"g1\",\"g2\"]}\n");
	ask_for(204, "DELETE", "/v1/groups/g1", NULL, NULL);
	ck_assert_str_eq(ask_for(200, "GET", "/v1/groups", NULL, NULL), "{\"groups\":[\"g2\"]}\n");
}
END_TEST

START_TEST(test_http_offsets_refuses)
{
	static const struct {
		const char *path, *body, *type, *says;
		int status;
	} cases[] = {
		{"/v1/groups/g/offsets/t/0", "{\"offset\":3}", "offset-beyond-end",
			"beyond the end", 416},
		{"/v1/groups/g/offsets/t/2", "{\"offset\":0}", "unknown-partition",
			"\"partition\":2", 404},
		{"/v1/groups/g/offsets/none/0", "{\"offset\":0}", "unknown-topic", "'none'", 404},
		{"/v1/groups/__g/offsets/t/0", "{\"offset\":0}", "invalid-argument", "__g", 400},
		{"/v1/groups/g/offsets/t/0", "{}", "invalid-argument", "'offset' is missing", 400},
		{"/v1/groups/g/offsets/t/0", "{\"offset\":-1}", "invalid-argument", "'offset'",
			400},
		{"/v1/groups/g/offsets/t/0", "{\"offset\":1,\"x\":1}", "invalid-argument", "x",
			400},
		{"/v1/groups/g/offsets/t/0", "{\"offset\":1", "malformed", "byte", 400},
		{"/v1/groups/g/offsets/t/0", "{\"offset\":1,\"metadata\":5}", "invalid-argument",
			"'metadata'", 400},
		{"/v1/groups/g/offsets", "{\"offsets\":[{\"partition\":0,\"offset\":1}]}",
			"invalid-argument", "'topic' is missing", 400},
		{"/v1/groups/g/offsets", "{\"offsets\":{}}", "malformed", "array", 400},
		{"/v1/groups/g/offsets", "[]", "malformed", "object", 400},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(cases); i++) {
		ask_problem(cases[i].status, cases[i].type, cases[i].says, "PUT", cases[i].path,
			NULL, cases[i].body);
	}
	char body[5000];
	snprintf(body, sizeof(body), "{\"offset\":1,\"metadata\":\"%04097d\"}", 0);
	ask_problem(413, "too-large", "4096", "PUT", "/v1/groups/g/offsets/t/0", NULL, body);
	ck_assert_str_eq(ask_for(200, "GET", "/v1/groups", NULL, NULL), "{\"groups\":[]}\n");
}
END_TEST

SUITE_MAIN("http_offsets", setup, server_teardown, test_http_offsets_commit_one_and_read_it,
	test_http_offsets_commit_several_or_none, test_http_offsets_groups_are_listed_and_deleted,
	test_http_offsets_refuses)
