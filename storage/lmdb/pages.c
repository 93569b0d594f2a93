#include "lmdb/pages.h"

#include "lmdb/env.h"

#include <annals/bytes.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_HEADER 16u
#define NODE_HEADER 8u
#define META_MAGIC 0xbeefc0deu
#define META_VERSION 1u
#define FREE_TABLE 0
#define MAIN_TABLE 1
#define NO_PAGE UINT64_MAX
#define DEPTH_MAX 32u
#define KEY_MAX 511u
#define UNWRITTEN_PAGES_MAX ((uint64_t)1 << 20)

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum { NODE_BIG = 1, NODE_TABLE = 2 };

/* MDB_db, 48 bytes. */
struct tree {
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	struct tree tables[2];
	uint64_t last_page, transaction;
};

/* One level of the walk: its page, the next node, and the key that ends it. */
struct level {
	uint8_t page[ENV_PAGE_BYTES];
	uint32_t next;
	bool has_end;
	uint8_t end[KEY_MAX];
	uint16_t end_size;
};

struct check {
	int fd;
	bool deep;
	const char *path;
	struct error *err;
	uint64_t last_page, file_pages;
	uint8_t *used; /* a bit per page */
	struct level *levels;
	struct pages_report report;
	/* of the tree that is being walked */
	bool integer_keys;
	uint8_t last_key[KEY_MAX];
	uint16_t last_key_size;
	bool has_last_key;
	struct tree seen;
	/* tables found in the main table */
	struct tree found[TABLE_COUNT];
	size_t found_count;
};

static int damaged(struct check *check, uint64_t page, const char *what)
{
	return error_fail(check->err, ANNALS_E_CORRUPT_DATA,
		"'%s' is damaged at page %llu (byte %llu): %s", check->path,
		(unsigned long long)page, (unsigned long long)page * ENV_PAGE_BYTES, what);
}

static int read_at(struct check *check, uint64_t at, uint8_t *out, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = pread(check->fd, out + have, size - have, (off_t)(at + have));
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return error_errno(check->err, ANNALS_E_IO, errno,
				"cannot read '%s' at byte %llu", check->path,
				(unsigned long long)at);
		}
		if (n == 0) {
			return damaged(check, at / ENV_PAGE_BYTES, "the file ends before it");
		}
		have += (size_t)n;
	}
	return 0;
}

static void parse_tree(const uint8_t *at, struct tree *ret)
{
	*ret = (struct tree){
		.flags = load_u16(at + 4),
		.depth = load_u16(at + 6),
		.branch_pages = load_u64(at + 8),
		.leaf_pages = load_u64(at + 16),
		.overflow_pages = load_u64(at + 24),
		.entries = load_u64(at + 32),
		.root = load_u64(at + 40),
	};
}

static int read_meta(struct check *check, uint64_t number, struct meta *ret)
{
	uint8_t page[ENV_PAGE_BYTES];
	const uint8_t *meta = page + PAGE_HEADER;
	int status = read_at(check, number * ENV_PAGE_BYTES, page, sizeof(page));

	if (status != 0) {
		return status;
	}
	if (load_u64(page) != number || load_u16(page + 10) != PAGE_META ||
		load_u32(meta) != META_MAGIC || load_u32(meta + 4) != META_VERSION) {
		return damaged(check, number, "it is not a meta page of LMDB 0.9");
	}
	if (load_u32(meta + 24) != ENV_PAGE_BYTES) {
		return damaged(check, number, "its page size is not 4,096");
	}
	parse_tree(meta + 24, &ret->tables[FREE_TABLE]);
	parse_tree(meta + 72, &ret->tables[MAIN_TABLE]);
	ret->last_page = load_u64(meta + 120);
	ret->transaction = load_u64(meta + 128);
	return 0;
}

