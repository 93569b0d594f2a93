/* A store in order has no problems; each kind of damage is found and named. */
#include "store_fixture.h"

#include "apply.h"
#include "chunk.h"
#include "lmdb/env.h"
#include "lmdb/tables.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/wait.h>

static struct store_fixture f;
static uint32_t plain_topic, large_topic;

/* What the last run said. */
static struct verify_report report;
static struct error error;
static char problems[65536];
static uint64_t last_done, last_total, progress_calls;

static void note_problem(void *arg, const char *text)
{
	(void)arg;
	size_t used = strlen(problems);
	(void)snprintf(problems + used, sizeof(problems) - used, "%s\n", text);
}

static void note_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	ck_assert_uint_le(done, total);
	ck_assert_uint_ge(done, last_done);
	last_done = done;
	last_total = total;
	progress_calls++;
}

static int verify(void)
{
	struct verify_options options = {
		.data_dir = f.dir,
		.map_bytes = f.options.map_bytes,
		.progress = note_progress,
		.problem = note_problem,
	};
	problems[0] = 0;
	last_done = progress_calls = 0;
	memset(&error, 0, sizeof(error));
	return store_verify(&options, &report, &error);
}

static void expect_good(void)
{
	ck_assert_msg(verify() == 0, "%s", error.text);
	ck_assert_msg(report.problems == 0, "%s", problems);
	ck_assert_uint_eq(last_done, last_total);
}

/* At least one problem says `word`. */
static void expect_problem(const char *word)
{
	ck_assert_msg(verify() == 0, "%s", error.text);
	ck_assert_msg(report.problems > 0, "nothing was found, not even '%s'", word);
	ck_assert_msg(strstr(problems, word) != NULL, "'%s' is not in:\n%s", word, problems);
}

static void wait_until_settled(uint64_t bytes)
{
	struct store_stats stats = {.settled_bytes = 0};
	for (int i = 0; i < 2000 && stats.settled_bytes < bytes; i++) {
		(void)usleep(5000);
		store_stats(f.store, &stats);
	}
	ck_assert_uint_ge(stats.settled_bytes, bytes);
}

/* A store with chunks in LMDB, batches of several parts, rows, offsets, and a tail in the journal;
 * closed. */
static void set_up(void)
{
	struct topic_config config = {.partitions = 3};
	store_fixture_init(&f);
	f.options.tail_bytes_max = 4u << 20;
	f.options.block_bytes_max = 1u << 20;
	store_fixture_open(&f);
	plain_topic = store_fixture_create_topic(&f, "plain", &config);
	config.partitions = 1;
	large_topic = store_fixture_create_topic(&f, "large", &config);
	for (int i = 0; i < 300; i++) {
		store_fixture_append(&f, plain_topic, (uint32_t)i % 3, 20, 1000);
	}
	for (int i = 0; i < 5; i++) {
		store_fixture_append(&f, large_topic, 0, 1, 200000);
	}
	ck_assert_int_eq(store_fixture_commit_offset(&f, "readers", plain_topic, 1, 700), 0);
	wait_until_settled(3u << 20);
	store_fixture_append(&f, plain_topic, 0, 1, 10); /* stays in the journal */
	store_fixture_close(&f);
}

static void tear_down(void)
{
	store_fixture_release(&f);
}

/* ---- In order ---- */

START_TEST(test_verify_finds_nothing_wrong)
{
	expect_good();
	ck_assert_uint_gt(report.chunks, 50);
	ck_assert_uint_gt(report.journal_blocks, 100);
	ck_assert_uint_ge(report.events, 6000);
	ck_assert_uint_gt(report.journal_segments, 0);
	ck_assert_uint_gt(report.bytes, 6u << 20);
	ck_assert_uint_ge(progress_calls, 1);
}
END_TEST

START_TEST(test_verify_changes_nothing)
{
	char command[256];
	(void)snprintf(command, sizeof(command),
		"cd %s && cat format shards/0/journal/*.segment shards/0/lmdb/data.mdb | cksum > "
		"/tmp/$(basename %s).$1",
		f.dir, f.dir);
	char before[300], after[300], compare[400];
	(void)snprintf(before, sizeof(before), "set -- 1; %s", command);
	(void)snprintf(after, sizeof(after), "set -- 2; %s", command);
	ck_assert_int_eq(system(before), 0);
	expect_good();
	ck_assert_int_eq(system(after), 0);
	(void)snprintf(compare, sizeof(compare), "cmp %s.1 %s.2 && rm %s.1 %s.2", f.dir, f.dir,
		f.dir, f.dir);
	ck_assert_int_eq(system(compare), 0);
}
END_TEST

