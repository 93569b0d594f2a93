/* Both the plain symbols and those with 64 are defined below, so the headers must not turn one into
 * the other. */
#undef _FILE_OFFSET_BITS
#include "record.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FD_MAX 1024
#define PATHS_MAX 4096

/* A watched file or directory that has a name. */
struct path {
	char *name; /* absolute */
	uint32_t file;
	bool ignored;
};

struct descriptor {
	uint32_t file; /* 0: not watched */
	int flags;
	bool is_directory;
};

static struct {
	pthread_mutex_t mutex;
	char dir[PATH_MAX];
	size_t dir_size;
	int trace_fd;
	struct path paths[PATHS_MAX];
	size_t path_count;
	uint32_t next_file;
	struct descriptor descriptors[FD_MAX];
	unsigned fail_in; /* writes until one fails; 0 = none */
	unsigned end_in;  /* records until the process ends */
	int fail_errno;
	void (*watch)(dev_t dev, ino_t ino, uint64_t offset, int64_t size);
	/* Recursive: a sanitizer that reports something opens files from within these calls. */
} recorder = {.mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP, .trace_fd = -1};

/* The C library's own functions. */
static struct {
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int dir, const char *path, int flags, ...);
	int (*close)(int fd);
	ssize_t (*write)(int fd, const void *data, size_t size);
	ssize_t (*writev)(int fd, const struct iovec *vector, int count);
	ssize_t (*pwrite)(int fd, const void *data, size_t size, off_t offset);
	ssize_t (*pwritev)(int fd, const struct iovec *vector, int count, off_t offset);
	int (*ftruncate)(int fd, off_t size);
	int (*fallocate)(int fd, int mode, off_t offset, off_t size);
	int (*fsync)(int fd);
	int (*fdatasync)(int fd);
	int (*rename)(const char *from, const char *to);
	int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
	int (*unlink)(const char *path);
	int (*unlinkat)(int dir, const char *path, int flags);
	int (*mkdir)(const char *path, mode_t mode);
	void *(*mmap)(void *at, size_t size, int protection, int flags, int fd, off_t offset);
	int (*msync)(void *at, size_t size, int flags);
} real;

static void die(const char *what, const char *name)
{
	(void)fprintf(stderr, "recorder: %s '%s': %s\n", what, name, strerror(errno));
	abort();
}

static void *find(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL) {
		die("no function", name);
	}
	return function;
}

/* The symbols that are asked for are defined here too, hence RTLD_NEXT. */
__attribute__((constructor)) static void load(void)
{
	if (real.msync != NULL) {
		return;
	}
	*(void **)&real.open = find("open");
	*(void **)&real.openat = find("openat");
	*(void **)&real.close = find("close");
	*(void **)&real.write = find("write");
	*(void **)&real.writev = find("writev");
	*(void **)&real.pwrite = find("pwrite");
	*(void **)&real.pwritev = find("pwritev");
	*(void **)&real.ftruncate = find("ftruncate");
	*(void **)&real.fallocate = find("fallocate");
	*(void **)&real.fsync = find("fsync");
	*(void **)&real.fdatasync = find("fdatasync");
	*(void **)&real.rename = find("rename");
	*(void **)&real.renameat = find("renameat");
	*(void **)&real.unlink = find("unlink");
	*(void **)&real.unlinkat = find("unlinkat");
	*(void **)&real.mkdir = find("mkdir");
	*(void **)&real.mmap = find("mmap");
	*(void **)&real.msync = find("msync");
}

/* ---- The trace ---- */

static void put_all(const struct iovec *given, int count)
{
	struct iovec vector[3];
	struct iovec *at = vector;

	memcpy(vector, given, (size_t)count * sizeof(*given));
	while (count > 0) {
		ssize_t n = real.writev(recorder.trace_fd, at, count);
		if (n < 0) {
			die("cannot write", "the trace");
		}
		while (count > 0 && (size_t)n >= at->iov_len) {
			n -= (ssize_t)at->iov_len;
			at++;
			count--;
		}
		if (count > 0) {
			at->iov_base = (char *)at->iov_base + n;
			at->iov_len -= (size_t)n;
		}
	}
}