/* The page of transaction n is n & 1, and two neighbours are kept. */
static int choose_meta(struct check *check, struct meta *ret)
{
	struct meta metas[2];
	uint64_t newer;
	int status = read_meta(check, 0, &metas[0]);

	status = status != 0 ? status : read_meta(check, 1, &metas[1]);
	if (status != 0) {
		return status;
	}
	newer = metas[1].transaction > metas[0].transaction ? 1 : 0;
	if (metas[newer].transaction != 0 &&
		((metas[newer].transaction & 1) != newer ||
			metas[newer].transaction - metas[1 - newer].transaction != 1)) {
		return damaged(check, newer, "the two meta pages do not belong together");
	}
	*ret = metas[newer];
	return 0;
}

static int cut_short(struct check *check)
{
	return error_fail(check->err, ANNALS_E_CORRUPT_DATA,
		"'%s' has %llu bytes, its last page ends at %llu: it was cut short", check->path,
		(unsigned long long)check->file_pages * ENV_PAGE_BYTES,
		(unsigned long long)(check->last_page + 1) * ENV_PAGE_BYTES);
}

/* Marks pages as used; each may be used once. */
static int use_pages(struct check *check, uint64_t by, uint64_t first, uint64_t count)
{
	if (first < 2 || first > check->last_page || count > check->last_page - first + 1) {
		return damaged(check, by, "it points outside the file");
	}
	/* Free pages may lie behind the end of the file: they were never written. */
	if (!check->integer_keys && first + count > check->file_pages) {
		return cut_short(check);
	}
	for (uint64_t page = first; page < first + count; page++) {
		uint8_t bit = (uint8_t)(1u << (page & 7));
		if ((check->used[page / 8] & bit) != 0) {
			return damaged(check, by, "it points to a page that something else uses");
		}
		check->used[page / 8] |= bit;
	}
	return 0;
}

static const uint8_t *node_at(const uint8_t *page, uint32_t index)
{
	return page + load_u16(page + PAGE_HEADER + 2 * index);
}

static uint32_t node_count(const uint8_t *page)
{
	return (load_u16(page + 12) - PAGE_HEADER) / 2u;
}

static uint32_t node_data_size(const uint8_t *node)
{
	return load_u16(node) | (uint32_t)load_u16(node + 2) << 16;
}

/* How many bytes a node takes; 0 if that cannot be. */
static size_t node_size(const uint8_t *node, bool is_leaf, size_t room)
{
	size_t size = NODE_HEADER + load_u16(node + 6);

	if (is_leaf) {
		size += (load_u16(node + 4) & NODE_BIG) != 0 ? 8 : node_data_size(node);
	}
	return size <= room ? size + (size & 1) : 0;
}

/* The outside of a page: its number, its kind, its nodes side by side. */
static int check_shape(struct check *check, const uint8_t *page, uint64_t number, bool is_leaf)
{
	uint32_t lower = load_u16(page + 12), upper = load_u16(page + 14);
	uint8_t covered[ENV_PAGE_BYTES / 8 / 2] = {0}; /* a bit per two bytes */

	if (load_u64(page) != number) {
		return damaged(check, number, "it bears the number of another page");
	}
	if (load_u16(page + 10) != (is_leaf ? PAGE_LEAF : PAGE_BRANCH)) {
		return damaged(check, number, "it is not of the kind that its place needs");
	}
	if (lower < PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > ENV_PAGE_BYTES ||
		node_count(page) < (is_leaf ? 1u : 2u)) {
		return damaged(check, number, "its counts of nodes and bytes cannot be");
	}
	for (uint32_t i = 0; i < node_count(page); i++) {
		uint32_t at = load_u16(page + PAGE_HEADER + 2 * i);
		size_t size = 0;
		if (at % 2 == 0 && at >= upper && at + NODE_HEADER <= ENV_PAGE_BYTES) {
			size = node_size(page + at, is_leaf, ENV_PAGE_BYTES - at);
		}
		if (size == 0) {
			return damaged(check, number, "a node lies outside it");
		}
		for (size_t b = at / 2; b < (at + size) / 2; b++) {
			if ((covered[b / 8] & 1u << (b & 7)) != 0) {
				return damaged(check, number, "two of its nodes overlap");
			}
			covered[b / 8] |= (uint8_t)(1u << (b & 7));
		}
	}
	return 0;
}

