#include "index/run_read.h"

static int corrupt(struct error *err, uint32_t topic_id, const struct run *run, const char *what)
{
	return error_fail(err, ANNALS_E_CORRUPT_DATA, "index of topic id %u, run %llu: %s",
		topic_id, (unsigned long long)run->id, what);
}

static int load_list(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, bool all,
	struct run_list *ret, struct error *err)
{
	uint8_t prefix[RUN_MANIFEST_KEY_BYTES];
	MDB_val key = {sizeof(prefix), prefix}, value;
	struct run_list list;
	int code;

	list.count = 0;
	run_key_prefix(prefix, topic_id, kind, RUN_MANIFEST, 0);
	for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); code == 0;
		code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		struct run *run;
		if (key.mv_size < 5 || memcmp(key.mv_data, prefix, 5) != 0) {
			break;
		}
		if (list.count == RUNS_PER_INDEX_MAX && !all) {
			break;
		}
		if (list.count == RUNS_PER_INDEX_MAX) {
			return error_fail(err, ANNALS_E_NO_MEMORY,
				"an index of topic id %u has more than %u runs", topic_id,
				RUNS_PER_INDEX_MAX);
		}
		run = &list.runs[list.count];
		if (run_manifest_parse(bytes_of(key.mv_data, key.mv_size),
			    bytes_of(value.mv_data, value.mv_size), run) != 0 ||
			(list.count > 0 && run->first_block <= run[-1].last_block)) {
			return error_fail(err, ANNALS_E_CORRUPT_DATA,
				"the list of runs of an index of topic id %u fails its checks",
				topic_id);
		}
		list.count++;
	}
	if (code != 0 && code != MDB_NOTFOUND) {
		return env_error(code, err, "cannot read an index");
	}
	ret->count = list.count;
	memcpy(ret->runs, list.runs, list.count * sizeof(list.runs[0]));
	return 0;
}

int run_list_load(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, struct run_list *ret,
	struct error *err)
{
	return load_list(cursor, topic_id, kind, true, ret, err);
}

int run_list_load_oldest(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	struct run_list *ret, struct error *err)
{
	return load_list(cursor, topic_id, kind, false, ret, err);
}

int run_filter_part(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	const struct run *run, uint32_t part, const uint8_t **ret, struct error *err)
{
	uint64_t first = (uint64_t)part * RUN_FILTER_PART_LINES;
	uint64_t lines = ANNALS_MIN(run->filter_lines - first, RUN_FILTER_PART_LINES);
	uint8_t bytes[RUN_FILTER_KEY_BYTES];
	MDB_val key = {sizeof(bytes), bytes}, value;
	int code;

	run_filter_key(bytes, topic_id, kind, run->id, part);
	code = mdb_get(mdb_cursor_txn(cursor), mdb_cursor_dbi(cursor), &key, &value);
	if (code != 0 && code != MDB_NOTFOUND) {
		return env_error(code, err, "cannot read an index");
	}
	if (code == MDB_NOTFOUND || value.mv_size != lines * RUN_LINE_BYTES) {
		return corrupt(err, topic_id, run, "a part of the filter is missing");
	}
	*ret = value.mv_data;
	return 0;
}

int run_filter_ask(uint32_t topic_id, const struct run *run, const uint8_t *part,
	struct index_hash hash, struct error *err)
{
	uint32_t number = run_filter_line(hash, run->filter_lines);
	const uint8_t *line = part + (size_t)(number % RUN_FILTER_PART_LINES) * RUN_LINE_BYTES;

	if (!run_line_is_whole(line, run->id, number)) {
		return corrupt(err, topic_id, run, "a part of the filter fails its checksum");
	}
	return run_line_may_have(line, hash.low);
}

static int ask_filter(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	const struct run *run, struct index_hash hash, struct error *err)
{
	uint32_t number = run_filter_line(hash, run->filter_lines);
	const uint8_t *part = NULL;
	int status = run_filter_part(
		cursor, topic_id, kind, run, number / RUN_FILTER_PART_LINES, &part, err);

	return status != 0 ? status : run_filter_ask(topic_id, run, part, hash, err);
}

/* ---- A cursor in the pages of one run ---- */

struct scan {
	MDB_cursor *cursor;
	const struct run *run;
	uint32_t topic_id;
	enum index_kind kind;
	struct run_page page;
	uint32_t at;   /* entries of the page that lie before the place */
	bool has_last; /* an entry was handed out */
	struct index_entry last;
	struct error *err;
};

static int scan_corrupt(const struct scan *scan)
{
	return corrupt(scan->err, scan->topic_id, scan->run, "a page of entries fails its checks");
}

