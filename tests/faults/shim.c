/* Both names of each function are defined here, so neither may be redirected to the other. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#define EXPORT __attribute__((visibility("default")))

static struct shim_control own;
static _Atomic(struct shim_control *) shared;
static __thread int exempt __attribute__((tls_model("initial-exec")));

struct shim_control *shim_control(void)
{
	struct shim_control *control = shared;
	return control != NULL ? control : &own;
}

__attribute__((constructor)) static void attach(void)
{
	const char *path = getenv("ANNALS_SHIM");
	void *map;
	long fd;
	if (path == NULL) {
		return;
	}
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0) {
		abort();
	}
	map = (void *)syscall(SYS_mmap, NULL, sizeof(struct shim_control), PROT_READ | PROT_WRITE,
		MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		abort();
	}
	(void)syscall(SYS_close, fd);
	shared = map;
}

void shim_arm(
	struct shim_control *control, enum shim_call call, int effect, uint32_t n, uint32_t times)
{
	control->armed = false;
	control->call = (int)call;
	control->effect = effect;
	control->first = n;
	control->times = times;
	control->passed = 0;
	control->fired = 0;
	control->fired_path[0] = 0;
	control->armed = true;
}

void shim_disarm(struct shim_control *control)
{
	control->armed = false;
}

void shim_exempt(int by)
{
	exempt += by;
}

const char *shim_call_name(enum shim_call call)
{
	static const char *const names[SHIM_CALLS] = {"open", "read", "write", "pwrite", "writev",
		"pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "rename", "unlink",
		"mmap", "accept", "recv", "send", "socket", "connect", "epoll", "alloc"};
	return call < SHIM_CALLS ? names[call] : "?";
}

const char *shim_effect_name(int effect)
{
	return effect == SHIM_SHORT ? "short" : strerrorname_np(effect);
}

static void note_path(struct shim_control *control, int fd)
{
	char link[32];
	long size;
	if (fd < 0) {
		return;
	}
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	size = syscall(SYS_readlink, link, control->fired_path, sizeof(control->fired_path) - 1);
	control->fired_path[size > 0 ? size : 0] = 0;
}

/* 0, or what this call is to do. */
static int effect_of(enum shim_call call, int fd)
{
	struct shim_control *control = shim_control();
	uint32_t passed;
	if (exempt > 0) {
		return 0;
	}
	control->counts[call]++;
	if (!control->armed || control->call != (int)call) {
		return 0;
	}
	passed = atomic_fetch_add(&control->passed, 1) + 1;
	if (passed < control->first || passed - control->first >= control->times) {
		return 0;
	}
	if (call != SHIM_ALLOC) {
		note_path(control, fd);
	}
	control->fired++;
	return control->effect;
}

/* Sets errno and returns true when the call has to fail. */
static bool fails(int effect)
{
	if (effect > 0) {
		errno = effect;
	}
	return effect > 0;
}

static size_t limited(size_t size, int effect)
{
	return effect == SHIM_SHORT && size > 1 ? size / 2 : size;
}

static int limited_vector(const struct iovec *vector, int count, int effect, struct iovec out[1])
{
	if (effect != SHIM_SHORT) {
		return count;
	}
	for (int i = 0; i < count; i++) {
		if (vector[i].iov_len > 0) {
			out[0] = vector[i];
			out[0].iov_len = limited(vector[i].iov_len, effect);
			return 1;
		}
	}
	return count;
}

/* ---- Files ---- */

static int open_at(int dir, const char *path, int flags, int mode)
{
	if (fails(effect_of(SHIM_OPEN, -1))) {
		return -1;
	}
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define OPEN_MODE(flags)                                                                           \
	int mode = 0;                                                                              \
	if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                              \
		va_list arguments;                                                                 \
		va_start(arguments, flags);                                                        \
		mode = va_arg(arguments, int);                                                     \
		va_end(arguments);                                                                 \
	}

