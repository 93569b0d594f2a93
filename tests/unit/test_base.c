/* The small modules of base: status, error, varint, hash, histogram, list, clock, log. */
#include <annals/clock.h>
#include <annals/error.h>
#include <annals/hash.h>
#include <annals/histogram.h>
#include <annals/list.h>
#include <annals/log.h>
#include <annals/parse.h>
#include <annals/varint.h>

#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(test_status_every_row_is_complete_and_unique)
{
	int count = 0;
	const char *names[128];

#define CHECK_ROW(id, number, name, http, retryable, text)                                         \
	ck_assert_str_eq(annals_status_name(ANNALS_E_##id), name);                                 \
	ck_assert_int_eq(annals_status_http(-(number)), http);                                     \
	ck_assert_int_eq(annals_status_retryable(-(number)), retryable);                           \
	ck_assert_int_gt(strlen(annals_status_text(-(number))), 0);                                \
	names[count++] = name;
	ANNALS_STATUS_LIST(CHECK_ROW)
#undef CHECK_ROW
	for (int i = 0; i < count; i++) {
		for (int k = 0; k < i; k++) {
			ck_assert_str_ne(names[i], names[k]);
		}
	}
	ck_assert_str_eq(annals_status_name(0), "ok");
	ck_assert_str_eq(annals_status_name(-9999), "unknown-status");
	ck_assert_str_eq(annals_status_name(5), "unknown-status");
	ck_assert_int_eq(annals_status_http(-9999), 500);
}
END_TEST

START_TEST(test_error_gains_context_and_is_cut_not_overrun)
{
	struct error err = {0};
	char long_text[600];

	ck_assert_int_eq(
		error_errno(&err, ANNALS_E_IO, ENOENT, "cannot open '%s'", "x"), ANNALS_E_IO);
	ck_assert_str_eq(err.text, "cannot open 'x': No such file or directory");
	ck_assert_int_eq(error_wrap(&err, "segment %d", 3), ANNALS_E_IO);
	ck_assert_str_eq(err.text, "segment 3: cannot open 'x': No such file or directory");
	memset(long_text, 'y', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	ck_assert_int_eq(error_fail(&err, ANNALS_E_INVALID, "%s", long_text), ANNALS_E_INVALID);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
	ck_assert_int_eq(error_wrap(&err, "%s", long_text), ANNALS_E_INVALID);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
	ck_assert_int_eq(error_fail(NULL, ANNALS_E_IO, "nobody listens"), ANNALS_E_IO);
	ck_assert_int_eq(error_wrap(NULL, "nobody listens"), ANNALS_E_INTERNAL);
}
END_TEST

START_TEST(test_varint_round_trip_and_refusals)
{
	struct random random = {3};
	uint8_t bytes[VARINT_BYTES_MAX + 1];
	uint64_t value;

	for (int i = 0; i < 100000; i++) {
		uint64_t wanted = random_next(&random) >> random_below(&random, 64);
		size_t size = varint_put(bytes, wanted);
		ck_assert_uint_eq(size, varint_size(wanted));
		ck_assert_uint_eq(varint_get(bytes, size, &value), size);
		ck_assert_uint_eq(value, wanted);
		ck_assert_uint_eq(varint_get(bytes, size - 1, &value), 0);
	}
	ck_assert_uint_eq(varint_size(0), 1);
	ck_assert_uint_eq(varint_size(UINT64_MAX), 10);
	memset(bytes, 0xff, sizeof(bytes));
	ck_assert_uint_eq(varint_get(bytes, sizeof(bytes), &value), 0);
	bytes[9] = 2;
	ck_assert_uint_eq(varint_get(bytes, sizeof(bytes), &value), 0);
	bytes[9] = 1;
	ck_assert_uint_eq(varint_get(bytes, sizeof(bytes), &value), 10);
	ck_assert_uint_eq(value, UINT64_MAX);
}
END_TEST

START_TEST(test_hash_murmur2_vectors_of_kafka)
{
	static const struct {
		const char *text;
		int32_t hash;
	} vectors[] = {{"21", -973932308}, {"foobar", -790332482},
		{"a-little-bit-long-string", -985981536},
		{"a-little-bit-longer-string", -1486304829},
		{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
		{"abc", 479470107}};

	for (size_t i = 0; i < ANNALS_COUNT_OF(vectors); i++) {
		ck_assert_int_eq(
			(int32_t)hash_murmur2(bytes_text(vectors[i].text)), vectors[i].hash);
	}
}
END_TEST

/* The first row is of the authors' vectors for this number of rounds; the others are what CPython
 * 3.11 answers for hash(b"...") with PYTHONHASHSEED=0. */
START_TEST(test_hash_siphash13_vectors)
{
	static const uint64_t counting[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
	static const uint64_t zero[2] = {0, 0};
	uint8_t bytes[63];

	for (unsigned i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)i;
	}
	ck_assert_uint_eq(hash_siphash13(counting, bytes_of(bytes, 0)), 0xabac0158050fc4dcu);
	ck_assert_uint_eq(hash_siphash13(zero, bytes_text("a")), 0x407448d2b89b1813u);
	ck_assert_uint_eq(hash_siphash13(zero, bytes_text("12345678")), 0x3489982430560a87u);
	ck_assert_uint_eq(
		hash_siphash13(zero, bytes_text("annals event store")), 0x72c86851cf5ee259u);
	ck_assert_uint_eq(
		hash_siphash13(zero, bytes_of(bytes, sizeof(bytes))), 0x385d3e39e5f37359u);
}
END_TEST

/* A hash of each process: the one of a forked copy that has not hashed before differs. */
START_TEST(test_hash_table64_is_keyed_by_the_process)
{
	uint64_t theirs = 0;
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		uint64_t hash = hash_table64(bytes_text("name"));
		_exit(write(fds[1], &hash, sizeof(hash)) == sizeof(hash) ? 0 : 1);
	}
	ck_assert_int_eq(read(fds[0], &theirs, sizeof(theirs)), sizeof(theirs));
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_ne(hash_table64(bytes_text("name")), theirs);
	ck_assert_uint_eq(hash_table64(bytes_text("name")), hash_table64(bytes_text("name")));
	ck_assert_uint_ne(hash_table64(bytes_of("a\0", 1)), hash_table64(bytes_of("a\0", 2)));
}
END_TEST

START_TEST(test_hash_random_is_seeded_and_spread)
{
	struct random a = {9}, b = {9};
	unsigned counts[10] = {0};
	uint8_t one[16], two[16];
	char text[37];

	for (int i = 0; i < 10000; i++) {
		ck_assert_uint_eq(random_next(&a), random_next(&b));
		counts[random_below(&a, 10)]++;
		(void)random_below(&b, 10);
	}
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_gt(counts[i], 800);
		ck_assert_uint_lt(counts[i], 1200);
	}
	uuid_new(one);
	uuid_new(two);
	ck_assert_mem_ne(one, two, 16);
	uuid_format(text, one);
	ck_assert_uint_eq(strlen(text), 36);
	ck_assert_int_eq(text[14], '4');
	ck_assert_ptr_nonnull(strchr("89ab", text[19]));
}
END_TEST

START_TEST(test_histogram_percentiles_are_close_and_never_above_the_maximum)
{
	static struct histogram histogram, other, sum;

	ck_assert_uint_eq(histogram_percentile(&histogram, 50), 0);
	for (uint64_t i = 1; i <= 100000; i++) {
		histogram_add(i % 2 != 0 ? &histogram : &other, i * 1000);
	}
	histogram_merge(&sum, &histogram);
	histogram_merge(&sum, &other);
	ck_assert_uint_eq(sum.total, 100000);
	ck_assert_uint_eq(sum.min_ns, 1000);
	ck_assert_uint_eq(sum.max_ns, 100000000);
	for (int percent = 1; percent <= 100; percent++) {
		double exact = percent * 1e6, found = (double)histogram_percentile(&sum, percent);
		ck_assert_msg(found >= exact * 0.999 && found <= exact * 1.017, "p%d is %.0f",
			percent, found);
	}
	ck_assert_uint_eq(histogram_percentile(&sum, 100), 100000000);
	histogram_add(&sum, UINT64_MAX);
	ck_assert_uint_eq(histogram_percentile(&sum, 100), UINT64_MAX);
}
END_TEST

START_TEST(test_histogram_corrects_coordinated_omission)
{
	static struct histogram histogram;

	histogram_add_corrected(&histogram, 1000, 100);
	ck_assert_uint_eq(histogram.total, 10);
	ck_assert_uint_eq(histogram.min_ns, 100);
	histogram_add_corrected(&histogram, 50, 0);
	ck_assert_uint_eq(histogram.total, 11);
}
END_TEST

START_TEST(test_list_keeps_order_through_splice_and_removal)
{
	struct list_node nodes[6], a, b, *node, *following;
	int seen = 0;

	list_init(&a);
	list_init(&b);
	ck_assert_ptr_null(list_pop(&a));
	for (int i = 0; i < 6; i++) {
		list_add_tail(i < 3 ? &a : &b, &nodes[i]);
	}
	list_splice(&a, &b);
	list_splice(&a, &b);
	ck_assert(list_is_empty(&b));
	LIST_FOR_EACH_SAFE (node, following, &a) {
		ck_assert_ptr_eq(node, &nodes[seen]);
		if (seen++ % 2 == 0) {
			list_remove(node);
		}
	}
	ck_assert_int_eq(seen, 6);
	ck_assert_ptr_eq(list_pop(&a), &nodes[1]);
	list_add_head(&a, &nodes[0]);
	ck_assert_ptr_eq(a.next, &nodes[0]);
	ck_assert_ptr_eq(a.prev, &nodes[5]);
}
END_TEST

static uint64_t fake_ns(void *arg)
{
	return *(uint64_t *)arg;
}

START_TEST(test_clock_can_be_replaced)
{
	uint64_t now = 5;
	const struct clock_source source = {fake_ns, fake_ns, &now};
	uint64_t before = clock_monotonic_ns();

	clock_set_source(&source);
	ck_assert_uint_eq(clock_monotonic_ns(), 5);
	ck_assert_uint_eq(clock_wall_us(), 5);
	clock_set_source(NULL);
	ck_assert_uint_ge(clock_monotonic_ns(), before);
	ck_assert_uint_gt(clock_wall_us(), 1700000000000000u);
}
END_TEST

/* What one call writes to stderr. */
static void capture(char *text, size_t size, const char *value)
{
	int pipe_fds[2], saved = dup(2);
	ssize_t got;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	ck_assert_int_ge(dup2(pipe_fds[1], 2), 0);
	log_info("opened", "file", value, "bytes", log_u64(42));
	ck_assert_int_ge(dup2(saved, 2), 0);
	(void)close(pipe_fds[1]);
	got = read(pipe_fds[0], text, size - 1);
	ck_assert_int_gt(got, 0);
	text[got] = 0;
	(void)close(pipe_fds[0]);
	(void)close(saved);
}

START_TEST(test_log_lines_cannot_be_forged)
{
	char text[4096], long_value[3000];

	capture(text, sizeof(text), "a b\n2026 error fake=\"1\"");
	ck_assert_ptr_nonnull(
		strstr(text, " info opened file=\"a b\\u000a2026 error fake=\\\"1\\\"\" bytes=42"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	capture(text, sizeof(text), "x");
	ck_assert_ptr_nonnull(strstr(
		text, "\"level\":\"info\",\"message\":\"opened\",\"file\":\"x\",\"bytes\":\"42\""));
	memset(long_value, 'v', sizeof(long_value) - 1);
	long_value[sizeof(long_value) - 1] = 0;
	capture(text, sizeof(text), long_value);
	ck_assert_uint_le(strlen(text), 2048);
}
END_TEST

START_TEST(test_log_lines_are_well_formed_whatever_the_value)
{
	char text[4096], value[3000];
	struct bytes line;

	for (size_t size = 1900; size < 2100; size++) {
		for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
			memset(value, '"', size);
			memcpy(value, "\xc3\xbc", 2);
			value[size] = 0;
			log_configure(LOG_LEVEL_INFO, (enum log_format)format);
			for (size_t plain = 2; plain < size - 20; plain++) {
				value[plain] = 'v';
			}
			capture(text, sizeof(text), value);
			line = bytes_text(text);
			ck_assert_uint_le(line.size, 2048);
			ck_assert(utf8_is_valid(line));
			if (strstr(text, " bytes") == NULL && strstr(text, ",\"bytes") == NULL) {
				ck_assert_uint_gt(line.size, 2048 - 24);
			}
			ck_assert_str_eq(text + line.size - (format == LOG_FORMAT_JSON ? 3 : 1),
				format == LOG_FORMAT_JSON ? "\"}\n" : "\n");
		}
	}
	ck_assert_ptr_nonnull(strstr(text, "...\"}"));
	capture(text, sizeof(text), "\xff\xc3(\xc2\x9b[31m");
	ck_assert_ptr_nonnull(strstr(text, "\"file\":\"\\ufffd\\ufffd(\\u009b[31m\""));
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture(text, sizeof(text), "\xc2\x9b");
	ck_assert_ptr_nonnull(strstr(text, " file=\"\\u009b\" bytes=42\n"));
	capture(text, sizeof(text), "gr\xc3\xbc\xc3\x9f");
	ck_assert_ptr_nonnull(strstr(text, " file=gr\xc3\xbc\xc3\x9f bytes=42\n"));
}
END_TEST

START_TEST(test_log_levels)
{
	enum log_level level;

	ck_assert_int_eq(log_level_parse("warning", &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_WARNING);
	ck_assert_int_eq(log_level_parse("loud", &level), ANNALS_E_INVALID);
}
END_TEST

SUITE_MAIN("base", NULL, NULL, test_status_every_row_is_complete_and_unique,
	test_error_gains_context_and_is_cut_not_overrun, test_varint_round_trip_and_refusals,
	test_hash_murmur2_vectors_of_kafka, test_hash_siphash13_vectors,
	test_hash_table64_is_keyed_by_the_process, test_hash_random_is_seeded_and_spread,
	test_histogram_percentiles_are_close_and_never_above_the_maximum,
	test_histogram_corrects_coordinated_omission,
	test_list_keeps_order_through_splice_and_removal, test_clock_can_be_replaced,
	test_log_lines_cannot_be_forged, test_log_lines_are_well_formed_whatever_the_value,
	test_log_levels)