/* Takes the page that the cursor reached: 1, or 0 when it belongs to somebody else. */
static int take_page(struct scan *scan, int code, const MDB_val *key, const MDB_val *value)
{
	uint8_t prefix[RUN_MANIFEST_KEY_BYTES];

	if (code == MDB_NOTFOUND) {
		return 0;
	}
	if (code != 0) {
		return env_error(code, scan->err, "cannot read an index");
	}
	run_key_prefix(prefix, scan->topic_id, scan->kind, RUN_PAGES, scan->run->id);
	if (key->mv_size < sizeof(prefix) || memcmp(key->mv_data, prefix, sizeof(prefix)) != 0) {
		return 0;
	}
	return run_page_open(bytes_of(key->mv_data, key->mv_size),
		       bytes_of(value->mv_data, value->mv_size), &scan->page) == 0
		       ? 1
		       : scan_corrupt(scan);
}

static int step_page(struct scan *scan, MDB_cursor_op direction)
{
	MDB_val key, value;
	int code = mdb_cursor_get(scan->cursor, &key, &value, direction);
	int status = take_page(scan, code, &key, &value);

	scan->at = direction == MDB_NEXT || status != 1 ? 0 : scan->page.count;
	return status;
}

/* To the last page whose first entry is not behind (hash, order). 0: there is none. */
static int seek_page(struct scan *scan, struct index_hash hash, uint64_t order)
{
	uint8_t bytes[RUN_PAGE_KEY_BYTES];
	MDB_val key = {sizeof(bytes), bytes}, value;
	int code;

	run_page_key(bytes, scan->topic_id, scan->kind, scan->run->id, hash, order);
	code = mdb_cursor_get(scan->cursor, &key, &value, MDB_SET_RANGE);
	if (code == 0 &&
		(key.mv_size != sizeof(bytes) || memcmp(key.mv_data, bytes, sizeof(bytes)) != 0)) {
		code = mdb_cursor_get(scan->cursor, &key, &value, MDB_PREV);
	} else if (code == MDB_NOTFOUND) {
		code = mdb_cursor_get(scan->cursor, &key, &value, MDB_LAST);
	}
	return take_page(scan, code, &key, &value);
}

/* The entry before or behind the place, which moves over it: 1, or 0 at the end of the run. */
static int scan_next(struct scan *scan, bool backwards, struct index_entry *ret)
{
	int order, status = 1;

	if (backwards ? scan->at == 0 : scan->at == scan->page.count) {
		status = step_page(scan, backwards ? MDB_PREV : MDB_NEXT);
		if (status != 1) {
			return status;
		}
	}
	if (backwards) {
		scan->at--;
	}
	if (run_page_entry(&scan->page, scan->at, ret) != 0) {
		return scan_corrupt(scan);
	}
	if (!backwards) {
		scan->at++;
	}
	order = scan->has_last ? index_entry_compare(&scan->last, ret) : 0;
	if (scan->has_last && (backwards ? order <= 0 : order >= 0)) {
		return scan_corrupt(scan);
	}
	scan->last = *ret;
	scan->has_last = true;
	return 1;
}

int run_pages_newest(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	const struct run *run, struct index_hash hash, struct index_entry *ret, struct error *err)
{
	struct scan scan = {
		.cursor = cursor, .run = run, .topic_id = topic_id, .kind = kind, .err = err};
	struct index_entry entry;
	uint32_t at;
	int status = seek_page(&scan, hash, UINT64_MAX);

	if (status != 1) {
		return status;
	}
	if (run_page_search(&scan.page, hash, UINT64_MAX, true, &at) != 0 || at == 0 ||
		run_page_entry(&scan.page, at - 1, &entry) != 0) {
		return scan_corrupt(&scan);
	}
	if (entry.hash.high != hash.high || entry.hash.low != hash.low) {
		return 0;
	}
	*ret = entry;
	return 1;
}

int run_newest(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, const struct run *run,
	struct index_hash hash, struct index_entry *ret, struct error *err)
{
	int status = ask_filter(cursor, topic_id, kind, run, hash, err);

	return status != 1 ? status : run_pages_newest(cursor, topic_id, kind, run, hash, ret, err);
}