START_TEST(test_verify_accepts_trims_deletes_and_restarts)
{
	store_fixture_open(&f);
	ck_assert_int_eq(store_fixture_trim(&f, plain_topic, 0, 777), 0);
	ck_assert_int_eq(store_fixture_trim(&f, plain_topic, 1, 2000), 0); /* all of it */
	store_fixture_close(&f);
	expect_good();
	store_fixture_open(&f);
	(void)usleep(200000); /* chunks are being deleted */
	store_fixture_append(&f, plain_topic, 1, 3, 100);
	struct topic_request request = {.base = {.operation = STORE_TOPIC_DELETE}, .name = "large"};
	ck_assert_int_eq(store_fixture_run(&f, &request.base), 0);
	store_fixture_close(&f);
	expect_good();
	store_fixture_open(&f);
	(void)usleep(200000);
	for (int i = 0; i < 200; i++) {
		store_fixture_append(&f, plain_topic, 1, 20, 1000);
	}
	store_fixture_close(&f);
	expect_good();
}
END_TEST

START_TEST(test_verify_accepts_a_killed_store)
{
	for (int round = 0; round < 4; round++) {
		pid_t pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			store_fixture_open(&f);
			for (uint64_t i = 0;; i++) {
				store_fixture_append(&f, plain_topic, (uint32_t)i % 3, 20, 1000);
				if (i % 50 == 49) {
					uint64_t end =
						store_fixture_info(&f, plain_topic, 2).end_offset;
					(void)store_fixture_trim(&f, plain_topic, 2, end / 2);
				}
			}
		}
		(void)usleep(150000 + (useconds_t)round * 50000);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		expect_good();
	}
}
END_TEST

START_TEST(test_verify_new_store)
{
	struct store_fixture other;
	store_fixture_init(&other);
	store_fixture_open(&other);
	store_fixture_close(&other);
	struct verify_options options = {.data_dir = other.dir,
		.map_bytes = other.options.map_bytes,
		.problem = note_problem};
	ck_assert_int_eq(store_verify(&options, &report, &error), 0);
	ck_assert_msg(report.problems == 0, "%s", problems);
	store_fixture_release(&other);
}
END_TEST

/* ---- Not possible ---- */

START_TEST(test_verify_refuses_what_it_cannot_look_at)
{
	store_fixture_open(&f);
	ck_assert_int_eq(verify(), ANNALS_E_LOCKED);
	store_fixture_close(&f);
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/format", f.dir);
	FILE *file = fopen(path, "w");
	(void)fputs("annals store\nformat 2\nuuid x\n", file);
	(void)fclose(file);
	ck_assert_int_eq(verify(), ANNALS_E_FORMAT_NEWER);
	file = fopen(path, "w");
	(void)fputs("something else\n", file);
	(void)fclose(file);
	expect_problem("format");
	struct verify_options options = {.data_dir = "/tmp", .problem = note_problem};
	ck_assert_int_eq(store_verify(&options, &report, &error), ANNALS_E_NOT_FOUND);
}
END_TEST

/* ---- Damage ---- */

static void flip(const char *path, uint64_t at, uint8_t bits)
{
	uint8_t byte;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= bits;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	(void)close(fd);
}

/* Runs fn in a write transaction. */
static void change_lmdb(void (*fn)(struct env *env, MDB_txn *txn))
{
	struct env env;
	MDB_txn *txn;
	char dir[128];
	(void)snprintf(dir, sizeof(dir), "%s/shards/0/lmdb", f.dir);
	ck_assert_int_eq(env_open(&env, dir, f.options.map_bytes, false, &error), 0);
	ck_assert_int_eq(env_begin(&env, &txn, &error), 0);
	fn(&env, txn);
	ck_assert_int_eq(env_commit(txn, &error), 0);
	env_close(&env);
}

/* The n-th chunk (from 0) of a partition, as a copy. */
static struct buf get_chunk(struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t partition,
	int n, uint8_t key_bytes[LOG_KEY_BYTES])
{
	MDB_cursor *cursor;
	MDB_val key = {LOG_KEY_BYTES, key_bytes}, value;
	struct buf copy = BUF_INIT;
	log_key(key_bytes, topic_id, partition, 0, 0);
	ck_assert_int_eq(mdb_cursor_open(txn, env->tables[TABLE_LOG], &cursor), 0);
	ck_assert_int_eq(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE), 0);
	for (int i = 0; i < n; i++) {
		ck_assert_int_eq(mdb_cursor_get(cursor, &key, &value, MDB_NEXT), 0);
	}
	memcpy(key_bytes, key.mv_data, LOG_KEY_BYTES);
	ck_assert_int_eq(buf_add(&copy, value.mv_data, value.mv_size), 0);
	mdb_cursor_close(cursor);
	return copy;
}