static int compare_keys(const struct check *check, const uint8_t *a, uint16_t a_size,
	const uint8_t *b, uint16_t b_size)
{
	int order;

	if (check->integer_keys && a_size == 8 && b_size == 8) {
		return load_u64(a) < load_u64(b) ? -1 : load_u64(a) > load_u64(b);
	}
	order = memcmp(a, b, ANNALS_MIN(a_size, b_size));
	return order != 0 ? order : (int)a_size - (int)b_size;
}

/* A leaf's key follows the one before and lies below the end of its page. */
static int check_key(
	struct check *check, uint64_t number, const struct level *level, const uint8_t *node)
{
	uint16_t size = load_u16(node + 6);
	const uint8_t *key = node + NODE_HEADER;

	if (size == 0 || size > KEY_MAX || (check->integer_keys && size != 8)) {
		return damaged(check, number, "a key has a size that cannot be");
	}
	if (check->has_last_key &&
		compare_keys(check, key, size, check->last_key, check->last_key_size) <= 0) {
		return damaged(check, number, "its keys are not in order");
	}
	if (level->has_end && compare_keys(check, key, size, level->end, level->end_size) >= 0) {
		return damaged(check, number, "a key belongs into another page");
	}
	memcpy(check->last_key, key, size);
	check->last_key_size = size;
	check->has_last_key = true;
	return 0;
}

static int check_overflow(struct check *check, uint64_t number, const uint8_t *node)
{
	uint64_t first = load_u64(node + NODE_HEADER + load_u16(node + 6));
	uint64_t count = (PAGE_HEADER - 1 + (uint64_t)node_data_size(node)) / ENV_PAGE_BYTES + 1;
	uint8_t header[PAGE_HEADER];
	int status = use_pages(check, number, first, count);

	check->seen.overflow_pages += count;
	check->report.value_pages += count;
	if (status != 0 || !check->deep) {
		return status;
	}
	status = read_at(check, first * ENV_PAGE_BYTES, header, sizeof(header));
	if (status == 0 && (load_u64(header) != first || load_u16(header + 10) != PAGE_OVERFLOW ||
				   load_u32(header + 12) != count)) {
		status = damaged(check, first, "it is not the beginning of a large value");
	}
	return status;
}

/* A value of the free table: count, then so many page numbers, falling. */
static int check_free_list(struct check *check, uint64_t number, const uint8_t *node)
{
	uint32_t size = node_data_size(node);
	const uint8_t *data = node + NODE_HEADER + load_u16(node + 6);
	uint8_t *copy = NULL;
	uint64_t before = UINT64_MAX;
	int status = 0;

	if ((load_u16(node + 4) & NODE_BIG) != 0) {
		copy = size <= (64u << 20) ? malloc(size) : NULL;
		if (copy == NULL) {
			return size <= (64u << 20)
				       ? error_fail(check->err, ANNALS_E_NO_MEMORY,
						 "no memory for a free list")
				       : damaged(check, number, "a free list is too long");
		}
		status = read_at(check, load_u64(data) * ENV_PAGE_BYTES + PAGE_HEADER, copy, size);
		data = copy;
	}
	if (status == 0 && (size < 8 || load_u64(data) > (size - 8) / 8)) {
		status = damaged(check, number, "a free list has a count that cannot be");
	}
	for (uint64_t i = 1; status == 0 && i <= load_u64(data); i++) {
		uint64_t page = load_u64(data + 8 * i);
		status = page < before ? use_pages(check, number, page, 1)
				       : damaged(check, number, "a free list is not in order");
		before = page;
		check->report.free_pages++;
	}
	free(copy);
	return status;
}

