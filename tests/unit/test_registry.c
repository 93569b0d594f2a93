/* The schema registry over a store: versions, ids, checks, what survives. On every journal. */
#include "make_descriptor.h"
#include "store_harness.h"
#include "suite.h"

#include <annals/registry.h>
#include <stdlib.h>

static struct store_harness f;
static struct registry *registry;
static struct registry_view view;

static void setup(void)
{
	store_harness_init(&f);
	ck_assert_int_eq(registry_open(f.store, NULL, &registry, &f.error), 0);
}

static void close_registry(void)
{
	registry_view_release(&view);
	registry_close(registry);
	registry = NULL;
}

static void teardown(void)
{
	close_registry();
	store_harness_release(&f);
}

static void reopen(void)
{
	close_registry();
	store_harness_reopen(&f);
	ck_assert_msg(registry_open(f.store, NULL, &registry, &f.error) == 0, "%s", f.error.text);
}

static const struct registry_snapshot *now(void)
{
	return registry_view_get(registry, &view);
}

/* ---- Requests ---- */

static int run(struct registry_request *request)
{
	struct error err = {0};
	request->base.queue = &f.waiter.queue;
	ck_assert_int_eq(registry_submit(registry, request, &err), 0);
	ck_assert_ptr_eq(waiter_take(&f.waiter, 20000), &request->base);
	f.error = request->base.error;
	return request->base.status;
}

static struct registry_request answer;

static int run_set(enum registry_operation operation, const char *subject, const struct buf *set)
{
	registry_request_release(&answer);
	answer = (struct registry_request){.operation = operation,
		.subject = bytes_text(subject),
		.form = REGISTRY_FORM_SET,
		.level = REGISTRY_LEVEL_INHERITED,
		.schema = buf_bytes(set)};
	return run(&answer);
}

static const struct make_field fields_1[] = {{"id", 1, 9, NULL}, {"depth", 2, 1, NULL}, {0}};
static const struct make_field fields_2[] = {
	{"id", 1, 9, NULL}, {"depth", 2, 1, NULL}, {"place", 3, 9, NULL}, {0}};
static const struct make_field fields_3[] = {{"id", 1, 9, NULL}, {"depth", 2, 9, NULL}, {0}};

static int register_fields(const char *subject, const struct make_field *fields)
{
	struct buf set = BUF_INIT;
	make_set(&set, "quake.proto", NULL, "quake", "Event", fields);
	const int status = run_set(REGISTRY_REGISTER, subject, &set);
	buf_release(&set);
	return status;
}

static int simple(
	enum registry_operation operation, const char *subject, uint32_t version, bool permanently)
{
	registry_request_release(&answer);
	answer = (struct registry_request){.operation = operation,
		.subject = bytes_text(subject),
		.version = version,
		.permanently = permanently};
	return run(&answer);
}

static int set_level(const char *subject, enum registry_level level)
{
	registry_request_release(&answer);
	answer = (struct registry_request){.operation = REGISTRY_CONFIGURE,
		.subject = bytes_text(subject),
		.sets_level = true,
		.level = level};
	return run(&answer);
}

/* ---- Tests ---- */

static void expect_two_versions(void)
{
	const struct registry_version *found = registry_find(now(), bytes_text("quake.Event"), 0);
	ck_assert_ptr_nonnull(found);
	ck_assert_uint_eq(found->version, 2);
	ck_assert_uint_eq(found->schema->id, 2);
	ck_assert_str_eq(found->message->full_name, "quake.Event");
	ck_assert_uint_eq(found->message->field_count, 3);
	found = registry_find(now(), bytes_text("quake.Event"), 1);
	ck_assert_uint_eq(found->message->field_count, 2);
	ck_assert_ptr_null(registry_find(now(), bytes_text("quake.Event"), 3));
	ck_assert_ptr_null(registry_find(now(), bytes_text("quake.Even"), 0));
	ck_assert_ptr_eq(registry_schema(now(), 1), found->schema);
	ck_assert_ptr_null(registry_schema(now(), 3));
	ck_assert_ptr_null(registry_schema(now(), 0));
}

