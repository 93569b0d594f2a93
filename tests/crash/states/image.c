#include "image.h"

#include "record.h"

#include <annals/hash.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define SECTOR 512u
#define FILES_MAX 4096u
#define PENDING_MAX 16384u
#define NAMES_MAX 1024u
#define RANDOM_STATES 64u

/* Versions of a page's content: what lies in a file of the image is known by them. */
#define VERSION_UNKNOWN 0u
#define VERSION_ZERO 1u

struct page {
	uint64_t version;
	uint8_t *bytes; /* NULL: zeros */
};

struct file {
	bool is_directory;
	/* durable */
	struct page *pages;
	size_t page_count;
	uint64_t size;
	/* as the file of the image is */
	uint64_t *versions;
	size_t version_count;
	int64_t built_size; /* -1: unknown */
	ino_t ino;
	int fd;
};

struct change {
	enum trace_type type;
	uint32_t file;
	uint64_t offset, length;
	const uint8_t *data; /* NULL: zeros */
	bool forced;         /* durable by itself */
	/* chosen for the state that is built */
	uint64_t from, to; /* of [0, length) */
	bool in;
};

struct name_change {
	enum trace_type type;
	uint32_t dir, file; /* RENAME: file is not known before it is applied */
	const char *name, *new_name;
	bool in;
};

struct entry {
	uint32_t dir, file;
	const char *name;
};

struct image {
	char dir[512];
	const uint8_t *trace;
	size_t trace_size, at;
	uint64_t record;
	unsigned point;
	bool ended;
	struct file files[FILES_MAX];
	uint32_t file_count; /* highest number + 1 */
	struct change pending[PENDING_MAX];
	size_t pending_count;
	size_t free_count, free_changes[PENDING_MAX]; /* those that are not forced */
	struct name_change names[NAMES_MAX];
	size_t name_count;
	struct entry entries[NAMES_MAX]; /* durable */
	size_t entry_count;
	uint64_t next_version;
	bool roll_sizes_back;
	uint8_t (*scratch)[PAGE];
	size_t scratch_count, scratch_capacity;
	char text[256];
	pthread_mutex_t mutex;
};

static struct image *watched; /* who is told about changed files */