static void put(struct trace_record record, const void *data, size_t size)
{
	struct iovec vector[2] = {{&record, sizeof(record)}, {(void *)(uintptr_t)data, size}};

	record.data_bytes = (uint32_t)size;
	put_all(vector, size > 0 ? 2 : 1);
	if (recorder.end_in > 0 && --recorder.end_in == 0) {
		/* Not _exit(): TSan's would look for its symbols through our open(), while this
		 * thread holds the recorder's lock. */
		(void)syscall(SYS_exit_group, 0);
	}
}

/* ---- Names ---- */

static bool is_watched(const char *name)
{
	return strncmp(name, recorder.dir, recorder.dir_size) == 0 &&
	       (name[recorder.dir_size] == 0 || name[recorder.dir_size] == '/');
}

static struct path *find_path(const char *name)
{
	for (size_t i = 0; i < recorder.path_count; i++) {
		if (strcmp(recorder.paths[i].name, name) == 0) {
			return &recorder.paths[i];
		}
	}
	return NULL;
}

static const char *base_name(const char *name)
{
	return strrchr(name, '/') + 1;
}

static uint32_t parent_of(const char *name)
{
	char dir[PATH_MAX];
	struct path *path;

	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(base_name(name) - 1 - name), name);
	path = find_path(dir);
	if (path == NULL) {
		die("no directory for", name);
	}
	return path->file;
}

static struct path *add_path(const char *name, uint32_t file)
{
	struct path *path = &recorder.paths[recorder.path_count];

	if (recorder.path_count == PATHS_MAX || strlen(base_name(name)) >= TRACE_NAME_MAX) {
		die("too many files, or too long a name", name);
	}
	recorder.path_count++;
	*path = (struct path){.name = strdup(name), .file = file};
	path->ignored = strcmp(base_name(name), "lock.mdb") == 0;
	if (path->name == NULL) {
		die("no memory for", name);
	}
	if (file >= recorder.next_file) {
		recorder.next_file = file + 1;
	}
	return path;
}

static void drop_path(struct path *path)
{
	free(path->name);
	*path = recorder.paths[--recorder.path_count];
}

/* The path that a call means; false when it is not watched. */
static bool resolve(int dir, const char *name, char out[PATH_MAX])
{
	size_t size;

	if (recorder.trace_fd < 0) {
		return false;
	}
	if (name[0] == '/') {
		(void)snprintf(out, PATH_MAX, "%s", name);
	} else if (dir == AT_FDCWD) {
		char cwd[PATH_MAX];
		if (getcwd(cwd, sizeof(cwd)) == NULL ||
			snprintf(out, PATH_MAX, "%s/%s", cwd, name) >= PATH_MAX) {
			die("cannot resolve", name);
		}
	} else if (dir >= 0 && dir < FD_MAX && recorder.descriptors[dir].file != 0) {
		struct path *path = NULL;
		for (size_t i = 0; i < recorder.path_count; i++) {
			if (recorder.paths[i].file == recorder.descriptors[dir].file) {
				path = &recorder.paths[i];
			}
		}
		if (path == NULL ||
			snprintf(out, PATH_MAX, "%s/%s", path->name, name) >= PATH_MAX) {
			die("cannot resolve", name);
		}
	} else {
		return false;
	}
	size = strlen(out);
	if (size > 2 && strcmp(out + size - 2, "/.") == 0) {
		out[size - 2] = 0;
	}
	if (size > 3 && strcmp(out + size - 3, "/..") == 0) {
		out[size - 3] = 0;
		*strrchr(out, '/') = 0;
	}
	return is_watched(out);
}

static struct descriptor *descriptor_of(int fd)
{
	struct descriptor *descriptor = fd >= 0 && fd < FD_MAX ? &recorder.descriptors[fd] : NULL;

	return recorder.trace_fd >= 0 && descriptor != NULL && descriptor->file != 0 ? descriptor
										     : NULL;
}

static void lock(void)
{
	load();
	(void)pthread_mutex_lock(&recorder.mutex);
}