static void put_chunk(
	struct env *env, MDB_txn *txn, const uint8_t key[LOG_KEY_BYTES], struct buf *value)
{
	ck_assert_int_eq(table_put(env, txn, TABLE_LOG, bytes_of(key, LOG_KEY_BYTES),
				 buf_bytes(value), NULL),
		0);
	buf_release(value);
}

static void flip_body(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 1, 2, key);
	chunk.data[CHUNK_HEADER_BYTES + 500] ^= 0x04;
	put_chunk(env, txn, key, &chunk);
}

static void flip_stamp(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 1, 2, key);
	chunk.data[CHUNK_HEADER_BYTES + 49] ^= 0x04;
	put_chunk(env, txn, key, &chunk);
}

static void flip_header(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 2, 1, key);
	chunk.data[17] ^= 0x01;
	put_chunk(env, txn, key, &chunk);
}

static void flip_part(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, large_topic, 0, 2, key);
	chunk.data[1000] ^= 0x01;
	put_chunk(env, txn, key, &chunk);
}

static void delete_chunk(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 0, 1, key);
	ck_assert_int_eq(table_delete(env, txn, TABLE_LOG, bytes_of(key, LOG_KEY_BYTES), NULL), 0);
	buf_release(&chunk);
}

static void delete_first_chunk(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 0, 0, key);
	ck_assert_int_eq(table_delete(env, txn, TABLE_LOG, bytes_of(key, LOG_KEY_BYTES), NULL), 0);
	buf_release(&chunk);
}

static void delete_part(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, large_topic, 0, 1, key);
	ck_assert_int_eq(key[17], 1);
	ck_assert_int_eq(table_delete(env, txn, TABLE_LOG, bytes_of(key, LOG_KEY_BYTES), NULL), 0);
	buf_release(&chunk);
}

/* A whole, valid chunk in another partition. */
static void move_chunk(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES], other[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 0, 0, key);
	struct buf replaced = get_chunk(env, txn, plain_topic, 1, 0, other);
	put_chunk(env, txn, other, &chunk);
	buf_release(&replaced);
}

static void change_partition(struct env *env, MDB_txn *txn, void (*fn)(struct partition_row *row))
{
	struct partition_row row;
	ck_assert_int_eq(table_get_partition(env, txn, plain_topic, 1, &row, NULL), 0);
	fn(&row);
	ck_assert_int_eq(table_put_partition(env, txn, plain_topic, 1, &row, NULL), 0);
}

static void more_bytes(struct partition_row *row)
{
	row->log_bytes += 8;
}
static void more_events(struct partition_row *row)
{
	row->log_events++;
}
static void later_end(struct partition_row *row)
{
	row->settled_end += 5;
}
static void later_block(struct partition_row *row)
{
	row->settled_block += 1000000;
}
static void other_chunk(struct partition_row *row)
{
	row->last_chunk_base++;
	row->last_chunk_bytes = 77;
}
static void late_first(struct partition_row *row)
{
	row->first_offset = 1000000;
}
static void wrong_bytes(struct env *env, MDB_txn *txn)
{
	change_partition(env, txn, more_bytes);
}
static void wrong_events(struct env *env, MDB_txn *txn)
{
	change_partition(env, txn, more_events);
}
static void wrong_end(struct env *env, MDB_txn *txn)
{
	change_partition(env, txn, later_end);
}
static void wrong_block(struct env *env, MDB_txn *txn)
{
	change_partition(env, txn, later_block);
}
static void wrong_last_chunk(struct env *env, MDB_txn *txn)
{
	change_partition(env, txn, other_chunk);
}
static void wrong_first(struct env *env, MDB_txn *txn)
{
	change_partition(env, txn, late_first);
}

static void flip_row(struct env *env, MDB_txn *txn)
{
	uint8_t key[PARTITION_KEY_BYTES], copy[PARTITION_ROW_BYTES];
	struct bytes value;
	partition_key(key, plain_topic, 2);
	ck_assert_int_eq(
		table_get(env, txn, TABLE_PARTITIONS, bytes_of(key, sizeof(key)), &value, NULL), 1);
	memcpy(copy, value.data, sizeof(copy));
	copy[20] ^= 1;
	ck_assert_int_eq(table_put(env, txn, TABLE_PARTITIONS, bytes_of(key, sizeof(key)),
				 bytes_of(copy, sizeof(copy)), NULL),
		0);
}