static void die(const char *what)
{
	(void)fprintf(stderr, "image: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void *must(void *memory)
{
	if (memory == NULL) {
		die("no memory");
	}
	return memory;
}

/* ---- The durable side ---- */

static struct file *file_of(struct image *image, uint32_t number)
{
	if (number >= FILES_MAX) {
		die("too many files");
	}
	if (number >= image->file_count) {
		image->file_count = number + 1;
	}
	return &image->files[number];
}

static void grow(struct file *file, uint64_t size)
{
	size_t count = (size_t)((size + PAGE - 1) / PAGE);

	if (count > file->page_count) {
		file->pages = must(realloc(file->pages, count * sizeof(*file->pages)));
		for (size_t i = file->page_count; i < count; i++) {
			file->pages[i] = (struct page){.version = VERSION_ZERO};
		}
		file->page_count = count;
	}
	if (size > file->size) {
		file->size = size;
	}
}

static void shrink(struct image *image, struct file *file, uint64_t size)
{
	size_t count = (size_t)((size + PAGE - 1) / PAGE);

	while (file->page_count > count) {
		free(file->pages[--file->page_count].bytes);
	}
	if (size % PAGE != 0 && count > 0 && file->pages[count - 1].bytes != NULL) {
		memset(file->pages[count - 1].bytes + size % PAGE, 0, PAGE - size % PAGE);
		file->pages[count - 1].version = image->next_version++;
	}
	file->size = size;
}

static void store_bytes(struct image *image, struct file *file, const struct change *change)
{
	uint64_t at = change->offset, end = change->offset + change->length;

	grow(file, end);
	while (at < end) {
		struct page *page = &file->pages[at / PAGE];
		uint64_t part = PAGE - at % PAGE < end - at ? PAGE - at % PAGE : end - at;
		if (change->data == NULL && part == PAGE) {
			free(page->bytes);
			*page = (struct page){.version = VERSION_ZERO};
		} else {
			if (page->bytes == NULL) {
				page->bytes = must(calloc(1, PAGE));
			}
			if (change->data == NULL) {
				memset(page->bytes + at % PAGE, 0, part);
			} else {
				memcpy(page->bytes + at % PAGE,
					change->data + (at - change->offset), part);
			}
			page->version = image->next_version++;
		}
		at += part;
	}
}

static void make_durable(struct image *image, const struct change *change)
{
	struct file *file = file_of(image, change->file);

	if (change->type == TRACE_TRUNCATE) {
		if (change->offset < file->size) {
			shrink(image, file, change->offset);
		}
		grow(file, change->offset);
	} else if (change->type == TRACE_ALLOCATE) {
		grow(file, change->offset);
	} else {
		store_bytes(image, file, change);
	}
}

static void apply_name(struct entry *entries, size_t *count, const struct name_change *change)
{
	uint32_t file = change->file;
	const char *added = change->type == TRACE_UNLINK ? NULL : change->name;
	size_t kept = 0;

	if (change->type == TRACE_RENAME) {
		added = change->new_name;
	}
	for (size_t i = 0; i < *count; i++) {
		bool here = entries[i].dir == change->dir;
		bool is_old = (change->type == TRACE_RENAME || change->type == TRACE_UNLINK) &&
			      strcmp(entries[i].name, change->name) == 0;
		if (here && (is_old || (added != NULL && strcmp(entries[i].name, added) == 0))) {
			continue;
		}
		entries[kept++] = entries[i];
	}
	*count = kept;
	if (added != NULL) {
		if (kept == NAMES_MAX) {
			die("too many names");
		}
		entries[(*count)++] =
			(struct entry){.dir = change->dir, .file = file, .name = added};
	}
}

static void sync_directory(struct image *image, uint32_t dir)
{
	size_t kept = 0;

	for (size_t i = 0; i < image->name_count; i++) {
		if (image->names[i].dir == dir) {
			apply_name(image->entries, &image->entry_count, &image->names[i]);
		} else {
			image->names[kept++] = image->names[i];
		}
	}
	image->name_count = kept;
}

static void sync_file(struct image *image, uint32_t number)
{
	size_t kept = 0;

	for (size_t i = 0; i < image->pending_count; i++) {
		if (image->pending[i].file == number) {
			make_durable(image, &image->pending[i]);
		} else {
			image->pending[kept++] = image->pending[i];
		}
	}
	image->pending_count = kept;
}

/* ---- The trace ---- */

/* The file that a name stands for now, everything pending counted. */
static uint32_t file_named(const struct image *image, uint32_t dir, const char *name)
{
	struct entry entries[NAMES_MAX];
	size_t count = image->entry_count;

	memcpy(entries, image->entries, count * sizeof(*entries));
	for (size_t i = 0; i < image->name_count; i++) {
		apply_name(entries, &count, &image->names[i]);
	}
	for (size_t i = 0; i < count; i++) {
		if (entries[i].dir == dir && strcmp(entries[i].name, name) == 0) {
			return entries[i].file;
		}
	}
	die("a name in the trace that nobody made");
	return 0;
}

static void add_name(struct image *image, const struct trace_record *record, const char *data)
{
	struct name_change *change = &image->names[image->name_count];
	struct name_change made = {.type = (enum trace_type)record->type,
		.dir = record->other,
		.file = record->file,
		.name = data};

	if (image->name_count == NAMES_MAX) {
		die("too many names at once");
	}
	if (record->type == TRACE_RENAME) {
		if (record->file != record->other) {
			die("a rename between directories");
		}
		made.new_name = data + strlen(data) + 1;
		made.file = file_named(image, record->other, data);
	} else if (record->type != TRACE_UNLINK) {
		struct file *file = file_of(image, record->file);
		file->is_directory = record->type == TRACE_MKDIR;
		file->built_size = -1;
	}
	*change = made;
	image->name_count++;
}

static void add_change(struct image *image, const struct trace_record *record, const uint8_t *data)
{
	if (image->pending_count == PENDING_MAX) {
		die("too much is pending");
	}
	image->pending[image->pending_count++] = (struct change){
		.type = record->type == TRACE_ZERO ? TRACE_WRITE : (enum trace_type)record->type,
		.file = record->file,
		.offset = record->offset,
		.length = record->length,
		.data = record->type == TRACE_WRITE ? data : NULL,
	};
}

static void force_range(struct image *image, const struct trace_record *record)
{
	for (size_t i = 0; i < image->pending_count; i++) {
		struct change *change = &image->pending[i];
		if (change->file == record->file && change->type == TRACE_WRITE &&
			change->offset == record->offset && change->length == record->length) {
			change->forced = true;
		}
	}
}

static void take_record(struct image *image, const struct trace_record *record, const uint8_t *data)
{
	switch ((enum trace_type)record->type) {
	case TRACE_MKDIR:
	case TRACE_CREATE:
	case TRACE_RENAME:
	case TRACE_UNLINK:
		add_name(image, record, (const char *)data);
		break;
	case TRACE_TRUNCATE:
	case TRACE_ALLOCATE:
	case TRACE_WRITE:
	case TRACE_ZERO:
		add_change(image, record, data);
		break;
	case TRACE_SYNC:
		if (record->file == TRACE_ROOT || file_of(image, record->file)->is_directory) {
			sync_directory(image, record->file);
		} else {
			sync_file(image, record->file);
		}
		break;
	case TRACE_SYNC_RANGE:
		force_range(image, record);
		break;
	case TRACE_LIFE:
	case TRACE_MARK:
		break;
	}
}

static bool is_sync(uint32_t type)
{
	return type == TRACE_SYNC || type == TRACE_SYNC_RANGE;
}

static void list_free_changes(struct image *image)
{
	image->free_count = 0;
	for (size_t i = 0; i < image->pending_count; i++) {
		if (!image->pending[i].forced) {
			image->free_changes[image->free_count++] = i;
		}
	}
}

bool image_next(struct image *image, void (*mark)(void *arg, const struct mark *mark), void *arg)
{
	bool first = image->point > 0; /* the record at which the last point stood is taken now */
	struct trace_record record;

	while (image->at + sizeof(record) <= image->trace_size) {
		memcpy(&record, image->trace + image->at, sizeof(record));
		if (image->at + sizeof(record) + record.data_bytes > image->trace_size) {
			break;
		}
		if (is_sync(record.type) && !first) {
			image->point++;
			list_free_changes(image);
			return true;
		}
		first = false;
		const uint8_t *data = image->trace + image->at + sizeof(record);
		if (record.type == TRACE_MARK) {
			struct mark copy;
			memcpy(&copy, data, sizeof(copy));
			mark(arg, &copy);
		}
		take_record(image, &record, data);
		image->at += sizeof(record) + record.data_bytes;
		image->record++;
	}
	if (image->ended) {
		return false;
	}
	image->ended = true;
	image->point++;
	list_free_changes(image);
	return true;
}

unsigned image_point(const struct image *image)
{
	return image->point;
}

uint64_t image_record(const struct image *image)
{
	return image->record;
}

/* ---- Choosing ---- */

/* Cuts inside a write at sector boundaries: for the first pages of it every sector, then every
 * page. */
static uint64_t cuts_of(const struct change *change)
{
	uint64_t sectors, pages;

	if (change->type != TRACE_WRITE || change->data == NULL) {
		return 0;
	}
	sectors = (change->offset % SECTOR + change->length - 1) / SECTOR;
	pages = (change->offset % PAGE + change->length - 1) / PAGE;
	return sectors <= 32 ? sectors : 32 + pages;
}

static uint64_t cut_at(const struct change *change, uint64_t cut)
{
	uint64_t sectors = (change->offset % SECTOR + change->length - 1) / SECTOR;

	if (sectors <= 32 || cut < 32) {
		return (cut + 1) * SECTOR - change->offset % SECTOR;
	}
	return (cut - 32 + 1) * PAGE - change->offset % PAGE;
}

/* The kinds of states at a point, each with its number of states. */
enum kind {
	KIND_DURABLE,
	KIND_ALL,
	KIND_ALL_OLD_SIZES,
	KIND_ALL_OLD_NAMES,
	KIND_NAMES_ONLY,
	KIND_ONE,
	KIND_ALL_BUT_ONE,
	KIND_PREFIX,
	KIND_ONE_NAME,
	KIND_ALL_BUT_ONE_NAME,
	KIND_NAME_PREFIX,
	KIND_TORN,      /* everything before it, it up to the cut */
	KIND_TORN_TAIL, /* everything, of it only what is behind the cut */
	KIND_RANDOM,
	KIND_COUNT
};

static const char *const kind_names[KIND_COUNT] = {"only what is durable", "everything",
	"everything, sizes as they were", "everything, names as they were", "only the names",
	"one change", "all but one change", "the first changes", "one name", "all but one name",
	"the first names", "a write cut short", "the end of a write without its beginning",
	"at random"};

static uint64_t all_cuts(const struct image *image)
{
	uint64_t cuts = 0;

	for (size_t i = 0; i < image->free_count; i++) {
		cuts += cuts_of(&image->pending[image->free_changes[i]]);
	}
	return cuts;
}

static uint64_t states_of(const struct image *image, enum kind kind)
{
	uint64_t changes = image->free_count, names = image->name_count;

	switch (kind) {
	case KIND_DURABLE:
		return 1;
	case KIND_ALL:
	case KIND_ALL_OLD_SIZES:
	case KIND_ALL_OLD_NAMES:
	case KIND_NAMES_ONLY:
		return 1;
	case KIND_ONE:
	case KIND_ALL_BUT_ONE:
		return changes > 1 ? changes : 0;
	case KIND_PREFIX:
		return changes > 2 ? changes - 2 : 0;
	case KIND_ONE_NAME:
	case KIND_ALL_BUT_ONE_NAME:
		return names > 1 ? names : 0;
	case KIND_NAME_PREFIX:
		return names > 2 ? names - 2 : 0;
	case KIND_TORN:
	case KIND_TORN_TAIL:
		return all_cuts(image);
	case KIND_RANDOM:
		return changes + names > 2 ? RANDOM_STATES : 0;
	case KIND_COUNT:
		break;
	}
	return 0;
}

uint64_t image_states(const struct image *image)
{
	uint64_t states = 0;

	for (int kind = 0; kind < KIND_COUNT; kind++) {
		states += states_of(image, (enum kind)kind);
	}
	return states;
}

static void choose_all(struct image *image, bool changes, bool names)
{
	for (size_t i = 0; i < image->pending_count; i++) {
		struct change *change = &image->pending[i];
		change->in = changes || change->forced;
		change->from = 0;
		change->to = change->length;
	}
	for (size_t i = 0; i < image->name_count; i++) {
		image->names[i].in = names;
	}
}

static struct change *free_change(struct image *image, uint64_t index)
{
	return &image->pending[image->free_changes[index]];
}

/* The change that a number of KIND_TORN means, and the cut in it. */
static size_t find_cut(struct image *image, uint64_t number, uint64_t *ret_cut)
{
	for (size_t i = 0; i < image->free_count; i++) {
		uint64_t cuts = cuts_of(free_change(image, i));
		if (number < cuts) {
			*ret_cut = cut_at(free_change(image, i), number);
			return i;
		}
		number -= cuts;
	}
	die("no such cut");
	return 0;
}

static void choose_random(struct image *image, uint64_t seed)
{
	struct random random = {seed};
	uint64_t chance = 1 + random_below(&random, 9);

	for (size_t i = 0; i < image->free_count; i++) {
		struct change *change = free_change(image, i);
		uint64_t cuts = cuts_of(change);
		change->in = random_below(&random, 10) < chance;
		if (cuts > 0 && random_below(&random, 4) == 0) {
			change->to = cut_at(change, random_below(&random, cuts));
		} else if (cuts > 0 && random_below(&random, 8) == 0) {
			change->from = cut_at(change, random_below(&random, cuts));
		}
	}
	for (size_t i = 0; i < image->name_count; i++) {
		image->names[i].in = random_below(&random, 10) < chance;
	}
	image->roll_sizes_back = random_below(&random, 8) == 0;
}

static void choose(struct image *image, enum kind kind, uint64_t number, uint64_t seed)
{
	uint64_t cut = 0;
	size_t torn;

	image->roll_sizes_back = kind == KIND_ALL_OLD_SIZES;
	choose_all(image, kind != KIND_DURABLE && kind != KIND_NAMES_ONLY && kind != KIND_ONE,
		kind != KIND_DURABLE && kind != KIND_ALL_OLD_NAMES && kind != KIND_ONE_NAME);
	switch (kind) {
	case KIND_ONE:
		free_change(image, number)->in = true;
		break;
	case KIND_ALL_BUT_ONE:
		free_change(image, number)->in = false;
		break;
	case KIND_PREFIX:
		for (size_t i = number + 2; i < image->free_count; i++) {
			free_change(image, i)->in = false;
		}
		break;
	case KIND_ONE_NAME:
		image->names[number].in = true;
		break;
	case KIND_ALL_BUT_ONE_NAME:
		image->names[number].in = false;
		break;
	case KIND_NAME_PREFIX:
		for (size_t i = number + 2; i < image->name_count; i++) {
			image->names[i].in = false;
		}
		break;
	case KIND_TORN:
		torn = find_cut(image, number, &cut);
		free_change(image, torn)->to = cut;
		for (size_t i = torn + 1; i < image->free_count; i++) {
			free_change(image, i)->in = false;
		}
		break;
	case KIND_TORN_TAIL:
		torn = find_cut(image, number, &cut);
		free_change(image, torn)->from = cut;
		break;
	case KIND_RANDOM:
		choose_random(image, seed);
		break;
	case KIND_DURABLE:
	case KIND_ALL:
	case KIND_ALL_OLD_SIZES:
	case KIND_ALL_OLD_NAMES:
	case KIND_NAMES_ONLY:
	case KIND_COUNT:
		break;
	}
	(void)snprintf(image->text, sizeof(image->text),
		"%s (%" PRIu64 "; %zu changes, %zu names pending)", kind_names[kind], number,
		image->free_count, image->name_count);
}

void image_describe(const struct image *image, char *out, size_t size)
{
	(void)snprintf(out, size, "%s", image->text);
}

/* ---- Building ---- */

static uint8_t *scratch_page(struct image *image, uint32_t *ret_index)
{
	if (image->scratch_count == image->scratch_capacity) {
		image->scratch_capacity = image->scratch_capacity * 2 + 1024;
		image->scratch = must(realloc(image->scratch, image->scratch_capacity * PAGE));
	}
	*ret_index = (uint32_t)image->scratch_count++;
	return image->scratch[*ret_index];
}

/* The pages of a file that pending changes touch: an index into scratch each, or NONE. */
#define NONE UINT32_MAX
struct overlay {
	uint32_t *index;
	size_t count;
	uint64_t size;
};

static uint8_t *touch(
	struct image *image, const struct file *file, struct overlay *overlay, size_t page)
{
	if (page >= overlay->count) {
		size_t count = page + 256;
		overlay->index = must(realloc(overlay->index, count * sizeof(uint32_t)));
		memset(overlay->index + overlay->count, 0xff,
			(count - overlay->count) * sizeof(uint32_t));
		overlay->count = count;
	}
	if (overlay->index[page] == NONE) {
		uint8_t *bytes = scratch_page(image, &overlay->index[page]);
		if (page < file->page_count && file->pages[page].bytes != NULL) {
			memcpy(bytes, file->pages[page].bytes, PAGE);
		} else {
			memset(bytes, 0, PAGE);
		}
	}
	return image->scratch[overlay->index[page]];
}

static void overlay_write(struct image *image, const struct file *file, struct overlay *overlay,
	const struct change *change)
{
	uint64_t at = change->offset + change->from, end = change->offset + change->to;

	while (at < end) {
		uint64_t part = PAGE - at % PAGE < end - at ? PAGE - at % PAGE : end - at;
		uint8_t *bytes = touch(image, file, overlay, (size_t)(at / PAGE)) + at % PAGE;
		if (change->data == NULL) {
			memset(bytes, 0, part);
		} else {
			memcpy(bytes, change->data + (at - change->offset), part);
		}
		at += part;
	}
	if (end > overlay->size) {
		overlay->size = end;
	}
}

static void overlay_truncate(
	struct image *image, const struct file *file, struct overlay *overlay, uint64_t size)
{
	size_t last = (size_t)((overlay->size + PAGE - 1) / PAGE);

	for (size_t page = (size_t)(size / PAGE); page < last; page++) {
		uint64_t keep = page == size / PAGE ? size % PAGE : 0;
		memset(touch(image, file, overlay, page) + keep, 0, PAGE - keep);
	}
	overlay->size = size;
}

static void apply_changes(
	struct image *image, uint32_t number, const struct file *file, struct overlay *overlay)
{
	for (size_t i = 0; i < image->pending_count; i++) {
		const struct change *change = &image->pending[i];
		if (change->file != number || !change->in) {
			continue;
		}
		if (change->type == TRACE_WRITE) {
			overlay_write(image, file, overlay, change);
		} else if (change->type == TRACE_TRUNCATE) {
			overlay_truncate(image, file, overlay, change->offset);
		} else if (change->offset > overlay->size) {
			overlay->size = change->offset;
		}
	}
	if (image->roll_sizes_back && overlay->size > file->size) {
		overlay->size = file->size;
	}
}

/* The pool's file and what is known of it. */
static void open_pool_file(struct image *image, uint32_t number, struct file *file)
{
	char path[600];
	struct stat stat;

	if (file->fd == 0) {
		(void)snprintf(path, sizeof(path), "%s/pool/%u", image->dir, number);
		file->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (file->fd < 0 || fstat(file->fd, &stat) != 0) {
			die("cannot make a file of the pool");
		}
		file->ino = stat.st_ino;
		file->built_size = 0;
	}
	if (file->built_size < 0) {
		if (fstat(file->fd, &stat) != 0) {
			die("cannot look at a file of the pool");
		}
		file->built_size = stat.st_size;
	}
}

static void set_size(struct file *file, uint64_t size)
{
	size_t pages = (size_t)((size + PAGE - 1) / PAGE);
	size_t known = file->version_count;
	size_t old_pages = (size_t)(((uint64_t)file->built_size + PAGE - 1) / PAGE);

	if ((uint64_t)file->built_size != size && ftruncate(file->fd, (off_t)size) != 0) {
		die("cannot set a size");
	}
	if (pages > known) {
		file->versions = must(realloc(file->versions, pages * sizeof(uint64_t)));
	}
	for (size_t page = known; page < pages; page++) {
		file->versions[page] = page < old_pages ? VERSION_UNKNOWN : VERSION_ZERO;
	}
	file->version_count = pages;
	if (size % PAGE != 0) {
		file->versions[pages - 1] = VERSION_UNKNOWN;
	}
	if (old_pages > 0 && (uint64_t)file->built_size % PAGE != 0 && old_pages <= pages) {
		file->versions[old_pages - 1] = VERSION_UNKNOWN;
	}
	file->built_size = (int64_t)size;
}

static void build_file(struct image *image, uint32_t number)
{
	static const uint8_t zeros[PAGE];
	struct file *file = &image->files[number];
	struct overlay overlay = {.size = file->size};

	image->scratch_count = 0;
	apply_changes(image, number, file, &overlay);
	open_pool_file(image, number, file);
	set_size(file, overlay.size);
	for (size_t page = 0; page < file->version_count; page++) {
		bool touched = page < overlay.count && overlay.index[page] != NONE;
		const uint8_t *bytes = touched ? image->scratch[overlay.index[page]] : NULL;
		uint64_t version = touched ? VERSION_UNKNOWN : VERSION_ZERO;
		uint64_t left = overlay.size - (uint64_t)page * PAGE;
		if (!touched && page < file->page_count) {
			version = file->pages[page].version;
			bytes = file->pages[page].bytes;
		}
		if (!touched && file->versions[page] == version) {
			continue;
		}
		bytes = bytes != NULL ? bytes : zeros;
		if (pwrite(file->fd, bytes, left < PAGE ? left : PAGE, (off_t)(page * PAGE)) < 0) {
			die("cannot write a page");
		}
		file->versions[page] = left < PAGE ? VERSION_UNKNOWN : version;
	}
	free(overlay.index);
}

/* Makes the names below one directory, and theirs. */
static void build_directory(struct image *image, const struct entry *entries, size_t count,
	uint32_t dir, const char *path)
{
	char name[1024], pool[600];

	if (mkdir(path, 0700) != 0 && errno != EEXIST) {
		die("cannot make a directory");
	}
	for (size_t i = 0; i < count; i++) {
		if (entries[i].dir != dir) {
			continue;
		}
		(void)snprintf(name, sizeof(name), "%s/%s", path, entries[i].name);
		if (image->files[entries[i].file].is_directory) {
			build_directory(image, entries, count, entries[i].file, name);
			continue;
		}
		build_file(image, entries[i].file);
		(void)snprintf(pool, sizeof(pool), "%s/pool/%u", image->dir, entries[i].file);
		if (link(pool, name) != 0) {
			die("cannot link a file of the pool");
		}
	}
}

void image_build(struct image *image, uint64_t state, uint64_t seed)
{
	struct entry entries[NAMES_MAX];
	size_t count = image->entry_count;
	enum kind kind = KIND_DURABLE;
	uint64_t number = state;
	char path[600];

	while (number >= states_of(image, kind)) {
		number -= states_of(image, kind);
		kind = (enum kind)(kind + 1);
	}
	choose(image, kind, number, seed + state);
	memcpy(entries, image->entries, count * sizeof(*entries));
	for (size_t i = 0; i < image->name_count; i++) {
		if (image->names[i].in) {
			apply_name(entries, &count, &image->names[i]);
		}
	}
	(void)snprintf(path, sizeof(path), "%s/store", image->dir);
	build_directory(image, entries, count, TRACE_ROOT, path);
}

/* ---- In use ---- */

static void on_change(dev_t dev, ino_t ino, uint64_t offset, int64_t size)
{
	struct image *image = watched;

	(void)dev;
	(void)pthread_mutex_lock(&image->mutex);
	for (uint32_t number = 0; number < image->file_count; number++) {
		struct file *file = &image->files[number];
		if (file->fd == 0 || file->ino != ino) {
			continue;
		}
		size_t first = size < 0 ? 0 : (size_t)(offset / PAGE);
		size_t end = size < 0 ? file->version_count
				      : (size_t)((offset + (uint64_t)size + PAGE - 1) / PAGE);
		for (size_t page = first; page < end && page < file->version_count; page++) {
			file->versions[page] = VERSION_UNKNOWN;
		}
		file->built_size = -1;
	}
	(void)pthread_mutex_unlock(&image->mutex);
}

void image_begin_use(struct image *image)
{
	watched = image;
	record_watch(on_change);
}

/* Removes what is in a directory, and the directory. */
static void remove_tree(const char *path)
{
	char name[1024];
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
			continue;
		}
		(void)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_type == DT_DIR) {
			remove_tree(name);
		} else {
			(void)unlink(name);
		}
	}
	if (dir != NULL) {
		(void)closedir(dir);
	}
	(void)rmdir(path);
}