/* Keeps errno. */
static void unlock(void)
{
	int saved = errno;

	(void)pthread_mutex_unlock(&recorder.mutex);
	errno = saved;
}

/* ---- Opening and closing ---- */

static void opened(int fd, const char *name, int flags)
{
	struct path *path = find_path(name);
	struct stat stat;

	if (fd >= FD_MAX || fstat(fd, &stat) != 0) {
		die("too many descriptors, at", name);
	}
	if (path == NULL) {
		if ((flags & O_CREAT) == 0) {
			die("nobody made", name);
		}
		path = add_path(name, recorder.next_file);
		if (!path->ignored) {
			put((struct trace_record){.type = TRACE_CREATE,
				    .file = path->file,
				    .other = parent_of(name)},
				base_name(name), strlen(base_name(name)) + 1);
		}
	} else if ((flags & O_TRUNC) != 0 && !path->ignored) {
		put((struct trace_record){.type = TRACE_TRUNCATE, .file = path->file}, NULL, 0);
	}
	if (!path->ignored) {
		if ((flags & O_APPEND) != 0) {
			die("cannot record O_APPEND on", name);
		}
		recorder.descriptors[fd] = (struct descriptor){
			.file = path->file,
			.flags = flags,
			.is_directory = S_ISDIR(stat.st_mode),
		};
	}
}

static void note_all(int fd);

static int open_at(int dir, const char *name, int flags, mode_t mode)
{
	char path[PATH_MAX];
	bool watched;
	int fd;

	lock();
	watched = resolve(dir, name, path);
	fd = real.openat(dir, name, flags, mode);
	if (fd >= 0 && watched) {
		opened(fd, path, flags);
	}
	unlock();
	if (fd >= 0 && (flags & O_TRUNC) != 0) {
		note_all(fd);
	}
	return fd;
}

#define MODE_ARGUMENT(flags, mode)                                                                 \
	do {                                                                                       \
		if (((flags)&O_CREAT) != 0) {                                                      \
			va_list args;                                                              \
			va_start(args, flags);                                                     \
			mode = va_arg(args, mode_t);                                               \
			va_end(args);                                                              \
		}                                                                                  \
	} while (0)

RECORD_API int open(const char *name, int flags, ...)
{
	mode_t mode = 0;

	MODE_ARGUMENT(flags, mode);
	return open_at(AT_FDCWD, name, flags, mode);
}

RECORD_API int openat(int dir, const char *name, int flags, ...)
{
	mode_t mode = 0;

	MODE_ARGUMENT(flags, mode);
	return open_at(dir, name, flags, mode);
}

RECORD_API int open64(const char *name, int flags, ...)
{
	mode_t mode = 0;

	MODE_ARGUMENT(flags, mode);
	return open_at(AT_FDCWD, name, flags, mode);
}

RECORD_API int openat64(int dir, const char *name, int flags, ...)
{
	mode_t mode = 0;

	MODE_ARGUMENT(flags, mode);
	return open_at(dir, name, flags, mode);
}

/* What open() becomes with _FORTIFY_SOURCE. */
#define FORTIFIED(name)                                                                            \
	RECORD_API int name(const char *path, int flags);                                          \
	RECORD_API int name(const char *path, int flags)                                           \
	{                                                                                          \
		return open_at(AT_FDCWD, path, flags, 0);                                          \
	}
#define FORTIFIED_AT(name)                                                                         \
	RECORD_API int name(int dir, const char *path, int flags);                                 \
	RECORD_API int name(int dir, const char *path, int flags)                                  \
	{                                                                                          \
		return open_at(dir, path, flags, 0);                                               \
	}
FORTIFIED(__open_2)
FORTIFIED(__open64_2)
FORTIFIED_AT(__openat_2)
FORTIFIED_AT(__openat64_2)

RECORD_API int close(int fd)
{
	int result;

	lock();
	if (fd >= 0 && fd < FD_MAX) {
		recorder.descriptors[fd].file = 0;
	}
	result = real.close(fd);
	unlock();
	return result;
}

/* ---- Writing ---- */