START_TEST(test_registry_registers_and_finds)
{
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert(answer.created);
	ck_assert_int_eq(register_fields("quake.Event", fields_2), 0);
	ck_assert_uint_eq(answer.result_version, 2);
	expect_two_versions();
	/* The same again is found; under another subject it has the same id. */
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert(!answer.created);
	ck_assert_uint_eq(answer.result_version, 1);
	ck_assert_int_eq(register_fields("quakes-value", fields_1), 0);
	ck_assert(answer.created);
	ck_assert_uint_eq(answer.result_schema->id, 1);
	ck_assert_str_eq(registry_find(now(), bytes_text("quakes-value"), 0)->message->full_name,
		"quake.Event");
}
END_TEST

START_TEST(test_registry_survives_a_restart)
{
	if (!store_harness_is_durable(&f)) {
		return;
	}
	const struct bytes field = bytes_text("depth");
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert_int_eq(register_fields("quake.Event", fields_2), 0);
	ck_assert_int_eq(set_level("quake.Event", REGISTRY_LEVEL_FULL), 0);
	ck_assert_int_eq(set_level("", REGISTRY_LEVEL_FORWARD_TRANSITIVE), 0);
	answer = (struct registry_request){.operation = REGISTRY_READER_PUT,
		.subject = bytes_text("quake.Event"),
		.group = bytes_text("alarms"),
		.version = 1,
		.fields = &field,
		.field_count = 1};
	ck_assert_int_eq(run(&answer), 0);
	ck_assert_int_eq(register_fields("a-value", fields_1), 0);
	ck_assert_int_eq(simple(REGISTRY_DELETE_SUBJECT, "a-value", 0, false), 0);
	reopen();
	expect_two_versions();
	const struct registry_subject *subject = registry_subject(now(), bytes_text("quake.Event"));
	ck_assert_int_eq(registry_level(now(), subject), REGISTRY_LEVEL_FULL);
	ck_assert_int_eq(registry_level(now(), NULL), REGISTRY_LEVEL_FORWARD_TRANSITIVE);
	ck_assert_uint_eq(subject->reader_count, 1);
	ck_assert(bytes_is(subject->readers[0].group, "alarms"));
	ck_assert(bytes_is(subject->readers[0].fields[0], "depth"));
	subject = registry_subject(now(), bytes_text("a-value"));
	ck_assert_uint_eq(subject->live_count, 0);
	ck_assert_int_eq(register_fields("quake.Event", fields_2), 0);
	ck_assert(!answer.created);
}
END_TEST

/* What is built in is stored without a file of its own. */
START_TEST(test_registry_own_types_survive_a_restart)
{
	struct buf set = BUF_INIT;
	struct descriptor_pool *builtin;
	ck_assert_int_eq(descriptor_pool_builtin(&builtin, NULL), 0);
	const struct descriptor_file *file =
		descriptor_pool_find_file(builtin, bytes_text("google/protobuf/duration.proto"));
	make_bytes(&set, 1, file->encoded);
	descriptor_pool_unref(builtin);
	const int status = run_set(REGISTRY_REGISTER, "google.protobuf.Duration", &set);
	buf_release(&set);
	ck_assert_int_eq(status, 0);
	if (store_harness_is_durable(&f)) {
		reopen();
	}
	const struct registry_version *found =
		registry_find(now(), bytes_text("google.protobuf.Duration"), 0);
	ck_assert_ptr_nonnull(found);
	ck_assert_ptr_nonnull(found->message);
	ck_assert_uint_eq(found->message->field_count, 2);
}
END_TEST

START_TEST(test_registry_refuses_what_breaks_the_level)
{
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ASSERT_FAILS(register_fields("quake.Event", fields_3), ANNALS_E_INCOMPATIBLE_SCHEMA,
		f.error, "BACKWARD");
	ck_assert_uint_ge(answer.problem_count, 1);
	ck_assert_str_eq(answer.problems[0].rule, "field-type-changed");
	ck_assert(bytes_is(answer.problems[0].path, "quake.Event.depth"));
	ck_assert_uint_eq(answer.problems[0].version, 1);
	ck_assert_uint_eq(now()->schema_count, 1);
	ck_assert_int_eq(set_level("quake.Event", REGISTRY_LEVEL_NONE), 0);
	ck_assert_int_eq(register_fields("quake.Event", fields_3), 0);
	/* The latest alone counts, unless the level is transitive. */
	ck_assert_int_eq(set_level("quake.Event", REGISTRY_LEVEL_BACKWARD_TRANSITIVE), 0);
	static const struct make_field more[] = {
		{"id", 1, 9, NULL}, {"depth", 2, 9, NULL}, {"x", 9, 9, NULL}, {0}};
	ck_assert_int_eq(register_fields("quake.Event", more), ANNALS_E_INCOMPATIBLE_SCHEMA);
	ck_assert_int_eq(set_level("quake.Event", REGISTRY_LEVEL_INHERITED), 0);
	ck_assert_int_eq(register_fields("quake.Event", more), 0);
	ck_assert_uint_eq(answer.result_version, 3);
}
END_TEST