EXPORT int open(const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_at(AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_at(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_at(dir, path, flags, mode);
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_at(dir, path, flags, mode);
}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
EXPORT int __open_2(const char *path, int flags)
{
	return open_at(AT_FDCWD, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return open_at(AT_FDCWD, path, flags, 0);
}

EXPORT int __openat_2(int dir, const char *path, int flags)
{
	return open_at(dir, path, flags, 0);
}

EXPORT int __openat64_2(int dir, const char *path, int flags)
{
	return open_at(dir, path, flags, 0);
}

EXPORT ssize_t read(int fd, void *data, size_t size)
{
	int effect = effect_of(SHIM_READ, fd);
	return fails(effect) ? -1 : syscall(SYS_read, fd, data, limited(size, effect));
}

EXPORT ssize_t pread(int fd, void *data, size_t size, off_t at)
{
	int effect = effect_of(SHIM_READ, fd);
	return fails(effect) ? -1 : syscall(SYS_pread64, fd, data, limited(size, effect), at);
}

EXPORT ssize_t pread64(int fd, void *data, size_t size, off64_t at)
{
	return pread(fd, data, size, at);
}

EXPORT ssize_t readv(int fd, const struct iovec *vector, int count)
{
	struct iovec one[1];
	int effect = effect_of(SHIM_READ, fd);
	if (fails(effect)) {
		return -1;
	}
	count = limited_vector(vector, count, effect, one);
	return syscall(SYS_readv, fd, effect == SHIM_SHORT ? one : vector, count);
}

ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
ssize_t __pread_chk(int fd, void *data, size_t size, off_t at, size_t room);
ssize_t __pread64_chk(int fd, void *data, size_t size, off64_t at, size_t room);
ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
EXPORT ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
	(void)room;
	return read(fd, data, size);
}

EXPORT ssize_t __pread_chk(int fd, void *data, size_t size, off_t at, size_t room)
{
	(void)room;
	return pread(fd, data, size, at);
}

EXPORT ssize_t __pread64_chk(int fd, void *data, size_t size, off64_t at, size_t room)
{
	(void)room;
	return pread(fd, data, size, at);
}

EXPORT ssize_t write(int fd, const void *data, size_t size)
{
	int effect = effect_of(SHIM_WRITE, fd);
	return fails(effect) ? -1 : syscall(SYS_write, fd, data, limited(size, effect));
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
	int effect = effect_of(SHIM_PWRITE, fd);
	return fails(effect) ? -1 : syscall(SYS_pwrite64, fd, data, limited(size, effect), at);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	return pwrite(fd, data, size, at);
}

EXPORT ssize_t writev(int fd, const struct iovec *vector, int count)
{
	struct iovec one[1];
	int effect = effect_of(SHIM_WRITEV, fd);
	if (fails(effect)) {
		return -1;
	}
	count = limited_vector(vector, count, effect, one);
	return syscall(SYS_writev, fd, effect == SHIM_SHORT ? one : vector, count);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t at)
{
	struct iovec one[1];
	int effect = effect_of(SHIM_PWRITEV, fd);
	if (fails(effect)) {
		return -1;
	}
	count = limited_vector(vector, count, effect, one);
	return syscall(SYS_pwritev, fd, effect == SHIM_SHORT ? one : vector, count, at, 0L);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t at)
{
	return pwritev(fd, vector, count, at);
}

EXPORT int fsync(int fd)
{
	return fails(effect_of(SHIM_FSYNC, fd)) ? -1 : (int)syscall(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd)
{
	return fails(effect_of(SHIM_FDATASYNC, fd)) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

EXPORT int ftruncate(int fd, off_t size)
{
	return fails(effect_of(SHIM_FTRUNCATE, fd)) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t size)
{
	return fails(effect_of(SHIM_FALLOCATE, fd))
		       ? -1
		       : (int)syscall(SYS_fallocate, fd, mode, at, size);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
	return fallocate(fd, mode, at, size);
}

EXPORT int posix_fallocate(int fd, off_t at, off_t size)
{
	return fallocate(fd, 0, at, size) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate64(int fd, off64_t at, off64_t size)
{
	return posix_fallocate(fd, at, size);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return fails(effect_of(SHIM_RENAME, -1))
		       ? -1
		       : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

EXPORT int unlinkat(int dir, const char *path, int flags)
{
	return fails(effect_of(SHIM_UNLINK, -1)) ? -1
						 : (int)syscall(SYS_unlinkat, dir, path, flags);
}

EXPORT int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

/* Only of files: what libraries map for themselves is memory, see SHIM_ALLOC. */
EXPORT void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	if (fd >= 0 && fails(effect_of(SHIM_MMAP, fd))) {
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

EXPORT void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
	return mmap(at, size, protection, flags, fd, offset);
}

/* ---- Sockets ---- */

EXPORT int socket(int family, int type, int protocol)
{
	return fails(effect_of(SHIM_SOCKET, -1)) ? -1
						 : (int)syscall(SYS_socket, family, type, protocol);
}

EXPORT int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size)
{
	return fails(effect_of(SHIM_CONNECT, fd))
		       ? -1
		       : (int)syscall(SYS_connect, fd, address.__sockaddr__, size);
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *size, int flags)
{
	return fails(effect_of(SHIM_ACCEPT, fd))
		       ? -1
		       : (int)syscall(SYS_accept4, fd, address.__sockaddr__, size, flags);
}

EXPORT int accept(int fd, __SOCKADDR_ARG address, socklen_t *size)
{
	return accept4(fd, address, size, 0);
}

EXPORT ssize_t recv(int fd, void *data, size_t size, int flags)
{
	int effect = effect_of(SHIM_RECV, fd);
	return fails(effect)
		       ? -1
		       : syscall(SYS_recvfrom, fd, data, limited(size, effect), flags, NULL, NULL);
}

EXPORT ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags)
{
	(void)room;
	return recv(fd, data, size, flags);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return fails(effect_of(SHIM_RECV, fd)) ? -1 : syscall(SYS_recvmsg, fd, message, flags);
}

EXPORT ssize_t send(int fd, const void *data, size_t size, int flags)
{
	int effect = effect_of(SHIM_SEND, fd);
	return fails(effect) ? -1
			     : syscall(SYS_sendto, fd, data, limited(size, effect), flags, NULL, 0);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct msghdr copy = *message;
	struct iovec one[1];
	int effect = effect_of(SHIM_SEND, fd);
	if (fails(effect)) {
		return -1;
	}
	if (effect == SHIM_SHORT) {
		copy.msg_iovlen = (size_t)limited_vector(
			message->msg_iov, (int)message->msg_iovlen, effect, one);
		copy.msg_iov = one;
	}
	return syscall(SYS_sendmsg, fd, &copy, flags);
}

/* The kernel interrupts only the wait, and lacks memory only for a registration. */
EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	return operation != EPOLL_CTL_DEL && shim_control()->effect != EINTR &&
			       fails(effect_of(SHIM_EPOLL, fd))
		       ? -1
		       : (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

EXPORT int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
	return shim_control()->effect == EINTR && fails(effect_of(SHIM_EPOLL, -1))
		       ? -1
		       : (int)syscall(SYS_epoll_pwait, epoll, events, count, timeout_ms, NULL, 0);
}

/* ---- Memory ---- */

#ifndef SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static bool no_memory(void)
{
	if (effect_of(SHIM_ALLOC, -1) == 0) {
		return false;
	}
	errno = ENOMEM;
	return true;
}

EXPORT void *malloc(size_t size)
{
	return no_memory() ? NULL : __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
	return no_memory() ? NULL : __libc_calloc(count, size);
}

EXPORT void *realloc(void *old, size_t size)
{
	return no_memory() ? NULL : __libc_realloc(old, size);
}
#endif
