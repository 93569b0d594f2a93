/*
 * Delivery: consumer groups that the server keeps, over a store. Part of storage: the same rules
 * (see storage.h) for requests, threads and errors.
 *
 * A group takes events one of two ways, fixed when it is made:
 * - by event (a work queue): members poll and get leases with a deadline; they acknowledge, refuse
 * or extend them. Whatever is not acknowledged comes again; what failed too often is parked with
 * its reason and a copy. Events of a key are handed out one at a time and in order. A delivery is
 * counted and durable before the event leaves, so a crash of anybody never forgets one.
 * - by offset (a log): members join, get partitions and commit offsets; a generation that rises
 * with every change of members fences those who were replaced.
 *
 * One thread owns all groups. What it answers is durable: answers leave after the commit that holds
 * what they say.
 */
#ifndef ANNALS_DELIVERY_H
#define ANNALS_DELIVERY_H

#include <annals/storage.h>

struct delivery;

/* Loads all groups and starts the thread (none over a stepped store, whose caller gives delivery
 * its turns). ANNALS_E_NO_MEMORY, ANNALS_E_IO, ANNALS_E_CORRUPT_DATA. */
int delivery_open(struct store *store, struct delivery **ret, struct error *err) ANNALS_MUST_CHECK;
/* Before store_close(): answers what waits with ANNALS_E_UNAVAILABLE, stops the thread. NULL is a
 * no-op. */
void delivery_close(struct delivery *delivery);

/* ---- Groups ---- */

enum group_mode { GROUP_BY_EVENT = 1, GROUP_BY_OFFSET = 2 };
#define GROUP_TOPICS_MAX 64u
#define GROUPS_MAX 10000u
#define MEMBER_NAME_MAX 249u
#define REASON_BYTES_MAX 512u
#define LEASE_US_MIN UINT64_C(1000)
#define LEASE_US_MAX (UINT64_C(12) * 3600 * 1000000)
#define DELAY_US_MAX (UINT64_C(30) * 24 * 3600 * 1000000)

struct group_config {
	enum group_mode mode;
	uint32_t topic_count; /* by event: 1 to GROUP_TOPICS_MAX; by offset: 0 */
	uint32_t topic_ids[GROUP_TOPICS_MAX];
	uint64_t lease_us;     /* of polls that do not say; default 30 s */
	uint32_t attempts_max; /* deliveries before an event is parked; 0: no limit; default 10 */
	uint64_t backoff_first_us, backoff_max_us; /* after refusals; 1 s doubling to 5 min */
	bool parked_pass; /* events behind a parked one of their key are delivered; default: wait */
	uint64_t parked_bytes_max; /* copies of parked events; above it the group hands out nothing;
				      default 64 MiB */
	uint64_t session_us;       /* by offset: a member that is silent so long is out; 30 s */
};
void group_config_init(struct group_config *config, enum group_mode mode);

/* DEFAULT: the settings' */
enum delivery_operation {
	DELIVERY_GROUP_PUT, /* create, or change all but the mode (ANNALS_E_GROUP_MODE) */
	DELIVERY_GROUP_DELETE,
	DELIVERY_GROUP_DESCRIBE,
	DELIVERY_GROUP_LIST,
	DELIVERY_POLL,
	DELIVERY_SETTLE, /* acknowledge, refuse, extend */
	DELIVERY_TRANSACT,
	DELIVERY_SEEK,
	DELIVERY_PARKED_LIST,
	DELIVERY_PARKED_REPLAY,
	DELIVERY_PARKED_DROP,
	DELIVERY_EXPLAIN,
	DELIVERY_CHECKPOINT_GET,
	DELIVERY_JOIN,
	DELIVERY_HEARTBEAT,
	DELIVERY_LEAVE,
	DELIVERY_COMMIT,
	DELIVERY_OPERATIONS
};

/* The first member of every request. `base` is as in storage.h; base.operation is not used. */
struct delivery_request {
	struct store_request base;
	enum delivery_operation operation;
	char group[GROUP_NAME_MAX + 1];
	/* private */
	struct list_node waiting; /* polls */
	bool is_cancelled;        /* while it was worked on */
};
/*
 * Hands a request over; it comes back through base.queue, always, exactly once.
 * ANNALS_E_UNAVAILABLE (closing, or storage failed) and ANNALS_E_OVERLOADED (65,536 requests wait):
 * not taken. Every operation can come back with ANNALS_E_INVALID, UNKNOWN_GROUP, GROUP_MODE,
 * UNAVAILABLE, NO_MEMORY, OUTCOME_UNKNOWN besides what it names.
 */