static void note(int fd, uint64_t offset, int64_t size)
{
	struct stat stat;
	int saved = errno;

	if (recorder.watch != NULL && fstat(fd, &stat) == 0) {
		recorder.watch(stat.st_dev, stat.st_ino, offset, size);
	}
	errno = saved;
}

static void note_all(int fd)
{
	note(fd, 0, -1);
}

static bool is_zero(const uint8_t *data, size_t size)
{
	return size > 0 && data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Puts what was written, gathered, as one record. */
static void put_write(const struct descriptor *descriptor, const struct iovec *vector, int count,
	uint64_t offset, size_t size)
{
	struct trace_record record = {
		.type = TRACE_WRITE, .file = descriptor->file, .offset = offset, .length = size};
	uint8_t *data = malloc(size);
	size_t at = 0;

	if (data == NULL) {
		die("no memory for", "a write");
	}
	for (int i = 0; i < count && at < size; i++) {
		size_t part = vector[i].iov_len < size - at ? vector[i].iov_len : size - at;
		memcpy(data + at, vector[i].iov_base, part);
		at += part;
	}
	if (is_zero(data, size)) {
		record.type = TRACE_ZERO;
		put(record, NULL, 0);
	} else {
		put(record, data, size);
	}
	free(data);
	if ((descriptor->flags & O_DSYNC) != 0) {
		record.type = TRACE_SYNC_RANGE;
		put(record, NULL, 0);
	}
}

/* offset -1: at the descriptor's own place. */
static ssize_t write_at(int fd, const struct iovec *vector, int count, off_t offset, bool at_own)
{
	const struct descriptor *descriptor;
	off_t at = offset;
	ssize_t n;

	lock();
	descriptor = descriptor_of(fd);
	if (at_own && (descriptor != NULL || recorder.watch != NULL)) {
		at = lseek(fd, 0, SEEK_CUR);
	}
	if (descriptor != NULL && !at_own && count > 1 && recorder.fail_in > 0 &&
		--recorder.fail_in == 0) {
		errno = recorder.fail_errno;
		n = -1;
	} else {
		n = at_own ? real.writev(fd, vector, count)
			   : real.pwritev(fd, vector, count, offset);
	}
	if (n > 0 && descriptor != NULL) {
		put_write(descriptor, vector, count, (uint64_t)at, (size_t)n);
	}
	unlock();
	if (n > 0 && at >= 0) {
		note(fd, (uint64_t)at, n);
	}
	return n;
}

RECORD_API ssize_t write(int fd, const void *data, size_t size)
{
	struct iovec vector = {(void *)(uintptr_t)data, size};

	return write_at(fd, &vector, 1, 0, true);
}

RECORD_API ssize_t writev(int fd, const struct iovec *vector, int count)
{
	return write_at(fd, vector, count, 0, true);
}

RECORD_API ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	struct iovec vector = {(void *)(uintptr_t)data, size};

	return write_at(fd, &vector, 1, offset, false);
}

RECORD_API ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	return write_at(fd, vector, count, offset, false);
}

RECORD_API ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	return pwrite(fd, data, size, offset);
}

RECORD_API ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
	return pwritev(fd, vector, count, offset);
}

RECORD_API int ftruncate(int fd, off_t size)
{
	const struct descriptor *descriptor;
	int result;

	lock();
	descriptor = descriptor_of(fd);
	result = real.ftruncate(fd, size);
	if (result == 0 && descriptor != NULL) {
		put((struct trace_record){.type = TRACE_TRUNCATE,
			    .file = descriptor->file,
			    .offset = (uint64_t)size},
			NULL, 0);
	}
	unlock();
	if (result == 0) {
		note_all(fd);
	}
	return result;
}

RECORD_API int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

/* Watching, not recording: the space itself is not wanted, only the size (16 MiB of a memory file
 * system for each state would be most of the work). */
static int only_grow(int fd, off_t end)
{
	struct stat stat;

	if (fstat(fd, &stat) != 0 || stat.st_size >= end) {
		return 0;
	}
	return real.ftruncate(fd, end);
}