void image_end_use(struct image *image)
{
	char path[600];

	record_watch(NULL);
	(void)snprintf(path, sizeof(path), "%s/store", image->dir);
	remove_tree(path);
}

/* ---- Opening ---- */

struct image *image_open(const char *trace_path, const char *dir)
{
	struct image *image = must(calloc(1, sizeof(*image)));
	char path[600];
	struct stat stat;
	int fd = open(trace_path, O_RDONLY | O_CLOEXEC);

	(void)snprintf(image->dir, sizeof(image->dir), "%s", dir);
	(void)snprintf(path, sizeof(path), "%s/pool", dir);
	if (fd < 0 || fstat(fd, &stat) != 0 || mkdir(path, 0700) != 0) {
		die("cannot open the trace");
	}
	image->trace_size = (size_t)stat.st_size;
	image->trace = mmap(NULL, image->trace_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (image->trace == MAP_FAILED) {
		die("cannot map the trace");
	}
	(void)close(fd);
	image->next_version = VERSION_ZERO + 1;
	image->file_count = TRACE_ROOT + 1;
	image->files[TRACE_ROOT].is_directory = true;
	(void)pthread_mutex_init(&image->mutex, NULL);
	return image;
}

void image_close(struct image *image)
{
	char path[600];

	for (uint32_t number = 0; number < image->file_count; number++) {
		struct file *file = &image->files[number];
		for (size_t page = 0; page < file->page_count; page++) {
			free(file->pages[page].bytes);
		}
		free(file->pages);
		free(file->versions);
		if (file->fd > 0) {
			(void)close(file->fd);
		}
	}
	(void)snprintf(path, sizeof(path), "%s/pool", image->dir);
	remove_tree(path);
	free(image->scratch);
	(void)munmap((void *)(uintptr_t)image->trace, image->trace_size);
	(void)pthread_mutex_destroy(&image->mutex);
	free(image);
}