int delivery_submit(struct delivery *delivery, struct delivery_request *request,
	struct error *err) ANNALS_MUST_CHECK;
/* Takes a waiting poll back: true when it is the caller's again, and nothing was leased. Else it
 * comes back soon, without waiting any longer, and may have leased. */
bool delivery_cancel(struct delivery *delivery, struct delivery_request *request);

/* Any thread, at once: the group's mode, 0 if there is none. */
int delivery_group_mode(struct delivery *delivery, struct bytes group);

enum group_start { GROUP_START_EARLIEST, GROUP_START_LATEST };
struct group_put_request { /* DELIVERY_GROUP_PUT */
	struct delivery_request delivery;
	struct group_config config; /* what it is now, when it came back */
	enum group_start start;     /* of topics that are new to the group */
	/* results */
	bool created;
};

struct group_partition_info {
	uint32_t topic_id, partition, epoch;
	uint64_t cursor; /* everything below was handed out, or waits, or is finished */
	uint64_t floor;  /* everything below is finished or parked */
	uint64_t end;
	uint64_t leased, ready, delayed, waiting, parked;
	uint64_t gone; /* retention removed so many before they were handled */
	uint64_t lag;  /* events not finished, parked ones apart */
	bool is_full;  /* the window of unfinished events is full: no new ones */
};
struct group_member_info {
	char member[MEMBER_NAME_MAX + 1];
	uint64_t joined_us, seen_us;
	uint32_t partitions;
};
struct group_info {
	char name[GROUP_NAME_MAX + 1];
	struct group_config config;
	uint64_t created_us;
	uint64_t lag, lag_us; /* lag_us: age of the oldest event that is not finished, over the
				 first 16 partitions that lag */
	uint64_t leased, ready, delayed, waiting, parked, parked_bytes, gone;
	uint64_t deliveries, redeliveries, acknowledged, refused, expired,
		parked_total; /* since the server started */
	uint64_t waiting_polls;
	bool is_paused; /* parked_bytes_max is reached */
	uint32_t generation;
	uint32_t member_count;
};
struct group_describe_request { /* DELIVERY_GROUP_DESCRIBE, _DELETE (no results), _LIST (all groups,
				   without partitions, members and lag_us; no group) */
	struct delivery_request delivery;
	/* results; malloc'ed, the caller's: group_describe_release() */
	struct group_info *groups;
	size_t group_count;
	struct group_partition_info *partitions;
	size_t partition_count;
	struct group_member_info *members;
	size_t member_count;
};
void group_describe_release(struct group_describe_request *request);

/* ---- By event ---- */

struct delivered_event {
	uint32_t topic_id, partition;
	uint64_t offset, position, recorded_us;
	uint64_t version; /* in its stream, or VERSION_NONE */
	uint64_t lease;
	uint64_t deadline_us; /* wall clock */
	uint32_t attempt;     /* 1 is the first */
	size_t at, size;      /* of the encoded event in `bytes` */
};
#define POLL_EVENTS_MAX 1000u
#define POLL_BYTES_MAX (4u << 20)
struct poll_request { /* DELIVERY_POLL */
	struct delivery_request delivery;
	char member[MEMBER_NAME_MAX + 1];
	uint32_t events_max; /* 1 to POLL_EVENTS_MAX */
	uint32_t bytes_max;  /* 0 = 1 MiB; at least one event comes whatever its size */
	uint64_t lease_us;   /* 0 = the group's */
	uint64_t wait_us;    /* for the first event; at most 60 s is honoured */
	/* Leases the member may hold in this group at a time, those of earlier polls counted; a
	 * poll of a member that holds so many waits until one ends. 0: any number. */
	uint32_t held_max;
	/* results; malloc'ed, the caller's: poll_request_release() */
	struct delivered_event *events;
	size_t event_count, event_capacity;
	struct buf bytes;
	bool is_paused;
	bool is_full; /* nothing came because the member holds held_max leases */
	/* private */
	uint64_t deadline_us;
};
void poll_request_release(struct poll_request *request);

/* RETURN: as REFUSE, but the delivery does not count as an attempt: who it was for could not take
 * it. */