/* Puts the place where the range begins: 1, or 0 when nothing can be in it. */
static int seek_range(struct scan *scan, struct index_hash hash, uint64_t order, bool backwards)
{
	int status = seek_page(scan, hash, order);

	if (status == 1) {
		return run_page_search(&scan->page, hash, order, backwards, &scan->at) == 0
			       ? 1
			       : scan_corrupt(scan);
	}
	if (status == 0 && !backwards) {
		/* Everything in the run lies behind. */
		uint8_t bytes[RUN_PAGE_KEY_BYTES];
		MDB_val key = {sizeof(bytes), bytes}, value;
		int code;
		run_page_key(bytes, scan->topic_id, scan->kind, scan->run->id, hash, order);
		code = mdb_cursor_get(scan->cursor, &key, &value, MDB_SET_RANGE);
		status = take_page(scan, code, &key, &value);
		scan->at = 0;
	}
	return status;
}

int run_range(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, const struct run *run,
	struct index_hash hash, uint64_t from, uint64_t to, bool backwards,
	int (*fn)(void *arg, const struct index_entry *entry), void *arg, struct error *err)
{
	struct scan scan = {
		.cursor = cursor, .run = run, .topic_id = topic_id, .kind = kind, .err = err};
	struct index_entry entry;
	int status;

	if (from > to || to < run->order_first || from > run->order_last) {
		return 0;
	}
	status = ask_filter(cursor, topic_id, kind, run, hash, err);
	status = status != 1 ? status : seek_range(&scan, hash, backwards ? to : from, backwards);
	while (status == 1) {
		int stop;
		status = scan_next(&scan, backwards, &entry);
		if (status != 1 || entry.hash.high != hash.high || entry.hash.low != hash.low ||
			entry.order < from || entry.order > to) {
			break;
		}
		stop = fn(arg, &entry);
		if (stop != 0) {
			return stop;
		}
	}
	return status < 0 ? status : 0;
}

/* Every line of the filter must be whole: also those that no hash of the run is in answer. */
static int check_filter(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	const struct run *run, struct error *err)
{
	uint32_t parts = (run->filter_lines - 1) / RUN_FILTER_PART_LINES + 1;

	for (uint32_t part = 0; part < parts; part++) {
		uint32_t first = part * RUN_FILTER_PART_LINES;
		uint32_t lines = ANNALS_MIN(run->filter_lines - first, RUN_FILTER_PART_LINES);
		const uint8_t *data;
		int status = run_filter_part(cursor, topic_id, kind, run, part, &data, err);
		if (status != 0) {
			return status;
		}
		for (uint32_t i = 0; i < lines; i++) {
			const uint8_t *line = data + (size_t)i * RUN_LINE_BYTES;
			if (!run_line_is_whole(line, run->id, first + i)) {
				return corrupt(err, topic_id, run,
					"a part of the filter fails its checksum");
			}
		}
	}
	return 0;
}

/* What a walk saw, against the manifest row. */
struct seen {
	uint64_t count, hashes, order_first, order_last;
};

static int see(struct scan *scan, struct seen *seen, const struct index_entry *entry,
	const struct index_entry *before)
{
	int status = 1;

	if (seen->count == 0 || entry->hash.high != before->hash.high ||
		entry->hash.low != before->hash.low) {
		seen->hashes++;
		status = ask_filter(scan->cursor, scan->topic_id, scan->kind, scan->run,
			entry->hash, scan->err);
	}
	seen->order_first =
		seen->count == 0 ? entry->order : ANNALS_MIN(seen->order_first, entry->order);
	seen->order_last = ANNALS_MAX(seen->order_last, entry->order);
	seen->count++;
	return status != 0 ? ANNALS_MIN(status, 0)
			   : corrupt(scan->err, scan->topic_id, scan->run,
				     "the filter misses a hash that is there");
}

int run_walk(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, const struct run *run,
	int (*fn)(void *arg, const struct index_entry *entry), void *arg, struct error *err)
{
	struct scan scan = {
		.cursor = cursor, .run = run, .topic_id = topic_id, .kind = kind, .err = err};
	struct index_entry entry, before = {.order = 0};
	struct seen seen = {0};
	int status = check_filter(cursor, topic_id, kind, run, err);

	status = status != 0 ? status : seek_range(&scan, (struct index_hash){0, 0}, 0, false);
	while (status == 1) {
		int stop;
		status = scan_next(&scan, false, &entry);
		if (status != 1) {
			break;
		}
		stop = see(&scan, &seen, &entry, &before);
		stop = stop != 0 ? stop : fn(arg, &entry);
		if (stop != 0) {
			return stop;
		}
		before = entry;
	}
	if (status == 0 && (seen.count != run->count || seen.hashes != run->hashes ||
				   seen.order_first != run->order_first ||
				   seen.order_last != run->order_last)) {
		return corrupt(err, topic_id, run, "its entries are not those that it counts");
	}
	return status;
}
