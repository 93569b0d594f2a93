#include "index/run_format.h"

#include <annals/crc32c.h>
#include <annals/status.h>
#include <assert.h>

_Static_assert(RUN_PAGE_ENTRIES % RUN_GROUP_ENTRIES == 0, "groups fill a page");
/* LMDB puts 16 bytes before a value that has pages of its own. */
_Static_assert(RUN_PAGE_BYTES + 16 <= 4 * ENV_PAGE_BYTES, "a page fits four pages of LMDB");
_Static_assert(RUN_FILTER_PART_BYTES + 16 <= 4 * ENV_PAGE_BYTES, "so does a part of a filter");

/* ---- Keys ---- */

void run_key_prefix(uint8_t out[RUN_MANIFEST_KEY_BYTES], uint32_t topic_id, enum index_kind kind,
	enum run_section section, uint64_t id)
{
	store_u32_be(out, topic_id);
	out[4] = run_section_byte(kind, section);
	store_u64_be(out + 5, id);
}

void run_filter_key(uint8_t out[RUN_FILTER_KEY_BYTES], uint32_t topic_id, enum index_kind kind,
	uint64_t run_id, uint32_t part)
{
	run_key_prefix(out, topic_id, kind, RUN_FILTER, run_id);
	store_u32_be(out + 13, part);
}

void run_page_key(uint8_t out[RUN_PAGE_KEY_BYTES], uint32_t topic_id, enum index_kind kind,
	uint64_t run_id, struct index_hash hash, uint64_t order)
{
	run_key_prefix(out, topic_id, kind, RUN_PAGES, run_id);
	store_u64_be(out + 13, hash.high);
	store_u64_be(out + 21, hash.low);
	store_u64_be(out + 29, order);
}

bool run_key_parse(struct bytes key, struct run_key *ret)
{
	uint8_t section;

	*ret = (struct run_key){0};
	if (key.size < RUN_MANIFEST_KEY_BYTES) {
		return false;
	}
	section = key.data[4];
	if (section / RUN_SECTIONS >= INDEX_KINDS) {
		return false;
	}
	ret->topic_id = load_u32_be(key.data);
	ret->kind = (enum index_kind)(section / RUN_SECTIONS);
	ret->section = (enum run_section)(section % RUN_SECTIONS);
	ret->id = load_u64_be(key.data + 5);
	switch (ret->section) {
	case RUN_MANIFEST:
		return key.size == RUN_MANIFEST_KEY_BYTES;
	case RUN_FILTER:
		if (key.size != RUN_FILTER_KEY_BYTES) {
			return false;
		}
		ret->part = load_u32_be(key.data + 13);
		return true;
	case RUN_PAGES:
		if (key.size != RUN_PAGE_KEY_BYTES) {
			return false;
		}
		ret->hash.high = load_u64_be(key.data + 13);
		ret->hash.low = load_u64_be(key.data + 21);
		ret->order = load_u64_be(key.data + 29);
		return true;
	default:
		return false;
	}
}

/* ---- Manifest rows ---- */

static uint32_t manifest_crc(struct bytes key, const uint8_t *value)
{
	return crc32c(crc32c(0, key.data, key.size), value + 4, RUN_MANIFEST_BYTES - 4);
}

void run_manifest_write(uint8_t out[RUN_MANIFEST_BYTES], struct bytes key, const struct run *run)
{
	memset(out, 0, RUN_MANIFEST_BYTES);
	store_u32(out + 4, 1);
	store_u64(out + 8, run->id);
	store_u64(out + 16, run->first_block);
	store_u64(out + 24, run->last_block);
	store_u64(out + 32, run->count);
	store_u64(out + 40, run->hashes);
	store_u64(out + 48, run->order_first);
	store_u64(out + 56, run->order_last);
	store_u32(out + 64, run->level);
	store_u32(out + 68, run->filter_lines);
	store_u32(out, manifest_crc(key, out));
}