enum settle_kind { SETTLE_ACKNOWLEDGE, SETTLE_REFUSE, SETTLE_EXTEND, SETTLE_PARK, SETTLE_RETURN };
struct settle_entry {
	uint32_t topic_id, partition;
	uint64_t offset, lease;
	int status; /* result: 0, ANNALS_E_LEASE_LOST, ANNALS_E_UNKNOWN_TOPIC,
		       ANNALS_E_UNKNOWN_PARTITION */
};
#define SETTLE_ENTRIES_MAX 1000u
struct settle_request { /* DELIVERY_SETTLE: each entry for itself; the request's status is 0 */
	struct delivery_request delivery;
	enum settle_kind kind;
	uint64_t time_us; /* refuse, return: delay, UINT64_MAX = the group's back-off; extend: from
			     now, 0 = the group's */
	struct bytes reason; /* refuse, return, park: at most REASON_BYTES_MAX are kept; borrowed */
	struct settle_entry *entries; /* borrowed */
	size_t entry_count;
	/* results */
	size_t lost_count; /* entries with another status than 0 */
};

/*
 * DELIVERY_TRANSACT: acknowledges all the entries, runs the append and stores the checkpoint in one
 * commit, or does nothing. ANNALS_E_LEASE_LOST (entries say which), ANNALS_E_TOO_LARGE, and
 * everything that the append can fail with. Its topic must be of the same shard.
 */
#define CHECKPOINT_BYTES_MAX ROW_VALUE_BYTES_MAX
#define CHECKPOINT_NAME_MAX 200u
struct transact_request {
	struct delivery_request delivery;
	struct settle_entry *entries; /* borrowed; at most SETTLE_ENTRIES_MAX */
	size_t entry_count;
	struct bytes checkpoint_name; /* borrowed; empty: none is stored */
	struct bytes checkpoint;
	/* As for STORE_APPEND but for rows, row_count and base, which delivery sets; NULL: nothing
	 * is appended. Its results are there when the request comes back. */
	struct append_request *append;
	/* private */
	struct rows_request rows;
	struct row_change *changes;
	struct buf bytes;
	size_t change_count;
	bool rows_alone; /* the append was a repeat: the rows go by themselves */
};
struct checkpoint_request { /* DELIVERY_CHECKPOINT_GET; ANNALS_E_NOT_FOUND */
	struct delivery_request delivery;
	struct bytes name; /* borrowed */
	struct buf value;  /* result, appended */
};

enum seek_target { SEEK_EARLIEST, SEEK_LATEST, SEEK_OFFSET, SEEK_TIME };
struct seek_request { /* DELIVERY_SEEK: leases end, attempts start anew, parked events stay */
	struct delivery_request delivery;
	enum seek_target target;
	uint64_t value;     /* offset, or microseconds since 1970 */
	uint32_t topic_id;  /* 0: all of the group's; SEEK_OFFSET needs one */
	uint32_t partition; /* UINT32_MAX: all; SEEK_OFFSET needs one */
	bool dry_run;
	/* results */
	uint64_t partitions, leases; /* moved, and ended */
	uint64_t again, skipped;     /* events that come again, and that never come, about */
};

struct parked_info {
	uint32_t topic_id, partition;
	uint64_t offset, parked_us, position, recorded_us;
	uint32_t deliveries;
	char member[MEMBER_NAME_MAX + 1]; /* who had it last */
	char reason[REASON_BYTES_MAX + 1];
	size_t at, size; /* of the encoded event in `bytes` */
};
#define PARKED_PAGE_MAX 1000u
struct parked_request { /* DELIVERY_PARKED_LIST, _REPLAY, _DROP */
	struct delivery_request delivery;
	/* Which: after this place (list), or exactly this one (has_offset), or all of a topic
	 * (topic_id), or all. */
	uint32_t topic_id, partition;
	uint64_t offset;
	bool has_place; /* topic_id, partition and offset are given */
	uint32_t limit; /* list: 1 to PARKED_PAGE_MAX; replay, drop: 0 = 10,000 */
	bool dry_run;   /* replay, drop: only count */
	/* results */
	struct parked_info *parked; /* malloc'ed: parked_request_release() */
	size_t parked_count;
	struct buf bytes;
	uint64_t count; /* replayed or dropped (or would be); list: of all parked */
};
void parked_request_release(struct parked_request *request);

