/*
 * Members of a group by event in a simulation: they poll, acknowledge, refuse, park, extend and
 * forget, and everything they are told is compared with what they were told before:
 *
 *   I1  no event that is kept is forgotten: at the end each was acknowledged or is parked
 *   I2  an event has the same bytes every time, parked ones too
 *   I6  only visible events are handed out
 *   I11 nothing is parked that nobody gave up, and nothing without a reason; every delivery counts
 *   I13 what was acknowledged or parked is not handed out again
 *   I14 an event has one holder at a time, over restarts too; a holder in time is believed
 *
 * One thread; the delivery of a stepped store.
 */
#ifndef ANNALS_TEST_SIMULATION_WORKERS_H
#define ANNALS_TEST_SIMULATION_WORKERS_H

#include <annals/hash.h>
#include <annals/storage.h>

#define WORKERS_LOGS 4u

/* What they need of the simulation. */
struct workers_host {
	struct random *random;
	struct store *store;
	uint32_t topic_ids[2];
	/* Where trims were asked for: below it everything is excused. */
	uint64_t (*trim_asked)(unsigned log);
	uint64_t (*now_us)(void);
	void (*advance_us)(uint64_t us);
	__attribute__((format(printf, 1, 2), noreturn)) void (*fail)(const char *format, ...);
};

void workers_init(const struct workers_host *host);
void workers_release(void);
/* After the store was opened. `is_first`: makes the group, which must work. */
void workers_open(struct store *store, bool is_first);
/* Somebody asks for something. */
void workers_ask(void);
/* A turn of delivery, and what was answered. */
void workers_turn(void);
/* Compares the parked events; only of a store that works. */
void workers_judge(void);
/* Everything there is is handled, and nothing has been forgotten. */
void workers_drain(void);
/* Before the store is closed, on a disk that takes nothing any more. */
void workers_close(void);

#endif
