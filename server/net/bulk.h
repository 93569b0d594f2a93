/*
 * Bulk: connections that take as much as they are given, replays above all. Beside appends on a
 * machine without a free processor they would take the loop's whole share of it, and what wakes for
 * an append then waits for its turn like any program that computes. So while a loop has appends and
 * its thread has lately had to wait for a processor, bulk gets half of the time, and it gives way
 * before each piece.
 *
 * Loop thread only. Fields of struct loop_bulk are private to bulk.c.
 */
#ifndef SERVER_NET_BULK_H
#define SERVER_NET_BULK_H

#include <annals/list.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_bulk {
	struct event *event;           /* when those that wait go on */
	struct list_node conns;        /* they, by conn.bulk_node */
	uint64_t foreground_ns;        /* when an append was last handed to storage */
	uint64_t refilled_ns;          /* when left_ns was last brought forward */
	int64_t left_ns;               /* bulk's time */
	int schedstat_fd;              /* of this thread; negative: not known */
	uint64_t looked_ns, waited_ns; /* at schedstat, and what it said */
	bool contended;
};

/* 0 or ANNALS_E_NO_MEMORY. Closing a zeroed one is harmless. */
int bulk_open(struct loop *loop);
void bulk_close(struct loop *loop);
/* An append was handed to storage. */
void bulk_foreground(struct loop *loop);
/* May bulk be produced now? When not, call bulk_wait(). */
bool bulk_may_run(struct loop *loop);
/* It took so long to produce; sending takes as long again. */
void bulk_charge(struct loop *loop, uint64_t ns);
/* The connection is touched when bulk may run again. `node` is in no other list. */
void bulk_wait(struct loop *loop, struct list_node *node);

#endif
