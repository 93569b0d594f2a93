#include "protoc.h"
#include <annals/clock.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIR_BYTES_MAX 200

struct compilation {
	char dir[DIR_BYTES_MAX];
	char name[PROTOC_FILE_NAME_BYTES_MAX + 1];
	uint64_t deadline_ns;
	pid_t child;
	int output_fd;
};

/* ---- Files ---- */

static int name_check(struct bytes name, struct error *err)
{
	bool good = name.size > 0 && name.size <= PROTOC_FILE_NAME_BYTES_MAX &&
		    name.data[0] != '/' && name.data[0] != '-' && name.data[0] != '.';
	for (size_t i = 0; i < name.size && good; i++) {
		const uint8_t c = name.data[i];
		good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		       c == '_' || c == '-' || c == '.' || c == '/';
		/* No "..", no "." and no empty part. */
		good = good && !((c == '.' || c == '/') && name.data[i - 1] == '/');
	}
	good = good && name.data[name.size - 1] != '/';
	return good ? 0
		    : error_fail(err, ANNALS_E_INVALID,
			      "the name of a .proto file is relative, of letters, digits and ._/-, "
			      "with at most %u bytes",
			      PROTOC_FILE_NAME_BYTES_MAX);
}

static void path_of(const struct compilation *at, char *out, size_t size, const char *file)
{
	(void)snprintf(out, size, "%s/%s", at->dir, file);
}

static int write_file(const char *path, struct bytes data, struct error *err)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t done = 0;
	int status = fd < 0 ? -errno : 0;
	while (status == 0 && done < data.size) {
		const ssize_t written = write(fd, data.data + done, data.size - done);
		if (written >= 0) {
			done += (size_t)written;
		} else if (errno != EINTR) {
			status = -errno;
		}
	}
	if (fd >= 0 && close(fd) != 0 && status == 0) {
		status = -errno;
	}
	return status == 0 ? 0
			   : error_errno(err, ANNALS_E_IO, -status,
				     "cannot write a temporary file for the compiler");
}

/* The directories of the source's name: made, or removed again from the innermost one on. */
static int make_dirs(const struct compilation *at, struct error *err)
{
	char path[DIR_BYTES_MAX + PROTOC_FILE_NAME_BYTES_MAX + 8];
	path_of(at, path, sizeof(path), "src/");
	const size_t start = strlen(path);
	(void)snprintf(path + start, sizeof(path) - start, "%s", at->name);
	for (char *slash = path + start - 1; slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		const int failed = mkdir(path, 0700);
		*slash = '/';
		if (failed != 0) {
			return error_errno(err, ANNALS_E_IO, errno,
				"cannot make a temporary directory for the compiler");
		}
	}
	return 0;
}

static void remove_all(const struct compilation *at)
{
	char path[DIR_BYTES_MAX + PROTOC_FILE_NAME_BYTES_MAX + 8];
	static const char *const files[] = {"imports.pb", "out.pb"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(files); i++) {
		path_of(at, path, sizeof(path), files[i]);
		(void)unlink(path);
	}
	path_of(at, path, sizeof(path), "src/");
	const size_t start = strlen(path);
	(void)snprintf(path + start, sizeof(path) - start, "%s", at->name);
	(void)unlink(path);
	for (char *slash = strrchr(path, '/'); slash != NULL && slash >= path + start - 1;
		slash = strrchr(path, '/')) {
		*slash = 0;
		(void)rmdir(path);
	}
	(void)rmdir(at->dir);
}

/* What it may import: what it refers to, and what is built in. */
static int write_imports(
	const struct compilation *at, const struct registry_source *source, struct error *err)
{
	ANNALS_CLEANUP(buf_release) struct buf set = BUF_INIT;
	struct descriptor_pool *builtin = NULL;
	char path[DIR_BYTES_MAX + 32];
	int status = descriptor_pool_builtin(&builtin, err);
	if (status != 0) {
		return status;
	}
	status = registry_set_with(source->imports, builtin, &set);
	descriptor_pool_unref(builtin);
	if (status != 0) {
		return error_fail(err, status, "no memory for the compiler's imports");
	}
	path_of(at, path, sizeof(path), "imports.pb");
	return write_file(path, buf_bytes(&set), err);
}