RECORD_API int fallocate(int fd, int mode, off_t offset, off_t size)
{
	const struct descriptor *descriptor;
	int result;

	lock();
	descriptor = descriptor_of(fd);
	if (descriptor != NULL && mode != 0) {
		die("cannot record", "fallocate with a mode");
	}
	result = recorder.watch != NULL && mode == 0 ? only_grow(fd, offset + size)
						     : real.fallocate(fd, mode, offset, size);
	if (result == 0 && descriptor != NULL) {
		put((struct trace_record){.type = TRACE_ALLOCATE,
			    .file = descriptor->file,
			    .offset = (uint64_t)(offset + size)},
			NULL, 0);
	}
	unlock();
	if (result == 0) {
		note(fd, 0, 0);
	}
	return result;
}

RECORD_API int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
	return fallocate(fd, mode, offset, size);
}

RECORD_API int posix_fallocate(int fd, off_t offset, off_t size)
{
	return fallocate(fd, 0, offset, size) == 0 ? 0 : errno;
}

/* ---- Syncing ---- */

static int sync_file(int fd, int (*function)(int fd))
{
	const struct descriptor *descriptor;
	int result;

	lock();
	descriptor = descriptor_of(fd);
	result = recorder.watch != NULL ? 0 : function(fd);
	if (result == 0 && descriptor != NULL) {
		put((struct trace_record){.type = TRACE_SYNC, .file = descriptor->file}, NULL, 0);
	}
	unlock();
	return result;
}

RECORD_API int fsync(int fd)
{
	load();
	return sync_file(fd, real.fsync);
}

RECORD_API int fdatasync(int fd)
{
	load();
	return sync_file(fd, real.fdatasync);
}

/* It promises nothing about the disk's cache and the size, so nothing is recorded. */
RECORD_API int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
	(void)fd;
	(void)offset;
	(void)size;
	(void)flags;
	return 0;
}

RECORD_API void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	const struct descriptor *descriptor;

	lock();
	descriptor = descriptor_of(fd);
	if (descriptor != NULL && (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0) {
		die("cannot record", "a writable map");
	}
	unlock();
	return real.mmap(at, size, protection, flags, fd, offset);
}

RECORD_API void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
	return mmap(at, size, protection, flags, fd, offset);
}

/* Writable maps are refused, so there is nothing to sync. */
RECORD_API int msync(void *at, size_t size, int flags)
{
	load();
	return real.msync(at, size, flags);
}

/* ---- Names that come and go ---- */

static int rename_at(int from_dir, const char *from, int to_dir, const char *to)
{
	char old_name[PATH_MAX], new_name[PATH_MAX], both[2 * TRACE_NAME_MAX];
	struct path *source, *target;
	bool watched;
	size_t size;
	int result;

	lock();
	watched = resolve(from_dir, from, old_name);
	if (watched != resolve(to_dir, to, new_name)) {
		die("cannot record a move out of the directory:", from);
	}
	result = real.renameat(from_dir, from, to_dir, to);
	if (result == 0 && watched) {
		size = (size_t)snprintf(both, sizeof(both), "%s", base_name(old_name)) + 1;
		size += (size_t)snprintf(
				both + size, sizeof(both) - size, "%s", base_name(new_name)) +
			1;
		put((struct trace_record){.type = TRACE_RENAME,
			    .file = parent_of(old_name),
			    .other = parent_of(new_name)},
			both, size);
		target = find_path(new_name);
		if (target != NULL) {
			drop_path(target);
		}
		source = find_path(old_name);
		if (source == NULL) {
			die("nobody made", old_name);
		}
		free(source->name);
		source->name = strdup(new_name);
	}
	unlock();
	return result;
}

RECORD_API int rename(const char *from, const char *to)
{
	return rename_at(AT_FDCWD, from, AT_FDCWD, to);
}

RECORD_API int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return rename_at(from_dir, from, to_dir, to);
}