int run_manifest_parse(struct bytes key, struct bytes value, struct run *ret)
{
	struct run run;

	if (key.size != RUN_MANIFEST_KEY_BYTES || value.size != RUN_MANIFEST_BYTES ||
		load_u32(value.data) != manifest_crc(key, value.data) ||
		load_u32(value.data + 4) != 1) {
		return ANNALS_E_CORRUPT_DATA;
	}
	run.id = load_u64(value.data + 8);
	run.first_block = load_u64(value.data + 16);
	run.last_block = load_u64(value.data + 24);
	run.count = load_u64(value.data + 32);
	run.hashes = load_u64(value.data + 40);
	run.order_first = load_u64(value.data + 48);
	run.order_last = load_u64(value.data + 56);
	run.level = load_u32(value.data + 64);
	run.filter_lines = load_u32(value.data + 68);
	if (run.first_block != load_u64_be(key.data + 5) || run.first_block > run.last_block ||
		run.count == 0 || run.hashes == 0 || run.hashes > run.count ||
		run.order_first > run.order_last || run.filter_lines == 0) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret = run;
	return 0;
}

/* ---- Filters ---- */

uint32_t run_filter_lines(uint64_t hashes)
{
	uint64_t lines = hashes / (RUN_LINE_BITS / RUN_FILTER_BITS_PER_ENTRY) + 1;

	return (uint32_t)ANNALS_MIN(lines, UINT32_MAX);
}

static uint32_t next_bit(uint64_t *x)
{
	uint32_t bit = (uint32_t)(((*x >> 32) * RUN_LINE_BITS) >> 32);

	*x *= RUN_FILTER_STEP;
	return bit;
}

void run_line_add(uint8_t line[RUN_LINE_BYTES], uint64_t low)
{
	for (uint32_t i = 0; i < RUN_FILTER_PROBES; i++) {
		uint32_t bit = next_bit(&low);
		line[bit / 8] |= (uint8_t)(1u << (bit % 8));
	}
}

bool run_line_may_have(const uint8_t line[RUN_LINE_BYTES], uint64_t low)
{
	for (uint32_t i = 0; i < RUN_FILTER_PROBES; i++) {
		uint32_t bit = next_bit(&low);
		if ((line[bit / 8] >> (bit % 8) & 1) == 0) {
			return false;
		}
	}
	return true;
}

static uint32_t line_crc(const uint8_t *line, uint64_t run_id, uint32_t number)
{
	uint64_t place[2] = {run_id, number};

	return crc32c(crc32c(0, place, sizeof(place)), line, RUN_LINE_BITS / 8);
}

void run_line_seal(uint8_t line[RUN_LINE_BYTES], uint64_t run_id, uint32_t number)
{
	store_u32(line + RUN_LINE_BITS / 8, line_crc(line, run_id, number));
}

bool run_line_is_whole(const uint8_t line[RUN_LINE_BYTES], uint64_t run_id, uint32_t number)
{
	return load_u32(line + RUN_LINE_BITS / 8) == line_crc(line, run_id, number);
}

/* ---- Pages ---- */

/* `data` is that of group number `group` in a page of `count` entries, behind its checksum. */
static uint32_t group_crc(const uint8_t *data, uint64_t run_id, uint32_t count, uint32_t group)
{
	uint32_t entries = ANNALS_MIN(count - group * RUN_GROUP_ENTRIES, RUN_GROUP_ENTRIES);
	uint64_t place[2] = {run_id, (uint64_t)group << 32 | count};

	return crc32c(crc32c(0, place, sizeof(place)), data, (size_t)entries * INDEX_ENTRY_BYTES);
}

size_t run_page_write(
	uint8_t *out, uint64_t run_id, const struct index_entry *entries, uint32_t count)
{
	uint8_t *next = out;

	assert(count > 0 && count <= RUN_PAGE_ENTRIES);
	for (uint32_t group = 0, i = 0; i < count; group++) {
		uint8_t *data = next + 4;
		uint32_t end = ANNALS_MIN(count, i + RUN_GROUP_ENTRIES);
		for (uint8_t *entry = data; i < end; i++, entry += INDEX_ENTRY_BYTES) {
			index_entry_write(entry, &entries[i]);
			next = entry + INDEX_ENTRY_BYTES;
		}
		store_u32(data - 4, group_crc(data, run_id, count, group));
	}
	return (size_t)(next - out);
}