START_TEST(test_registry_check_changes_nothing)
{
	struct buf set = BUF_INIT;
	make_set(&set, "quake.proto", NULL, "quake", "Event", fields_3);
	ck_assert_int_eq(run_set(REGISTRY_CHECK, "quake.Event", &set), 0);
	ck_assert(answer.is_compatible);
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert_int_eq(run_set(REGISTRY_CHECK, "quake.Event", &set), 0);
	ck_assert(!answer.is_compatible);
	ck_assert_uint_eq(now()->schema_count, 1);
	buf_release(&set);
}
END_TEST

START_TEST(test_registry_deletes_twice)
{
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert_int_eq(register_fields("quake.Event", fields_2), 0);
	ASSERT_FAILS(simple(REGISTRY_DELETE_VERSION, "quake.Event", 1, true), ANNALS_E_CONFLICT,
		f.error, "delete it first");
	ck_assert_int_eq(simple(REGISTRY_DELETE_VERSION, "quake.Event", 1, false), 0);
	ck_assert_int_eq(
		simple(REGISTRY_DELETE_VERSION, "quake.Event", 1, false), ANNALS_E_NOT_FOUND);
	/* Old events keep their meaning. */
	ck_assert_ptr_nonnull(registry_find(now(), bytes_text("quake.Event"), 1));
	ck_assert_int_eq(simple(REGISTRY_DELETE_VERSION, "quake.Event", 1, true), 0);
	ck_assert_ptr_null(registry_find(now(), bytes_text("quake.Event"), 1));
	ck_assert_ptr_nonnull(registry_schema(now(), 1));
	ck_assert_int_eq(
		simple(REGISTRY_DELETE_VERSION, "quake.Event", 1, true), ANNALS_E_UNKNOWN_SCHEMA);
	ck_assert_int_eq(simple(REGISTRY_DELETE_SUBJECT, "quake.Event", 0, false), 0);
	ck_assert_uint_eq(answer.version_count, 1);
	ck_assert_uint_eq(answer.versions[0], 2);
	ck_assert_ptr_null(registry_find(now(), bytes_text("quake.Event"), 0));
	ck_assert_int_eq(simple(REGISTRY_DELETE_SUBJECT, "quake.Event", 0, true), 0);
	ck_assert_int_eq(
		simple(REGISTRY_DELETE_SUBJECT, "quake.Event", 0, true), ANNALS_E_UNKNOWN_SCHEMA);
	/* It comes back with its id and a number that was never used. */
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert_uint_eq(answer.result_schema->id, 1);
	ck_assert_uint_eq(answer.result_version, 3);
}
END_TEST

START_TEST(test_registry_references)
{
	static const struct make_field uses[] = {{"at", 1, 11, ".quake.Event"}, {0}};
	struct registry_reference reference = {
		bytes_text("imports/quake.proto"), bytes_text("common"), 1};
	struct buf file = BUF_INIT;
	make_file(&file, "report.proto", "imports/quake.proto", "report", "Report", uses);
	struct registry_request request = {.operation = REGISTRY_REGISTER,
		.subject = bytes_text("reports-value"),
		.form = REGISTRY_FORM_FILE,
		.schema = buf_bytes(&file)};
	ASSERT_FAILS(run(&request), ANNALS_E_VALIDATION, f.error, "imports/quake.proto");
	request.references = &reference;
	request.reference_count = 1;
	ASSERT_FAILS(run(&request), ANNALS_E_UNKNOWN_SCHEMA, f.error, "'common'");
	ck_assert_int_eq(register_fields("common", fields_1), 0);
	ck_assert_msg(run(&request) == 0, "%s", f.error.text);
	ck_assert_uint_eq(request.result_schema->id, 2);
	ck_assert_str_eq(request.result_schema->file->name, "report.proto");
	/* What others refer to stays. */
	ASSERT_FAILS(simple(REGISTRY_DELETE_SUBJECT, "common", 0, false), ANNALS_E_CONFLICT,
		f.error, "refer");
	ck_assert_int_eq(simple(REGISTRY_DELETE_SUBJECT, "reports-value", 0, false), 0);
	ck_assert_int_eq(simple(REGISTRY_DELETE_SUBJECT, "common", 0, false), 0);
	buf_release(&file);
}
END_TEST