static void stray_row(struct env *env, MDB_txn *txn)
{
	struct partition_row row = {.first_offset = 0};
	ck_assert_int_eq(table_put_partition(env, txn, 99, 0, &row, NULL), 0);
}

static void stray_chunk(struct env *env, MDB_txn *txn)
{
	uint8_t key[LOG_KEY_BYTES];
	struct buf chunk = get_chunk(env, txn, plain_topic, 0, 0, key);
	log_key(key, 99, 0, 0, 0);
	put_chunk(env, txn, key, &chunk);
}

static void damage_topic(struct env *env, MDB_txn *txn)
{
	uint8_t key[TOPIC_KEY_BYTES];
	topic_key(key, large_topic);
	ck_assert_int_eq(table_put(env, txn, TABLE_TOPICS, bytes_of(key, sizeof(key)),
				 bytes_of("\xff\xff\xff", 3), NULL),
		0);
}

static void delete_topic_row(struct env *env, MDB_txn *txn)
{
	uint8_t key[TOPIC_KEY_BYTES];
	topic_key(key, large_topic);
	ck_assert_int_eq(table_delete(env, txn, TABLE_TOPICS, bytes_of(key, sizeof(key)), NULL), 0);
}

static void put_offset(struct env *env, MDB_txn *txn, uint32_t topic_id, uint64_t offset)
{
	uint8_t key[OFFSET_KEY_BYTES_MAX];
	struct offset_entry entry = {.topic_id = topic_id, .offset = offset};
	struct buf value = BUF_INIT;
	size_t size = offset_key(key, bytes_text("late"), topic_id, 0);
	ck_assert_int_eq(offset_encode(bytes_text("late"), &entry, &value), 0);
	ck_assert_int_eq(
		table_put(env, txn, TABLE_OFFSETS, bytes_of(key, size), buf_bytes(&value), NULL),
		0);
	buf_release(&value);
}
static void offset_beyond_end(struct env *env, MDB_txn *txn)
{
	put_offset(env, txn, plain_topic, 123456789);
}
static void offset_of_nothing(struct env *env, MDB_txn *txn)
{
	put_offset(env, txn, 99, 1);
}

static void flip_meta(struct env *env, MDB_txn *txn)
{
	uint8_t value[META_ROW_BYTES] = {1};
	ck_assert_int_eq(table_put(env, txn, TABLE_META, bytes_text("store"),
				 bytes_of(value, sizeof(value)), NULL),
		0);
}
static void later_meta(struct env *env, MDB_txn *txn)
{
	struct meta_row row;
	ck_assert_int_eq(table_get_meta(env, txn, &row, NULL), 0);
	row.settled_block += 1000000;
	ck_assert_int_eq(table_put_meta(env, txn, &row, NULL), 0);
}

static void put_row(struct env *env, MDB_txn *txn, struct bytes key, const char *value)
{
	ck_assert_int_eq(table_put(env, txn, TABLE_ROWS, key, bytes_text(value), NULL), 0);
}
static void damage_schema(struct env *env, MDB_txn *txn)
{
	put_row(env, txn, bytes_of("sb\0\0\0\1\0\0", 8), "no schema");
}
static void miss_schema(struct env *env, MDB_txn *txn)
{
	put_row(env, txn, bytes_of("sb\0\0\0\2\0\0", 8), "no schema");
}
static void damage_subject(struct env *env, MDB_txn *txn)
{
	put_row(env, txn, bytes_text("snquake.Event"), "no subject");
}
static void damage_settings(struct env *env, MDB_txn *txn)
{
	put_row(env, txn, bytes_text("sc"), "\1\4\1");
}