static int write_all(
	struct compilation *at, const struct registry_source *source, struct error *err)
{
	const char *parent = getenv("TMPDIR");
	char path[DIR_BYTES_MAX + PROTOC_FILE_NAME_BYTES_MAX + 8];
	const int size = snprintf(at->dir, sizeof(at->dir), "%s/annals-protoc-XXXXXX",
		parent != NULL && parent[0] == '/' ? parent : "/tmp");
	if (size >= (int)sizeof(at->dir) || mkdtemp(at->dir) == NULL) {
		at->dir[0] = 0;
		return error_errno(err, ANNALS_E_IO, errno,
			"cannot make a temporary directory for the compiler");
	}
	int status = make_dirs(at, err);
	if (status == 0) {
		(void)snprintf(path, sizeof(path), "%s/src/%s", at->dir, at->name);
		status = write_file(path, source->text, err);
	}
	return status != 0 ? status : write_imports(at, source, err);
}

/* ---- The child ---- */

static void limit(pid_t child, __rlimit_resource_t resource, uint64_t value)
{
	const struct rlimit bound = {value, value};
	(void)prlimit(child, resource, &bound, NULL);
}

static int spawn_child(
	struct compilation *at, posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes)
{
	char imports[DIR_BYTES_MAX + 64], sources[DIR_BYTES_MAX + 64], out[DIR_BYTES_MAX + 64];
	(void)snprintf(imports, sizeof(imports), "--descriptor_set_in=%s/imports.pb", at->dir);
	(void)snprintf(sources, sizeof(sources), "-I%s/src", at->dir);
	(void)snprintf(out, sizeof(out), "--descriptor_set_out=%s/out.pb", at->dir);
	char program[] = "protoc";
	char include[] = "--include_imports";
	char *const arguments[] = {program, imports, sources, include, out, at->name, NULL};
	char language[] = "LC_ALL=C";
	char *const environment[] = {language, NULL};
	return posix_spawnp(&at->child, program, actions, attributes, arguments, environment);
}

static int start(struct compilation *at, struct error *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0) {
		return error_errno(err, ANNALS_E_IO, errno, "cannot start the compiler");
	}
	(void)sigemptyset(&none);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	(void)posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
	(void)posix_spawnattr_init(&attributes);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	const int failed = spawn_child(at, &actions, &attributes);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(fds[1]);
	if (failed != 0) {
		(void)close(fds[0]);
		at->child = 0;
		return failed == ENOENT || failed == EACCES
			       ? error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION,
					 "there is no 'protoc' to compile .proto text with; "
					 "install "
					 "it, or register a FileDescriptorSet")
			       : error_errno(err, ANNALS_E_IO, failed, "cannot start 'protoc'");
	}
	at->output_fd = fds[0];
	limit(at->child, RLIMIT_CPU, PROTOC_TIME_MS_MAX / 1000 + 1);
	limit(at->child, RLIMIT_AS, PROTOC_MEMORY_BYTES_MAX);
	limit(at->child, RLIMIT_FSIZE, PROTOC_DESCRIPTOR_BYTES_MAX);
	return 0;
}

/* Collects what it says until it closes its end; what is too much is dropped. */
static int collect(const struct compilation *at, struct buf *output)
{
	char piece[1024];
	for (;;) {
		const uint64_t now_ns = clock_monotonic_ns();
		struct pollfd poll_fd = {.fd = at->output_fd, .events = POLLIN};
		if (now_ns >= at->deadline_ns) {
			return ANNALS_E_TIMEOUT;
		}
		const int wait_ms = (int)((at->deadline_ns - now_ns) / 1000000 + 1);
		if (poll(&poll_fd, 1, wait_ms) <= 0) {
			continue;
		}
		const ssize_t size = read(at->output_fd, piece, sizeof(piece));
		if (size == 0 || (size < 0 && errno != EINTR)) {
			return 0;
		}
		if (size > 0 && output->size + (size_t)size <= PROTOC_OUTPUT_BYTES_MAX &&
			buf_add(output, piece, (size_t)size) != 0) {
			return ANNALS_E_NO_MEMORY;
		}
	}
}