static int check_leaf(struct check *check, const struct level *level, int table)
{
	uint64_t number = load_u64(level->page);
	int status = 0;

	for (uint32_t i = 0; i < node_count(level->page) && status == 0; i++) {
		const uint8_t *node = node_at(level->page, i);
		uint16_t flags = load_u16(node + 4);
		uint16_t wanted = table == MAIN_TABLE ? NODE_TABLE : flags & NODE_BIG;
		status = flags == wanted
				 ? check_key(check, number, level, node)
				 : damaged(check, number, "a node has flags that cannot be");
		if (status == 0 && (flags & NODE_BIG) != 0) {
			status = check_overflow(check, number, node);
		}
		if (status == 0 && table == FREE_TABLE) {
			status = check_free_list(check, number, node);
		}
		if (status == 0 && table == MAIN_TABLE) {
			if (node_data_size(node) != 48 || check->found_count == TABLE_COUNT) {
				status = damaged(check, number, "a table's record cannot be");
			} else {
				parse_tree(node + NODE_HEADER + load_u16(node + 6),
					&check->found[check->found_count++]);
			}
		}
		check->seen.entries++;
	}
	return status;
}

/* Reads the child that the node at `index` points to into the next level. */
static int descend(
	struct check *check, uint32_t depth, const struct tree *tree, uint64_t number, uint64_t by)
{
	struct level *level = &check->levels[depth];
	bool is_leaf = depth + 1 == tree->depth;
	int status = use_pages(check, by, number, 1);

	level->next = 0;
	status = status != 0 ? status
			     : read_at(check, number * ENV_PAGE_BYTES, level->page, ENV_PAGE_BYTES);
	status = status != 0 ? status : check_shape(check, level->page, number, is_leaf);
	check->report.tree_pages++;
	if (is_leaf) {
		check->seen.leaf_pages++;
	} else {
		check->seen.branch_pages++;
	}
	return status;
}

/* The key in front of a child is at or below all of its keys, and the next child's is above. */
static int bound_child(struct check *check, uint32_t depth)
{
	const struct level *parent = &check->levels[depth];
	struct level *child = &check->levels[depth + 1];
	uint64_t number = load_u64(parent->page);
	const uint8_t *node = node_at(parent->page, parent->next);
	uint16_t size = load_u16(node + 6);

	if (parent->next > 0 &&
		(size == 0 || size > KEY_MAX ||
			(check->has_last_key &&
				compare_keys(check, node + NODE_HEADER, size, check->last_key,
					check->last_key_size) <= 0))) {
		return damaged(check, number, "its keys do not fit those of the pages below");
	}
	if (parent->next > 0) {
		/* The first key below may equal it: remember the greatest key less than it. */
		check->has_last_key = false;
	}
	child->has_end = parent->has_end;
	if (parent->next + 1 < node_count(parent->page)) {
		node = node_at(parent->page, parent->next + 1);
		size = load_u16(node + 6);
		if (size == 0 || size > KEY_MAX) {
			return damaged(check, number, "a key has a size that cannot be");
		}
		memcpy(child->end, node + NODE_HEADER, size);
		child->end_size = size;
		child->has_end = true;
	} else if (parent->has_end) {
		memcpy(child->end, parent->end, parent->end_size);
		child->end_size = parent->end_size;
	}
	return 0;
}

/* The first key of a page below the node at `index` of its parent is not below that node's. */
static int check_first_key(
	struct check *check, uint32_t depth, const uint8_t *separator, uint16_t separator_size)
{
	const struct level *level = &check->levels[depth];
	const uint8_t *node = node_at(level->page, 0);

	if (compare_keys(check, node + NODE_HEADER, load_u16(node + 6), separator, separator_size) <
		0) {
		return damaged(check, load_u64(level->page), "a key belongs into another page");
	}
	return 0;
}