START_TEST(test_registry_knows_which_message_is_meant)
{
	struct buf set = BUF_INIT;
	make_set(&set, "a.proto", NULL, "a", "First", fields_1);
	make_set(&set, "b.proto", NULL, "b", "Second", fields_2);
	ck_assert_int_eq(run_set(REGISTRY_REGISTER, "t-value", &set), 0);
	ck_assert_int_eq(run_set(REGISTRY_REGISTER, "a.First", &set), 0);
	ck_assert_int_eq(run_set(REGISTRY_REGISTER, "my-topic-b.Second", &set), 0);
	ck_assert_str_eq(
		registry_find(now(), bytes_text("t-value"), 0)->message->full_name, "b.Second");
	ck_assert_str_eq(
		registry_find(now(), bytes_text("a.First"), 0)->message->full_name, "a.First");
	ck_assert_str_eq(
		registry_find(now(), bytes_text("my-topic-b.Second"), 0)->message->full_name,
		"b.Second");
	buf_release(&set);
}
END_TEST

START_TEST(test_registry_tells_which_readers_break)
{
	const struct bytes depth = bytes_text("depth");
	const struct bytes id = bytes_text("id");
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	ck_assert_int_eq(set_level("quake.Event", REGISTRY_LEVEL_NONE), 0);
	struct registry_request put = {.operation = REGISTRY_READER_PUT,
		.subject = bytes_text("quake.Event"),
		.group = bytes_text("depths"),
		.fields = &depth,
		.field_count = 1};
	ck_assert_int_eq(run(&put), 0);
	put.group = bytes_text("ids");
	put.fields = &id;
	put.version = 1;
	ck_assert_int_eq(run(&put), 0);
	put.group = bytes_text("nobody");
	put.version = 7;
	ck_assert_int_eq(run(&put), ANNALS_E_UNKNOWN_SCHEMA);
	struct buf set = BUF_INIT;
	make_set(&set, "quake.proto", NULL, "quake", "Event", fields_3);
	ck_assert_int_eq(run_set(REGISTRY_CHECK, "quake.Event", &set), 0);
	ck_assert(answer.is_compatible);
	ck_assert_uint_eq(answer.broken_readers, 1);
	bool found = false;
	for (size_t i = 0; i < answer.problem_count; i++) {
		found |= answer.problems[i].kind == REGISTRY_PROBLEM_READER &&
			 bytes_is(answer.problems[i].group, "depths");
	}
	ck_assert(found);
	/* A field that is gone breaks who reads it. */
	buf_reset(&set);
	make_set(&set, "quake.proto", NULL, "quake", "Event", fields_1 + 1);
	registry_request_release(&answer);
	answer = (struct registry_request){.operation = REGISTRY_REGISTER,
		.subject = bytes_text("quake.Event"),
		.form = REGISTRY_FORM_SET,
		.refuse_broken_readers = true,
		.schema = buf_bytes(&set)};
	ASSERT_FAILS(run(&answer), ANNALS_E_INCOMPATIBLE_SCHEMA, f.error, "readers");
	answer.operation = REGISTRY_READER_DELETE;
	answer.group = bytes_text("ids");
	ck_assert_int_eq(run(&answer), 0);
	ck_assert_int_eq(run(&answer), ANNALS_E_NOT_FOUND);
	answer.operation = REGISTRY_REGISTER;
	ck_assert_int_eq(run(&answer), 0);
	buf_release(&set);
}
END_TEST