enum attempt_outcome {
	ATTEMPT_LEASED, /* goes on */
	ATTEMPT_ACKNOWLEDGED,
	ATTEMPT_REFUSED,
	ATTEMPT_EXPIRED, /* the deadline passed */
	ATTEMPT_FENCED,  /* by seeking */
	ATTEMPT_GONE,    /* retention removed the event */
	ATTEMPT_LEFT,    /* its member left */
};
struct attempt_info {
	uint32_t number; /* 1 is the first */
	enum attempt_outcome outcome;
	uint64_t leased_us, deadline_us, ended_us; /* ended: 0 while it goes on */
	char member[MEMBER_NAME_MAX + 1];
	char reason[REASON_BYTES_MAX + 1];
};
/* The last so many failed attempts of an event that is not finished are kept, and the last
 * FINISHED_KEPT events of a group that were acknowledged (in memory). */
#define ATTEMPTS_KEPT 16u
#define FINISHED_KEPT 4096u
enum explain_state {
	EXPLAIN_UNREAD, /* the group has not come to it */
	EXPLAIN_READY,
	EXPLAIN_LEASED,
	EXPLAIN_DELAYED,
	EXPLAIN_WAITING,
	EXPLAIN_PARKED,
	EXPLAIN_FINISHED
};
struct explain_request { /* DELIVERY_EXPLAIN; ANNALS_E_OFFSET_BEYOND_END */
	struct delivery_request delivery;
	uint32_t topic_id, partition;
	uint64_t offset;
	/* results */
	enum explain_state state;
	uint64_t due_us; /* LEASED: its end, DELAYED: when it comes again */
	uint32_t deliveries, attempts;
	struct attempt_info attempts_kept[ATTEMPTS_KEPT + 1];
	size_t attempt_count;
};

/* ---- By offset ---- */

struct assigned_partition {
	uint32_t topic_id, partition;
};
/*
 * DELIVERY_JOIN (member empty: it gets a name; joining again with a name begins anew, perhaps with
 * other topics, and fences the earlier process), DELIVERY_HEARTBEAT (ANNALS_E_UNKNOWN_MEMBER: join
 * again), DELIVERY_LEAVE (also by event: gives back the member's leases). A group by offset is made
 * by its first member. Every answer holds the current generation and what the member has in it:
 * partitions stay where they are as far as a fair share allows.
 *
 * A partition that moves stays with its holder until a heartbeat names a generation whose answer
 * did not list it: then the holder has committed what it will, and the next one goes on there. A
 * heartbeat of generation 0 lets go at once of all that its answer does not list. A holder that
 * does not let go for as long as its session loses the partition all the same.
 */
struct member_request {
	struct delivery_request delivery;
	char member[MEMBER_NAME_MAX + 1];
	uint64_t session_us; /* join: 0 = the group's; 1 s to 1 h */
	uint32_t topic_ids[GROUP_TOPICS_MAX];
	uint32_t topic_count;
	uint32_t generation; /* heartbeat: the last one acted on, or 0; result: the current one */
	/* results */
	uint32_t pending; /* partitions it will have when others have let go of them */
	struct assigned_partition *assigned; /* malloc'ed: member_request_release() */
	size_t assigned_count;
	uint64_t released; /* leave, by event: leases given back */
};
void member_request_release(struct member_request *request);
/* DELIVERY_COMMIT: ANNALS_E_FENCED when the member does not have one of the partitions since a
 * generation up to this one, or when no member is named and the group has some;
 * ANNALS_E_UNKNOWN_MEMBER, and what STORE_OFFSET_COMMIT answers. */
struct member_commit_request {
	struct delivery_request delivery;
	char member[MEMBER_NAME_MAX + 1];
	uint32_t generation;
	struct offset_request
		*commit; /* filled as for STORE_OFFSET_COMMIT but for base; borrowed */
};

/* ---- Figures ---- */

/* Any thread: calls fn for every group with what was last published (at most a second old); without
 * lag_us. */
int delivery_stats(struct delivery *delivery, int (*fn)(void *arg, const struct group_info *info),
	void *arg) ANNALS_MUST_CHECK;
struct group_lag {
	char name[GROUP_NAME_MAX + 1];
	uint64_t lag;    /* events not finished (parked ones apart), or not committed */
	uint64_t lag_us; /* age of the oldest of them, over the first 16 partitions that lag */
};
/* Any thread: calls fn for every group by event and 1,000 by offset (also those that only commit)
 * with what was last looked at: every 5 s, or less often when that takes more than 0.25 s. Ages
 * are of the first 2,048 partitions that lag. ANNALS_E_NO_MEMORY. */
int delivery_lags(struct delivery *delivery, int (*fn)(void *arg, const struct group_lag *lag),
	void *arg) ANNALS_MUST_CHECK;

#endif