static int walk(struct check *check, const struct tree *tree, int table)
{
	uint32_t depth = 0;
	uint8_t separator[KEY_MAX];
	uint16_t separator_size = 0;
	int status;

	check->seen = (struct tree){0};
	check->has_last_key = false;
	check->integer_keys = table == FREE_TABLE;
	if (tree->root == NO_PAGE) {
		return tree->entries == 0 && tree->depth == 0
			       ? 0
			       : damaged(check, 0, "a table's record cannot be");
	}
	if (tree->depth == 0 || tree->depth > DEPTH_MAX) {
		return damaged(check, 0, "a table's depth cannot be");
	}
	check->levels[0].has_end = false;
	status = descend(check, 0, tree, tree->root, 0);
	while (status == 0) {
		struct level *level = &check->levels[depth];
		const uint8_t *node;
		uint64_t child;
		if (depth + 1 == tree->depth) {
			status = separator_size == 0
					 ? 0
					 : check_first_key(check, depth, separator, separator_size);
			status = status != 0 ? status : check_leaf(check, level, table);
			level->next = node_count(level->page);
			separator_size = 0;
		}
		while (depth > 0 &&
			check->levels[depth].next == node_count(check->levels[depth].page)) {
			depth--;
			check->levels[depth].next++;
		}
		level = &check->levels[depth];
		if (status != 0 || level->next == node_count(level->page)) {
			break;
		}
		status = bound_child(check, depth);
		if (status != 0) {
			break;
		}
		node = node_at(level->page, level->next);
		if (level->next > 0) {
			separator_size = load_u16(node + 6);
			memcpy(separator, node + NODE_HEADER, separator_size);
		}
		child = node_data_size(node) | (uint64_t)load_u16(node + 4) << 32;
		status = descend(check, depth + 1, tree, child, load_u64(level->page));
		depth++;
	}
	if (status == 0 && (check->seen.branch_pages != tree->branch_pages ||
				   check->seen.leaf_pages != tree->leaf_pages ||
				   check->seen.overflow_pages != tree->overflow_pages ||
				   check->seen.entries != tree->entries)) {
		status = damaged(check, tree->root,
			"the table has another number of pages or entries than its record says");
	}
	return status;
}

static int check_all(struct check *check, uint64_t file_bytes)
{
	struct meta meta;
	int status = choose_meta(check, &meta);

	if (status != 0) {
		return status;
	}
	if (meta.last_page < 1 || meta.last_page >= (uint64_t)1 << 40) {
		return damaged(check, 0, "the number of its last page cannot be");
	}
	check->last_page = meta.last_page;
	check->file_pages = file_bytes / ENV_PAGE_BYTES;
	/* Only free pages may lie behind the end, those of one commit. */
	if (meta.last_page >= check->file_pages + (check->deep ? 0 : UNWRITTEN_PAGES_MAX)) {
		return cut_short(check);
	}
	check->used = calloc(1, meta.last_page / 8 + 1);
	check->levels = calloc(DEPTH_MAX, sizeof(*check->levels));
	if (check->used == NULL || check->levels == NULL) {
		return error_fail(check->err, ANNALS_E_NO_MEMORY, "no memory to check pages");
	}
	status = walk(check, &meta.tables[MAIN_TABLE], MAIN_TABLE);
	for (size_t i = 0; i < check->found_count && status == 0; i++) {
		status = walk(check, &check->found[i], -1);
	}
	return status != 0 ? status : walk(check, &meta.tables[FREE_TABLE], FREE_TABLE);
}

int pages_check(const char *path, bool deep, struct pages_report *ret_report, struct error *err)
{
	struct check check = {.path = path, .deep = deep, .err = err};
	struct stat st;
	int status = 0;

	check.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (check.fd < 0) {
		return errno == ENOENT
			       ? 0
			       : error_errno(err, ANNALS_E_IO, errno, "cannot open '%s'", path);
	}
	if (fstat(check.fd, &st) != 0) {
		status = error_errno(err, ANNALS_E_IO, errno, "cannot look at '%s'", path);
	} else if (st.st_size > 0) {
		status = check_all(&check, (uint64_t)st.st_size);
	}
	free(check.used);
	free(check.levels);
	(void)close(check.fd);
	if (status == 0 && ret_report != NULL) {
		*ret_report = check.report;
	}
	return status;
}