static const uint8_t *entry_at(const struct run_page *page, uint32_t i)
{
	return page->data + i / RUN_GROUP_ENTRIES * RUN_GROUP_BYTES + 4 +
	       i % RUN_GROUP_ENTRIES * INDEX_ENTRY_BYTES;
}

int run_page_entry(struct run_page *page, uint32_t i, struct index_entry *ret)
{
	uint32_t group = i / RUN_GROUP_ENTRIES;

	assert(i < page->count);
	if ((page->checked >> group & 1) == 0) {
		const uint8_t *data = page->data + (size_t)group * RUN_GROUP_BYTES;
		if (load_u32(data) != group_crc(data + 4, page->run_id, page->count, group)) {
			return ANNALS_E_CORRUPT_DATA;
		}
		page->checked |= 1u << group;
	}
	index_entry_read(entry_at(page, i), ret);
	return 0;
}

int run_page_open(struct bytes key, struct bytes value, struct run_page *ret)
{
	size_t groups = value.size / RUN_GROUP_BYTES, rest = value.size % RUN_GROUP_BYTES;
	struct run_page page;
	struct run_key parsed;

	if (!run_key_parse(key, &parsed) || parsed.section != RUN_PAGES ||
		value.size > RUN_PAGE_BYTES) {
		return ANNALS_E_CORRUPT_DATA;
	}
	page = (struct run_page){.data = value.data,
		.run_id = parsed.id,
		.count = (uint32_t)groups * RUN_GROUP_ENTRIES};
	if (rest != 0) {
		if (rest <= 4 || (rest - 4) % INDEX_ENTRY_BYTES != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		page.count += (uint32_t)(rest - 4) / INDEX_ENTRY_BYTES;
	}
	/* Not checked by its checksum: a lookup need not touch the page's beginning for more. */
	if (page.count == 0 || load_u64(value.data + 4) != parsed.hash.high ||
		load_u64(value.data + 12) != parsed.hash.low ||
		load_u64(value.data + 20) != parsed.order) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret = page;
	return 0;
}

/* How many of `count` entries, each `step` bytes behind the one before, lie before the place. */
static uint32_t count_before(const uint8_t *entries, uint32_t count, size_t step,
	const struct index_entry *wanted, int bound)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct index_entry entry;
		index_entry_read(entries + middle * step, &entry);
		if (index_entry_compare(&entry, wanted) < bound) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

int run_page_search(
	struct run_page *page, struct index_hash hash, uint64_t order, bool after, uint32_t *ret)
{
	const struct index_entry wanted = {.hash = hash, .order = order};
	const int bound = after ? 1 : 0; /* entries before the place compare below it */
	const uint32_t groups = (page->count + RUN_GROUP_ENTRIES - 1) / RUN_GROUP_ENTRIES;
	struct index_entry entry;
	uint32_t low, group;

	/* First the group, whose checking brings it into the cache. */
	group = count_before(page->data + 4, groups, RUN_GROUP_BYTES, &wanted, bound);
	low = group == 0 ? 0 : (group - 1) * RUN_GROUP_ENTRIES;
	if (group > 0) {
		uint32_t count = ANNALS_MIN(page->count - low, RUN_GROUP_ENTRIES);
		if (run_page_entry(page, low, &entry) != 0) {
			return ANNALS_E_CORRUPT_DATA;
		}
		low += count_before(entry_at(page, low), count, INDEX_ENTRY_BYTES, &wanted, bound);
	}
	if (low > 0 && (run_page_entry(page, low - 1, &entry) != 0 ||
			       index_entry_compare(&entry, &wanted) >= bound)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	if (low < page->count && (run_page_entry(page, low, &entry) != 0 ||
					 index_entry_compare(&entry, &wanted) < bound)) {
		return ANNALS_E_CORRUPT_DATA;
	}
	*ret = low;
	return 0;
}
