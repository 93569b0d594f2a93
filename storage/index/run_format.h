/*
 * The bytes of runs: keys and values of the table `index`. Pure; everything that is read here may
 * be damaged, and nothing read is believed before its checksum was.
 *
 * Manifest row, 80 bytes: CRC32C u32 of the key and of bytes [4, 80), version u32 = 1, id u64,
 * first_block u64, last_block u64, count u64, hashes u64, order_first u64, order_last u64, level
 * u32, filter_lines u32, zeros.
 *
 * Filter: `filter_lines` lines of 64 bytes, RUN_FILTER_PART_LINES to a part, of which the last has
 * the rest. A line is 480 bits, bit i being bit i % 8 of byte i / 8, and the CRC32C u32 of run id
 * u64, number of the line in the filter u64 and those 60 bytes. A hash has its line at (high *
 * filter_lines) >> 64, so that lines are written in the order of the entries, and in it
 * RUN_FILTER_PROBES bits: with x = low, for each of them the bit ((x >> 32) * 480) >> 32, then x *=
 * RUN_FILTER_STEP (modulo 2^64).
 *
 * Page: groups of RUN_GROUP_ENTRIES entries (the last has the rest), each behind the CRC32C u32 of
 * run id u64, entries in the page u32, number of the group in the page u32 and its entries. The
 * value's size says how many entries there are.
 */
#ifndef ANNALS_STORAGE_INDEX_RUN_FORMAT_H
#define ANNALS_STORAGE_INDEX_RUN_FORMAT_H

#include "index/run.h"

#define RUN_MANIFEST_KEY_BYTES 13u
#define RUN_FILTER_KEY_BYTES 17u
#define RUN_PAGE_KEY_BYTES 37u
#define RUN_KEY_BYTES_MAX RUN_PAGE_KEY_BYTES

#define RUN_MANIFEST_BYTES 80u

#define RUN_LINE_BYTES 64u
#define RUN_LINE_BITS 480u
#define RUN_FILTER_PART_LINES 255u
#define RUN_FILTER_PART_BYTES (RUN_FILTER_PART_LINES * RUN_LINE_BYTES)
#define RUN_FILTER_PROBES 6u
#define RUN_FILTER_STEP UINT64_C(0x9e3779b97f4a7c15)

#define RUN_GROUP_ENTRIES 34u
#define RUN_GROUP_BYTES (4u + RUN_GROUP_ENTRIES * INDEX_ENTRY_BYTES)
#define RUN_PAGE_GROUPS (RUN_PAGE_ENTRIES / RUN_GROUP_ENTRIES)
#define RUN_PAGE_BYTES (RUN_PAGE_GROUPS * RUN_GROUP_BYTES)

enum run_section { RUN_MANIFEST, RUN_FILTER, RUN_PAGES, RUN_SECTIONS = 4 };

static inline uint8_t run_section_byte(enum index_kind kind, enum run_section section)
{
	return (uint8_t)(kind * RUN_SECTIONS + section);
}

/* ---- Keys ---- */

/* The beginning of a key, or a place to seek to: the first key of a section, or of one run's part
 * of it. `id` is a run's, or a manifest row's first block. */
void run_key_prefix(uint8_t out[RUN_MANIFEST_KEY_BYTES], uint32_t topic_id, enum index_kind kind,
	enum run_section section, uint64_t id);
void run_filter_key(uint8_t out[RUN_FILTER_KEY_BYTES], uint32_t topic_id, enum index_kind kind,
	uint64_t run_id, uint32_t part);
void run_page_key(uint8_t out[RUN_PAGE_KEY_BYTES], uint32_t topic_id, enum index_kind kind,
	uint64_t run_id, struct index_hash hash, uint64_t order);

struct run_key {
	uint32_t topic_id;
	enum index_kind kind;
	enum run_section section;
	uint64_t id; /* first block in a manifest row's key, the run's otherwise */
	uint32_t part;
	struct index_hash hash;
	uint64_t order;
};
/* False if the bytes are no key of this table. */
bool run_key_parse(struct bytes key, struct run_key *ret) ANNALS_MUST_CHECK;

/* ---- Manifest rows ---- */

void run_manifest_write(uint8_t out[RUN_MANIFEST_BYTES], struct bytes key, const struct run *run);
/* 0 or ANNALS_E_CORRUPT_DATA. */
int run_manifest_parse(struct bytes key, struct bytes value, struct run *ret) ANNALS_MUST_CHECK;

/* ---- Filters ---- */

/* Lines for so many different hashes. */
uint32_t run_filter_lines(uint64_t hashes);
static inline uint32_t run_filter_line(struct index_hash hash, uint32_t lines)
{
	__extension__ typedef unsigned __int128 product;

	return (uint32_t)(((product)hash.high * lines) >> 64);
}
void run_line_add(uint8_t line[RUN_LINE_BYTES], uint64_t low);
bool run_line_may_have(const uint8_t line[RUN_LINE_BYTES], uint64_t low);
/* Fills in the checksum of a finished line. */
void run_line_seal(uint8_t line[RUN_LINE_BYTES], uint64_t run_id, uint32_t number);
bool run_line_is_whole(const uint8_t line[RUN_LINE_BYTES], uint64_t run_id, uint32_t number);

/* ---- Pages ---- */

/* Writes the entries of a page (at most RUN_PAGE_ENTRIES) and returns its size. */
size_t run_page_write(
	uint8_t *out, uint64_t run_id, const struct index_entry *entries, uint32_t count);

/* A page that is being read; zero `checked` when data changes. */
struct run_page {
	const uint8_t *data;
	uint64_t run_id;
	uint32_t count;   /* entries, at least 1 */
	uint32_t checked; /* bit for each group whose checksum was right */
};
/* 0 or ANNALS_E_CORRUPT_DATA: a size that no page has, or another first entry than the key says.
 * `value` must outlive the page. */
int run_page_open(struct bytes key, struct bytes value, struct run_page *ret) ANNALS_MUST_CHECK;
/* Entry i, i < count, checked; 0 or ANNALS_E_CORRUPT_DATA. */
int run_page_entry(struct run_page *page, uint32_t i, struct index_entry *ret) ANNALS_MUST_CHECK;
/*
 * How many entries lie before (hash, order), or before and at it when `after`. What the search
 * looked at was not checked, but both entries at the place were, which makes it the right one. 0 or
 * ANNALS_E_CORRUPT_DATA.
 */
int run_page_search(struct run_page *page, struct index_hash hash, uint64_t order, bool after,
	uint32_t *ret) ANNALS_MUST_CHECK;

#endif