static int unlink_at(int dir, const char *name, int flags)
{
	char path[PATH_MAX];
	struct path *gone;
	bool watched;
	int result;

	lock();
	watched = resolve(dir, name, path);
	result = real.unlinkat(dir, name, flags);
	if (result == 0 && watched) {
		gone = find_path(path);
		if (gone != NULL && !gone->ignored) {
			put((struct trace_record){.type = TRACE_UNLINK, .other = parent_of(path)},
				base_name(path), strlen(base_name(path)) + 1);
		}
		if (gone != NULL) {
			drop_path(gone);
		}
	}
	unlock();
	return result;
}

RECORD_API int unlink(const char *name)
{
	return unlink_at(AT_FDCWD, name, 0);
}

RECORD_API int unlinkat(int dir, const char *name, int flags)
{
	return unlink_at(dir, name, flags);
}

RECORD_API int mkdir(const char *name, mode_t mode)
{
	char path[PATH_MAX];
	bool watched;
	int result;

	lock();
	watched = resolve(AT_FDCWD, name, path);
	result = real.mkdir(name, mode);
	if (result == 0 && watched) {
		put((struct trace_record){.type = TRACE_MKDIR,
			    .file = add_path(path, recorder.next_file)->file,
			    .other = parent_of(path)},
			base_name(path), strlen(base_name(path)) + 1);
	}
	unlock();
	return result;
}

/* ---- Control ---- */

/* The names as the lives before left them. */
static void read_names(const char *trace_path)
{
	FILE *file = fopen(trace_path, "re");
	struct trace_record record;
	char data[2 * TRACE_NAME_MAX], name[PATH_MAX];

	(void)add_path(recorder.dir, TRACE_ROOT);
	while (file != NULL && fread(&record, sizeof(record), 1, file) == 1) {
		const char *dir = NULL;
		struct path *path;
		if (record.type != TRACE_MKDIR && record.type != TRACE_CREATE &&
			record.type != TRACE_RENAME && record.type != TRACE_UNLINK) {
			(void)fseek(file, record.data_bytes, SEEK_CUR);
			continue;
		}
		if (record.data_bytes > sizeof(data) ||
			fread(data, record.data_bytes, 1, file) != 1) {
			die("cannot read", trace_path);
		}
		for (size_t i = 0; i < recorder.path_count; i++) {
			if (recorder.paths[i].file == record.other) {
				dir = recorder.paths[i].name;
			}
		}
		(void)snprintf(name, sizeof(name), "%s/%s", dir, data);
		if (record.type == TRACE_MKDIR || record.type == TRACE_CREATE) {
			(void)add_path(name, record.file);
			continue;
		}
		path = find_path(name);
		if (record.type == TRACE_RENAME && path != NULL) {
			uint32_t number = path->file;
			drop_path(path);
			(void)snprintf(name, sizeof(name), "%s/%s", dir, data + strlen(data) + 1);
			path = find_path(name);
			if (path != NULL) {
				drop_path(path);
			}
			(void)add_path(name, number);
		} else if (path != NULL) {
			drop_path(path);
		}
	}
	if (file != NULL) {
		(void)fclose(file);
	}
}

void record_start(const char *dir, const char *trace_path)
{
	load();
	(void)snprintf(recorder.dir, sizeof(recorder.dir), "%s", dir);
	recorder.dir_size = strlen(recorder.dir);
	recorder.next_file = TRACE_ROOT + 1;
	read_names(trace_path);
	recorder.trace_fd = real.open(trace_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (recorder.trace_fd < 0) {
		die("cannot open", trace_path);
	}
	put((struct trace_record){.type = TRACE_LIFE}, NULL, 0);
}

void record_mark(const struct mark *mark)
{
	lock();
	if (recorder.trace_fd >= 0) {
		put((struct trace_record){.type = TRACE_MARK}, mark, sizeof(*mark));
	}
	unlock();
}

void record_fail_write(unsigned n, int errno_value)
{
	lock();
	recorder.fail_in = n;
	recorder.fail_errno = errno_value;
	unlock();
}

void record_end_after(unsigned n)
{
	lock();
	recorder.end_in = n;
	unlock();
}

void record_watch(void (*fn)(dev_t dev, ino_t ino, uint64_t offset, int64_t size))
{
	lock();
	recorder.watch = fn;
	unlock();
}