/* Waits for the child and, when time is up, ends it with what it started. */
static int finish(struct compilation *at, bool ends, int *ret_wait_status)
{
	bool killed = false;
	for (;;) {
		if (!killed && (ends || clock_monotonic_ns() >= at->deadline_ns)) {
			killed = true;
			(void)kill(-at->child, SIGKILL);
			(void)kill(at->child, SIGKILL);
		}
		const pid_t done = waitpid(at->child, ret_wait_status, killed ? 0 : WNOHANG);
		if (done == at->child || (done < 0 && errno != EINTR)) {
			return killed && !ends ? ANNALS_E_TIMEOUT : 0;
		}
		if (done == 0) {
			(void)poll(NULL, 0, 2);
		}
	}
}

static int read_result(const struct compilation *at, struct buf *ret_set, struct error *err)
{
	char path[DIR_BYTES_MAX + 32];
	struct stat info;
	path_of(at, path, sizeof(path), "out.pb");
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	int status = fd < 0 || fstat(fd, &info) != 0 ? ANNALS_E_IO : 0;
	if (status == 0) {
		status = buf_reserve(ret_set, (size_t)info.st_size);
	}
	size_t left = status == 0 ? (size_t)info.st_size : 0;
	while (left > 0) {
		const ssize_t size = read(fd, ret_set->data + ret_set->size, left);
		if (size <= 0 && errno != EINTR) {
			status = ANNALS_E_IO;
			break;
		}
		ret_set->size += size > 0 ? (size_t)size : 0;
		left -= size > 0 ? (size_t)size : 0;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return status == 0 ? 0 : error_fail(err, status, "cannot read what the compiler wrote");
}

static int run(
	struct compilation *at, struct buf *ret_set, struct buf *ret_output, struct error *err)
{
	int wait_status = 0;
	int status = start(at, err);
	if (status != 0) {
		return status;
	}
	status = collect(at, ret_output);
	const int finished = finish(at, status != 0, &wait_status);
	(void)close(at->output_fd);
	status = status != 0 ? status : finished;
	if (status == ANNALS_E_TIMEOUT) {
		return error_fail(
			err, status, "the compiler took longer than %u ms", PROTOC_TIME_MS_MAX);
	}
	if (status != 0) {
		return error_fail(err, status, "%s", annals_status_text(status));
	}
	if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 127 && ret_output->size == 0) {
		return error_fail(err, ANNALS_E_UNSUPPORTED_OPERATION,
			"there is no 'protoc' to compile .proto text with; install it, or register "
			"a FileDescriptorSet");
	}
	if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
		const char *said = ret_output->size > 0 ? buf_text(ret_output) : NULL;
		return error_fail(err, ANNALS_E_VALIDATION, "the text does not compile: %.*s",
			said == NULL ? 0 : (int)strcspn(said, "\n"), said == NULL ? "" : said);
	}
	return read_result(at, ret_set, err);
}

int protoc_compile(void *arg, const struct registry_source *source, struct buf *ret_set,
	struct buf *ret_output, struct error *err)
{
	struct compilation at = {
		.deadline_ns = clock_monotonic_ns() + UINT64_C(1000000) * PROTOC_TIME_MS_MAX};
	(void)arg;
	int status = name_check(source->name, err);
	if (status != 0) {
		return status;
	}
	memcpy(at.name, source->name.data, source->name.size);
	status = write_all(&at, source, err);
	if (status == 0) {
		status = run(&at, ret_set, ret_output, err);
	}
	if (at.dir[0] != 0) {
		remove_all(&at);
	}
	return status;
}
