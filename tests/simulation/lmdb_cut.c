#include "lmdb_cut.h"

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

static struct {
	unsigned countdown;
	bool armed, dead, is_done;
} cut;

void lmdb_cut_arm(unsigned countdown, bool is_done)
{
	cut.countdown = countdown;
	cut.is_done = is_done;
	cut.armed = true;
	cut.dead = false;
}

void lmdb_cut_disarm(void)
{
	cut.armed = cut.dead = false;
}

bool lmdb_cut_is_dead(void)
{
	return cut.dead;
}

/* How a call ends: it works, it works and fails, or it fails. */
enum passing { PASS, PASS_AND_FAIL, FAIL };

static enum passing pass(void)
{
	if (cut.dead) {
		return FAIL;
	}
	if (!cut.armed || cut.countdown-- > 0) {
		return PASS;
	}
	cut.dead = true;
	return cut.is_done ? PASS_AND_FAIL : FAIL;
}

static ssize_t fail(void)
{
	errno = EIO;
	return -1;
}

/* The C library's names, whatever the size of off_t makes of them in this file. */
EXPORTED ssize_t cut_pwrite(int fd, const void *data, size_t size, off_t at) __asm__("pwrite");
EXPORTED ssize_t cut_writev(int fd, const struct iovec *iov, int count) __asm__("writev");
EXPORTED int cut_fdatasync(int fd) __asm__("fdatasync");
EXPORTED int cut_fsync(int fd) __asm__("fsync");
EXPORTED int cut_fallocate(int fd, int mode, off_t at, off_t size) __asm__("fallocate");
EXPORTED int cut_fallocate64(int fd, int mode, off_t at, off_t size) __asm__("fallocate64");

ssize_t cut_pwrite(int fd, const void *data, size_t size, off_t at)
{
	enum passing how = pass();
	ssize_t done = how == FAIL ? -1 : syscall(SYS_pwrite64, fd, data, size, at);

	return how == PASS ? done : fail();
}

ssize_t cut_writev(int fd, const struct iovec *iov, int count)
{
	enum passing how = pass();
	ssize_t done = how == FAIL ? -1 : syscall(SYS_writev, fd, iov, count);

	return how == PASS ? done : fail();
}

int cut_fdatasync(int fd)
{
	(void)fd;
	return pass() == PASS ? 0 : (int)fail();
}

int cut_fsync(int fd)
{
	(void)fd;
	return 0;
}

int cut_fallocate(int fd, int mode, off_t at, off_t size)
{
	(void)fd;
	(void)mode;
	(void)at;
	(void)size;
	return 0;
}

int cut_fallocate64(int fd, int mode, off_t at, off_t size)
{
	return cut_fallocate(fd, mode, at, size);
}