START_TEST(test_registry_refuses_bad_requests)
{
	struct buf set = BUF_INIT;
	static const struct make_field missing[] = {{"x", 1, 11, ".quake.None"}, {0}};
	static const struct make_field bad_number[] = {{"x", 0, 9, NULL}, {0}};
	ASSERT_FAILS(register_fields("quake.Event", missing), ANNALS_E_VALIDATION, f.error,
		"quake.None");
	ASSERT_FAILS(register_fields("quake.Event", bad_number), ANNALS_E_VALIDATION, f.error,
		"quake.Event.x");
	ASSERT_FAILS(register_fields("", fields_1), ANNALS_E_INVALID, f.error, "name");
	ASSERT_FAILS(register_fields("a\nb", fields_1), ANNALS_E_INVALID, f.error, "name");
	ASSERT_FAILS(run_set(REGISTRY_REGISTER, "a", &set), ANNALS_E_VALIDATION, f.error, "file");
	ck_assert_int_eq(buf_add(&set, "\xff\xff", 2), 0);
	ck_assert_int_eq(run_set(REGISTRY_REGISTER, "a", &set), ANNALS_E_MALFORMED);
	answer.form = REGISTRY_FORM_TEXT;
	ck_assert_int_eq(run(&answer), ANNALS_E_UNSUPPORTED_OPERATION);
	answer.form = REGISTRY_FORM_SET;
	answer.file = bytes_text("none.proto");
	ck_assert_int_eq(run(&answer), ANNALS_E_MALFORMED);
	ck_assert_int_eq(
		simple(REGISTRY_DELETE_SUBJECT, "none", 0, false), ANNALS_E_UNKNOWN_SCHEMA);
	buf_release(&set);
}
END_TEST

START_TEST(test_registry_limits_what_it_stores)
{
	char *name = malloc(70000);
	struct registry_reference references[40];
	struct buf file = BUF_INIT;
	ck_assert_int_eq(register_fields("common", fields_1), 0);
	memset(name, 'x', 70000);
	for (size_t i = 0; i < ANNALS_COUNT_OF(references); i++) {
		references[i] = (struct registry_reference){
			bytes_of(name, 70000 - i), bytes_text("common"), 1};
	}
	make_file(&file, "a.proto", NULL, "a", "A", fields_1);
	struct registry_request request = {.operation = REGISTRY_REGISTER,
		.subject = bytes_text("a.A"),
		.form = REGISTRY_FORM_TEXT,
		.schema = buf_bytes(&file),
		.references = references,
		.reference_count = ANNALS_COUNT_OF(references)};
	ck_assert_int_lt(run(&request), 0);
	request.form = REGISTRY_FORM_FILE;
	ck_assert_int_eq(run(&request), ANNALS_E_TOO_LARGE);
	/* One that is only just allowed takes many rows. */
	buf_reset(&file);
	make_file(&file, "a.proto", NULL, "a", "A", fields_1);
	for (int i = 0; i < 30; i++) {
		make_bytes(&file, 999, bytes_of(name, 69000)); /* unknown fields are kept */
	}
	request.schema = buf_bytes(&file);
	request.reference_count = 0;
	ck_assert_msg(run(&request) == 0, "%s", f.error.text);
	if (store_harness_is_durable(&f)) {
		reopen();
		ck_assert_uint_gt(registry_schema(now(), 2)->set.size, 2000000);
	}
	buf_release(&file);
	free(name);
}
END_TEST

START_TEST(test_registry_mode_readonly)
{
	ck_assert_int_eq(register_fields("quake.Event", fields_1), 0);
	struct registry_request configure = {
		.operation = REGISTRY_CONFIGURE, .sets_mode = true, .mode = REGISTRY_MODE_READONLY};
	ck_assert_int_eq(run(&configure), 0);
	ck_assert_int_eq(register_fields("quake.Event", fields_2), ANNALS_E_FORBIDDEN);
	configure.mode = REGISTRY_MODE_READWRITE;
	configure.subject = bytes_text("quake.Event");
	ck_assert_int_eq(run(&configure), 0);
	ck_assert_int_eq(register_fields("quake.Event", fields_2), 0);
}
END_TEST

SUITE_MAIN("registry", setup, teardown, test_registry_registers_and_finds,
	test_registry_survives_a_restart, test_registry_own_types_survive_a_restart,
	test_registry_refuses_what_breaks_the_level, test_registry_check_changes_nothing,
	test_registry_deletes_twice, test_registry_references,
	test_registry_knows_which_message_is_meant, test_registry_tells_which_readers_break,
	test_registry_refuses_bad_requests, test_registry_limits_what_it_stores,
	test_registry_mode_readonly)
