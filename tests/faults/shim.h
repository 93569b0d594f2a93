/*
 * Makes the n-th system call or allocation of a kind fail, in this process or in another one.
 *
 * shim.c defines the libc functions themselves. Linked into a program it stands before libc for the
 * program and all its libraries; built as a shared library and preloaded it does the same for a
 * program that knows nothing of it. In the second case ANNALS_SHIM names a file that holds a struct
 * shim_control, which both sides map.
 *
 * The kernel is called directly: no fault reaches libc's own internal calls.
 */
#ifndef ANNALS_TEST_SHIM_H
#define ANNALS_TEST_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum shim_call {
	SHIM_OPEN, /* open, openat */
	SHIM_READ, /* read, pread, readv */
	SHIM_WRITE,
	SHIM_PWRITE,
	SHIM_WRITEV,
	SHIM_PWRITEV,
	SHIM_FSYNC,
	SHIM_FDATASYNC,
	SHIM_FTRUNCATE,
	SHIM_FALLOCATE, /* fallocate, posix_fallocate */
	SHIM_RENAME,
	SHIM_UNLINK,
	SHIM_MMAP,
	SHIM_ACCEPT, /* accept, accept4 */
	SHIM_RECV,   /* recv, recvmsg */
	SHIM_SEND,   /* send, sendmsg */
	SHIM_SOCKET,
	SHIM_CONNECT,
	SHIM_EPOLL, /* epoll_ctl, epoll_wait */
	SHIM_ALLOC, /* malloc, calloc, realloc; NULL whatever the effect; not in sanitized builds */
	SHIM_CALLS
};

/* What an armed call does: an errno value, or */
#define SHIM_SHORT (-1) /* only the first half is read or written, at least one byte */

struct shim_control {
	/* written by the test before `armed` */
	_Atomic int call;   /* enum shim_call */
	_Atomic int effect; /* an errno or SHIM_SHORT */
	_Atomic uint32_t first, times;
	_Atomic bool armed;
	/* written by the shim */
	_Atomic uint32_t passed, fired;
	_Atomic uint32_t counts[SHIM_CALLS]; /* all calls, armed or not */
	char fired_path[128];                /* of the descriptor of the last call that failed */
};

/* The process's own. */
struct shim_control *shim_control(void);
/* From now on the n-th call (from 1) fails, and the times - 1 after it. */
void shim_arm(
	struct shim_control *control, enum shim_call call, int effect, uint32_t n, uint32_t times);
void shim_disarm(struct shim_control *control);
/* This thread is left alone: a test's own code. Nests. */
void shim_exempt(int by);
const char *shim_call_name(enum shim_call call);
const char *shim_effect_name(int effect);

#endif