static const struct {
	const char *what;
	void (*damage)(struct env *env, MDB_txn *txn);
	const char *word;
} lmdb_damages[] = {
	{"body", flip_body, "partition 1"},
	{"stamp", flip_stamp, "partition 1"},
	{"header", flip_header, "topic 'plain' partition 2, chunk at offset"},
	{"part", flip_part, "topic 'large' partition 0, chunk at offset 0"},
	{"chunk gone", delete_chunk, "topic 'plain' partition 0: offsets"},
	{"first chunk gone", delete_first_chunk, "topic 'plain' partition 0: offsets 0 to"},
	{"part gone", delete_part, "topic 'large' partition 0, chunk at offset 0"},
	{"chunk moved", move_chunk, "belongs to topic id"},
	{"bytes", wrong_bytes, "topic 'plain' partition 1: its row counts"},
	{"events", wrong_events, "topic 'plain' partition 1: its row counts"},
	{"end", wrong_end, "topic 'plain' partition 1: its row says that the log ends"},
	{"block", wrong_block, "but the journal ends with block"},
	{"last chunk", wrong_last_chunk, "another newest chunk"},
	{"first offset", wrong_first, "topic 'plain' partition 1 begins at offset 1000000"},
	{"row", flip_row, "the row of topic 'plain' partition 2 fails its checksum"},
	{"stray row", stray_row, "topic id 99"},
	{"stray chunk", stray_chunk, "topic id 99"},
	{"topic", damage_topic, "the row of topic id 2 cannot be read"},
	{"topic gone", delete_topic_row, "which does not exist"},
	{"offset", offset_beyond_end, "group 'late' has committed offset 123456789"},
	{"stray offset", offset_of_nothing, "topic id 99"},
	{"schema", damage_schema, "schema registry: cannot load the schema with the id 1"},
	{"schema gone", miss_schema, "lacks the schema with the id 1"},
	{"subject", damage_subject, "a row of the schema registry is damaged"},
	{"settings", damage_settings, "the registry's settings are damaged"},
	{"meta", flip_meta, "meta row"},
	{"watermark", later_meta, "LMDB holds everything up to block"},
};

START_TEST(test_verify_finds_damage_in_lmdb)
{
	change_lmdb(lmdb_damages[_i].damage);
	expect_problem(lmdb_damages[_i].word);
}
END_TEST

/* The newest segment that holds blocks, and where its frames are. */
static void first_segment(char out[160])
{
	char command[256];
	(void)snprintf(
		command, sizeof(command), "ls %s/shards/0/journal/*.segment | head -1", f.dir);
	FILE *list = popen(command, "r");
	ck_assert_ptr_nonnull(fgets(out, 160, list));
	(void)pclose(list);
	out[strcspn(out, "\n")] = 0;
}

START_TEST(test_verify_finds_damage_in_the_journal)
{
	static const unsigned places[] = {4096 + 0, 4096 + 24, 4096 + 70, 8192 + 90};
	char path[160];
	first_segment(path);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		flip(path, places[i], 0x20);
		expect_problem("the journal is damaged: block");
		ck_assert_ptr_nonnull(strstr(problems, strrchr(path, '/') + 1));
		flip(path, places[i], 0x20);
	}
	flip(path, 10, 0x20);
	expect_problem("damaged header");
	flip(path, 10, 0x20);
	expect_good();
}
END_TEST

START_TEST(test_verify_finds_a_missing_journal)
{
	char command[256];
	(void)snprintf(command, sizeof(command), "rm %s/shards/0/journal/*", f.dir);
	ck_assert_int_eq(system(command), 0);
	expect_problem("the journal ends with block 0");
}
END_TEST

START_TEST(test_verify_finds_a_shortened_file)
{
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/shards/0/lmdb/data.mdb", f.dir);
	ck_assert_int_eq(truncate(path, 1u << 20), 0);
	expect_problem("was cut short");
}
END_TEST

START_TEST(test_verify_finds_another_file)
{
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/shards/0/lmdb/data.mdb", f.dir);
	FILE *file = fopen(path, "w");
	for (int i = 0; i < 4096; i++) {
		(void)fputs("not LMDB", file);
	}
	(void)fclose(file);
	expect_problem("lmdb");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("verify");
	TCase *tcase = tcase_create("verify");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, test_verify_finds_nothing_wrong);
	tcase_add_test(tcase, test_verify_changes_nothing);
	tcase_add_test(tcase, test_verify_accepts_trims_deletes_and_restarts);
	tcase_add_test(tcase, test_verify_accepts_a_killed_store);
	tcase_add_test(tcase, test_verify_new_store);
	tcase_add_test(tcase, test_verify_refuses_what_it_cannot_look_at);
	tcase_add_loop_test(tcase, test_verify_finds_damage_in_lmdb, 0,
		(int)(sizeof(lmdb_damages) / sizeof(lmdb_damages[0])));
	tcase_add_test(tcase, test_verify_finds_damage_in_the_journal);
	tcase_add_test(tcase, test_verify_finds_a_missing_journal);
	tcase_add_test(tcase, test_verify_finds_a_shortened_file);
	tcase_add_test(tcase, test_verify_finds_another_file);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
