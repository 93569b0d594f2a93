#include <annals/hash.h>
#include <stdlib.h>
#include <unistd.h>

#include "history_sim.h"
#include "history_text.h"
#include "suite.h"

static char path[] = "/tmp/annals-checker-XXXXXX";
static int fd;
static struct checker_report report;

static void setup(void)
{
	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
}

static void teardown(void)
{
	(void)close(fd);
	(void)unlink(path);
}

#define BIT(invariant) (1u << CHECKER_##invariant)

static unsigned violated(void)
{
	unsigned bits = 0;
	for (unsigned i = 0; i < CHECKER_INVARIANT_COUNT; i++) {
		bits |= report.invariants[i].violations > 0 ? 1u << i : 0;
	}
	return bits;
}

/* Bad histories: what they break first, and what may be reported besides because it follows. */
static const struct bad {
	const char *name;
	unsigned wanted, also;
	const char *text;
} bad[] = {
	{"I1 acknowledged, then lost at the end after a kill", BIT(I1), 0,
		"1 10-20 append p0 @0 11 12 13\n"
		"9 30-30 server killed\n"
		"2 40-50 read p0 @0 11 12 end2\n"},
	{"I1 acknowledged, then nothing is there at all", BIT(I1), 0,
		"1 10-20 append p0 @0 11\n2 40-50 read p0 @0 end0\n"},
	{"I1 read back with other bytes", BIT(I1), BIT(I6),
		"1 10-20 append p0 @0 11 12\n2 40-50 read p0 @0 11 99 end2\n"},
	{"I1 another event took the lost one's offset", BIT(I1), BIT(I2) | BIT(I8),
		"1 10-20 append p0 @0 11\n1 40-50 append p0 @0 21\n2 60-70 read p0 @0 21 end1\n"},
	{"I1 acknowledged before the flush and gone much later", BIT(I1), 0,
		"1 10-20 append os p0 @0 11\n2 5000-5001 read p0 @0 end0\n"},
	{"I1 left out of a read as unreadable", BIT(I1), 0,
		"1 10-20 append p0 @0 11 12 13\n"
		"2 40-50 read p0 @0 11 | @1 count1 hole | @2 13 end3\n"},
	{"I1 a stream's acknowledged version is lost", BIT(I1), 0,
		"1 10-20 append p0 @0 key7 ver0 11 12\n2 40-50 read p0 key7 ver0 11 end1\n"},
	{"I2 two appends at one offset", BIT(I2), 0,
		"1 10-20 append p0 @0 11\n2 10-20 append p0 @0 21\n"},
	{"I2 two readers see different events", BIT(I2), BIT(I5) | BIT(I6),
		"1 10-90 append unknown p0 11\n2 10-90 append unknown p0 21\n"
		"3 40-50 read p0 @0 11\n4 40-50 read p0 @0 21\n"},
	{"I2 overlapping batches", BIT(I2), 0,
		"1 10-20 append p0 @0 11 12 13\n2 10-20 append p0 @2 21 22\n"},
	{"I3 an answer steps over an offset", BIT(I3), 0,
		"1 10-20 append p0 @0 11 12 13\n2 40-50 read p0 @0 11 | @2 13\n"},
	{"I3 an answer repeats an offset", BIT(I3), 0,
		"1 10-20 append p0 @0 11 12\n2 40-50 read p0 @0 11 12 | @1 12\n"},
	{"I4 a later sequence at a lower offset", BIT(I4), 0,
		"1 10-90 append seq1 p0 @1 11\n1 10-90 append seq2 p0 @0 12\n"},
	{"I4 an attempt that was slow is stored behind the next", BIT(I4), 0,
		"1 10-20 append seq1 unknown p0 11\n1 15-40 append seq2 p0 @0 12\n"
		"2 50-60 read p0 @0 12 11 end2\n"},
	{"I4 a new epoch in front of an old one", BIT(I4), 0,
		"1 10-90 append seq9 epoch1 p0 @5 11\n1 10-90 append seq1 epoch2 p0 @2 12\n"},
	{"I4 a fenced producer's append is stored", BIT(I4), 0,
		"1 10-20 append seq1 epoch1 p0 @0 11\n1 30-40 append seq1 epoch2 p0 @1 12\n"
		"1 50-60 append seq2 epoch1 p0 @2 13\n"},
	{"I4 a fenced producer's append was given up and is there", BIT(I4), 0,
		"1 10-20 append seq1 epoch1 p0 @0 11\n1 30-40 append seq1 epoch2 p0 @1 12\n"
		"1 35-60 append seq2 epoch1 unknown p0 13\n2 70-80 read p0 @0 11 12 13 end3\n"},
	{"I4 a fenced producer's append lies between its successor's", BIT(I4), 0,
		"1 10-90 append seq1 epoch2 p0 @0 11\n1 10-90 append seq2 epoch2 p0 @2 13\n"
		"1 10-90 append seq7 epoch1 p0 @1 12\n"},
	{"I5 an idempotent retry is stored again", BIT(I5), 0,
		"1 10-20 append #5 idem unknown p0 11 12\n1 30-40 append #5 try2 idem p0 @2 11 12\n"
		"2 50-60 read p0 @0 11 12 11 12 end4\n"},
	{"I5 two answers to one idempotent request", BIT(I5), 0,
		"1 10-20 append #5 idem p0 @0 11\n1 30-40 append #5 try2 idem p0 @1 11\n"},
	{"I5 sent once, there twice", BIT(I5), 0,
		"1 10-20 append p0 @0 11\n2 30-40 read p0 @0 11 11 end2\n"},
	{"I5 sent twice, there three times", BIT(I5), 0,
		"1 10-20 append #5 unknown p0 11\n1 30-40 append #5 try2 unknown p0 11\n"
		"2 50-60 read p0 @0 11 11 11 end3\n"},
	{"I5 an idempotent request is in two partitions", BIT(I5), 0,
		"1 10-20 append #5 idem p0 @0 11\n1 30-40 append #5 try2 idem p1 @0 11\n"},
	{"I6 an event that nobody sent", BIT(I6), 0,
		"1 10-20 append p0 @0 11\n2 40-50 read p0 @0 11 77 end2\n"},
	{"I6 a refused event is readable", BIT(I6), 0,
		"1 10-20 append refused p0 11\n2 40-50 read p0 @0 11 end1\n"},
	{"I6 an event of a conflict is readable", BIT(I6), 0,
		"1 5-6 append p0 @0 key7 ver0 10\n"
		"1 10-20 append conflict p0 key7 exp0 ver1 11\n2 40-50 read p0 @0 10 11 end2\n"},
	{"I6 an event is in another partition than it was sent to", BIT(I6), 0,
		"1 10-20 append unknown p0 11\n2 40-50 read p1 @0 11 end1\n"},
	{"I6 read before it was sent", BIT(I6), 0,
		"2 10-20 read p0 @0 11 end1\n1 40-50 append unknown p0 11\n"},
	{"I6 a deleted topic's event is in the one that took its name", BIT(I6), 0,
		"1 10-20 append t1 p0 @0 11\n2 40-50 read t2 p0 @0 11 end1\n"},
	{"I7 one topic of a request is stored, the other not", BIT(I7), 0,
		"1 10-20 append unknown t1 p0 11 | t2 p0 21\n2 40-50 read t1 p0 @0 11 end1\n"
		"2 60-70 read t2 p0 @0 end0\n"},
	{"I7 a request is torn by another", BIT(I7), 0,
		"1 10-90 append unknown p0 11 12 13\n3 10-90 append unknown p0 21\n"
		"2 40-50 read p0 @0 11 12 21 end3\n"},
	{"I7 only a request's first events are there", BIT(I7), 0,
		"1 10-20 append unknown p0 11 12 13\n2 40-50 read p0 @0 11 12 end2\n"
		"2 60-70 read p0 @2 end2\n"},
	{"I7 only a request's last events are there", BIT(I7), 0,
		"3 1-2 append p0 @0 5\n1 10-20 append unknown p0 11 12 13\n"
		"2 40-50 read p0 @0 5 12 13 end3\n"},
	{"I7 one partition of a request is stored, the other not", BIT(I7), 0,
		"1 10-20 append unknown p0 11 | p1 21\n2 40-50 read p0 @0 11 end1\n"
		"2 60-70 read p1 @0 end0\n"},
	{"I1 taken to be stored later, and never stored", BIT(I1), 0,
		"1 10-20 append later p0 due300 11\n2 5000-5001 read p0 @0 end0\n"},
	{"I8 read before it was due", BIT(I8), 0,
		"1 10-20 append later p0 due900 11\n2 50-60 read p0 @0 11 end1\n"},
	{"I5 stored when it was due, and again", BIT(I5), 0,
		"1 10-20 append later idem p0 due30 11\n2 5000-5001 read p0 @0 11 11 end2\n"},
	{"I8 a later append gets a lower offset", BIT(I8), 0,
		"1 10-20 append p0 @5 11\n2 30-40 append p0 @4 21\n"},
	{"I8 a later append gets a lower offset than was read", BIT(I8), 0,
		"1 10-90 append unknown p0 11\n3 20-30 read p0 @1 seek 11 end2\n"
		"2 40-50 append p0 @0 21\n"},
	{"I8 a stale read, healed later", BIT(I8), 0,
		"1 10-20 append p0 @0 11\n2 30-40 read p0 @0 end0\n3 50-60 read p0 @0 11 end1\n"},
	{"I8 a reader's event is hidden from the next", BIT(I8), 0,
		"1 10-90 append unknown p0 11\n2 30-40 read p0 @0 11 end1\n"
		"3 50-60 read p0 @0 end0\n3 70-80 read p0 @0 11 end1\n"},
	{"I9 two rivals win", BIT(I9), 0,
		"1 10-20 append p0 @0 key7 exp0 ver0 11\n2 10-20 append p0 @1 key7 exp0 ver0 21\n"},
	{"I9 stored at another version than expected", BIT(I9), 0,
		"1 10-20 append p0 @0 key7 exp0 ver0 11\n2 30-40 append p0 @1 key7 exp5 ver1 21\n"},
	{"I9 refused although it matched", BIT(I9), 0,
		"1 10-20 append p0 @0 key7 ver0 11\n2 30-40 append conflict p0 key7 exp1 ver1 "
		"21\n"},
	{"I9 a conflict with a version of the past", BIT(I9), 0,
		"1 10-20 append p0 @0 key7 ver0 11 12\n"
		"2 30-40 append conflict p0 key7 exp5 ver1 21\n"},
	{"I9 a conflict with a version that never was", BIT(I9), 0,
		"1 10-20 append p0 @0 key7 ver0 11\n2 30-40 append conflict p0 key7 exp1 ver9 "
		"21\n"},
	{"I9 a stream that had to exist was begun", BIT(I9), 0,
		"1 10-20 append p0 @0 key7 exists ver0 11\n"},
	{"I9 versions and offsets disagree", BIT(I9), 0,
		"1 10-90 append p0 @5 key7 ver0 11\n2 10-90 append p0 @2 key7 ver1 21\n"},
	{"I10 a tail skips an event", BIT(I10), 0,
		"1 10-20 append p0 @0 11 12 13\n2 30-40 read p0 @0 11\n2 50-60 read p0 @2 13\n"},
	{"I10 a tail repeats an event", BIT(I10), 0,
		"1 10-20 append p0 @0 11 12\n2 30-40 read p0 @0 11 12\n2 50-60 read p0 @1 12\n"},
	{"I10 a reader going backward skips", BIT(I10), 0,
		"1 10-20 append p0 @0 11 12 13 14\n2 30-40 read back p0 @3 14\n"
		"2 50-60 read back p0 @0 11 12\n"},
	{"I11 a commit is lost", BIT(I11), 0,
		"1 10-20 commit group1 p0 @5\n2 30-40 fetch group1 p0\n"},
	{"I11 a group's offset goes back", BIT(I11), 0,
		"1 10-20 commit group1 p0 @5\n1 30-40 commit group1 p0 @8\n2 50-60 fetch group1 p0 "
		"@5\n"},
	{"I11 two fetches go back", BIT(I11), 0,
		"1 10-20 commit group1 p0 @5\n1 30-99 commit group1 unknown p0 @8\n"
		"2 50-60 fetch group1 p0 @8\n2 70-80 fetch group1 p0 @5\n"},
	{"I11 an offset that nobody committed", BIT(I11), 0,
		"1 10-20 commit group1 p0 @5\n2 30-40 fetch group1 p0 @7\n"},
	{"I11 beyond the end", BIT(I11), 0,
		"1 10-20 append p0 @0 11\n1 30-40 commit group1 p0 @5\n2 50-60 read p0 @0 11 "
		"end1\n"},
	{"I11 a reset is undone", BIT(I11), 0,
		"1 10-20 commit group1 p0 @5\n1 30-40 commit group1 reset p0 @2\n"
		"2 50-60 fetch group1 p0 @5\n"},
	{"I11 a fenced member commits", BIT(I11), 0,
		"1 10-20 commit group1 gen2 p0 @5\n2 30-40 commit group1 gen1 p0 @6\n"},
	{"I11 a commit goes back and is no reset", BIT(I11), 0,
		"1 10-20 commit group1 p0 @5\n1 30-40 commit group1 p0 @3\n"},
	{"I12 the first kept offset goes back", BIT(I12), 0,
		"1 10-20 append p0 @0 11 12 13\n2 30-40 read p0 @2 13 start2\n"
		"3 50-60 read p0 @0 start0\n"},
	{"I12 a removed offset is served", BIT(I12), 0,
		"1 10-20 append p0 @0 11 12 13\n2 30-40 read p0 @2 13 start2\n"
		"3 50-60 read p0 @1 12 13\n"},
	{"I12 more is gone than was asked for", BIT(I12), 0,
		"0 1-1 topic t\n1 10-20 append p0 @0 11 12 13\n1 30-40 trim p0 @1\n"
		"2 50-60 read p0 @2 13 start2\n"},
	{"I12 refused as removed though it is kept", BIT(I12), 0,
		"1 10-20 append p0 @0 11 12 13\n2 30-40 read refused p0 @2 start1\n"},
	{"I13 handed out again after it was acknowledged", BIT(I13), 0,
		"1 10-20 append p0 @0 11\n2 30-40 deliver group1 p0 @0 11 del1\n"
		"2 50-60 ack group1 p0 @0 count1\n3 70-80 deliver group1 p0 @0 11 del2\n"},
	{"I13 the group went back before it was acknowledged", BIT(I13), 0,
		"1 10-20 append p0 @0 11\n4 21-22 commit group1 reset p0 @0\n"
		"2 30-40 deliver group1 p0 @0 11 del1\n2 50-60 ack group1 p0 @0 count1\n"
		"3 70-80 deliver group1 p0 @0 11 del2\n"},
	{"I13 the group went to a place behind it", BIT(I13), 0,
		"1 10-20 append p0 @0 11 12\n2 30-40 deliver group1 p0 @0 11 del1\n"
		"2 50-60 ack group1 p0 @0 count1\n4 61-62 commit group1 reset p0 @1\n"
		"3 70-80 deliver group1 p0 @0 11 del2\n"},
	{"I13 the group went back once, it comes again twice", BIT(I13), 0,
		"1 10-20 append p0 @0 11\n2 30-40 deliver group1 p0 @0 11 del1\n"
		"2 50-60 ack group1 p0 @0 count1\n4 61-62 commit group1 reset p0 @0\n"
		"3 70-80 deliver group1 p0 @0 11 del1\n3 82-84 ack group1 p0 @0 count1\n"
		"3 90-95 deliver group1 p0 @0 11 del1\n"},
	{"I13 its transaction was seen, it comes again", BIT(I13), 0,
		"1 10-20 append p0 @0 11\n2 30-40 deliver group1 p0 @0 11 del1\n"
		"2 50-60 append #7 together unknown t1 p0 21\n"
		"2 50-60 ack #7 together unknown group1 p0 @0 count1\n"
		"4 61-62 read t1 p0 @0 21\n3 70-80 deliver group1 p0 @0 11 del2\n"},
	{"I14 two transactions of one event are stored", BIT(I14), 0,
		"1 10-20 append p0 @0 11\n2 30-40 deliver group1 p0 @0 11 del1\n"
		"3 30-40 deliver group1 p0 @0 11 del2\n"
		"2 50-60 append #7 together t1 p0 @0 21\n"
		"2 50-60 ack #7 together group1 p0 @0 count1\n"
		"3 50-60 append #7 together t1 p0 @1 22\n"
		"3 50-60 ack #7 together group1 p0 @0 count1\n"},
};

START_TEST(test_checker_catches_each_bad_history)
{
	ck_assert_uint_ge(ANNALS_COUNT_OF(bad), 30);
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		history_from_text(bad[i].text, fd);
		history_judge_file(path, &report);
		struct buf text = BUF_INIT;
		ck_assert_int_eq(checker_print(&report, &text), 0);
		ck_assert_msg((violated() & bad[i].wanted) == bad[i].wanted, "not caught: %s\n%s",
			bad[i].name, buf_text(&text));
		ck_assert_msg((violated() & ~(bad[i].wanted | bad[i].also)) == 0,
			"more than that: %s\n%s", bad[i].name, buf_text(&text));
		buf_release(&text);
	}
}
END_TEST

/* Every invariant has a history that breaks it. */
START_TEST(test_checker_bad_histories_cover_all_invariants)
{
	unsigned covered = 0;
	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		covered |= bad[i].wanted;
	}
	ck_assert_uint_eq(covered, (1u << CHECKER_INVARIANT_COUNT) - 1);
}
END_TEST

/* What looks odd and is allowed. */
static const char *const good[] = {
	/* an unknown append may be there, or not, and may be stored after a later one */
	"1 10-20 append unknown p0 11\n2 30-40 read p0 @0 end0\n",
	"1 10-20 append unknown p0 11\n1 30-40 append p0 @0 12\n2 50-60 read p0 @0 12 11 end2\n",
	/* a retry without idempotence may be stored twice, one with it is answered again */
	"1 10-20 append #5 unknown p0 11\n1 30-40 append #5 try2 p0 @1 11\n"
	"2 50-60 read p0 @0 11 11 end2\n",
	"1 10-20 append #5 idem unknown p0 11\n2 21-22 append p0 @1 21\n"
	"1 30-40 append #5 try2 idem p0 @0 replayed 11\n2 50-60 read p0 @0 11 21 end2\n",
	/* concurrent appends in any order */
	"1 10-30 append p0 @1 11\n2 20-40 append p0 @0 21\n2 50-60 read p0 @0 21 11 end2\n",
	/* a read that overlaps an append may miss it */
	"1 10-30 append p0 @0 11\n2 20-40 read p0 @0 end0\n2 50-60 read p0 @0 11 end1\n",
	/* acknowledged before the flush: not readable yet */
	"1 10-20 append os p0 @0 11\n2 21-22 read p0 @0 end0\n2 5000-5001 read p0 @0 11 end1\n",
	/* retention overtook a reader; another begins behind it */
	"1 10-20 append p0 @0 11 12 13\n2 21-22 read p0 @0 11\n1 30-40 trim p0 @2\n"
	"2 50-60 read p0 @2 13 start2\n3 70-80 read p0 @2 13 start2 end3\n",
	/* a refused read below the first kept offset */
	"1 10-20 append p0 @0 11 12\n2 30-40 read refused p0 @0 start1\n",
	/* one rival wins, the other is told the version that is there */
	"1 10-30 append p0 @0 key7 exp0 ver0 11\n2 20-40 append conflict p0 key7 exp0 ver1 21\n"
	"3 50-60 read p0 key7 ver0 11 end1\n",
	/* an append in doubt explains a conflict */
	"1 10-20 append unknown p0 key7 exp0 11\n2 30-40 append conflict p0 key7 exp0 ver1 21\n",
	/* a reset, a commit in doubt */
	"1 10-20 commit group1 p0 @5\n1 30-40 commit group1 reset p0 @2\n2 50-60 fetch group1 p0 "
	"@2\n",
	"1 10-20 commit group1 p0 @5\n1 30-40 commit group1 unknown p0 @9\n"
	"2 50-60 fetch group1 p0 @5\n2 70-80 fetch group1 p0 @9\n",
	/* redelivery before it is acknowledged, and one that overlaps the acknowledgement */
	"1 10-20 append p0 @0 11\n2 30-40 deliver group1 p0 @0 11 del1\n"
	"3 50-60 deliver group1 p0 @0 11 del2\n2 55-70 ack group1 p0 @0 count1\n"
	"4 65-80 deliver group1 p0 @0 11 del3\n",
	/* a producer begins anew; what it gave up before is there in front, or not at all */
	"1 10-20 append seq1 epoch1 p0 @0 11\n1 30-40 append seq2 epoch1 unknown p0 12\n"
	"1 50-60 append seq1 epoch2 p0 @2 13\n1 61-62 append seq3 epoch1 refused p0 14\n"
	"2 70-80 read p0 @0 11 12 13 end3\n",
	/* a group that is made to go back gets everything from there on again, also when nobody
	 * knows whether it was */
	"1 10-20 append p0 @0 11 12\n2 30-40 deliver group1 p0 @0 11 12 del1\n"
	"2 50-60 ack group1 p0 @0 count2\n4 61-62 commit group1 reset p0 @1\n"
	"3 70-80 deliver group1 p0 @1 12 del1\n3 82-84 ack group1 p0 @1 count1\n"
	"4 85-86 commit group1 reset unknown p0 @0\n3 190-195 deliver group1 p0 @0 11 12 del1\n",
	/* stored when it is due; not yet; a transaction that did not happen */
	"1 10-20 append later p0 due300 11\n2 50-60 read p0 @0 end0\n2 350-360 read p0 @0 11\n",
	"1 10-20 append later p0 due300 11\n2 350-360 read p0 @0 end0\n",
	/* which of its attempts it was that was stored does not matter */
	"1 10-20 append #5 later idem unknown p0 due300 11\n"
	"1 25-30 append #5 later idem try2 p0 due300 11\n2 5000-5001 read p0 @0 11 end1\n",
	"1 10-20 append p0 @0 11\n2 30-40 deliver group1 p0 @0 11 del1\n"
	"2 50-60 append #7 together unknown t1 p0 21\n"
	"2 50-60 ack #7 together unknown group1 p0 @0 count1\n"
	"3 70-80 deliver group1 p0 @0 11 del2\n"
	"3 81-82 append #9 together t1 p0 @0 22\n3 81-82 ack #9 together group1 p0 @0 count1\n",
	/* backward reading */
	"1 10-20 append p0 @0 11 12 13 14\n2 30-40 read back p0 @2 13 14\n"
	"2 50-60 read back p0 @0 11 12\n",
};

static void assert_clean(const char *what)
{
	struct buf text = BUF_INIT;
	history_judge_file(path, &report);
	ck_assert_int_eq(checker_print(&report, &text), 0);
	ck_assert_msg(report.violations == 0, "flagged: %s\n%s", what, buf_text(&text));
	buf_release(&text);
}

START_TEST(test_checker_passes_what_is_allowed)
{
	for (size_t i = 0; i < ANNALS_COUNT_OF(good); i++) {
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		history_from_text(good[i], fd);
		assert_clean(good[i]);
	}
}
END_TEST

START_TEST(test_checker_passes_1000_generated_histories)
{
	uint64_t events = 0, unknown = 0, conflicts = 0;
	for (uint64_t seed = 1; seed <= 1000; seed++) {
		char what[32];
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		history_simulate(seed, 300, fd);
		(void)snprintf(what, sizeof(what), "seed %llu", (unsigned long long)seed);
		assert_clean(what);
		events += report.events_read;
		unknown += report.appends_unknown;
		conflicts += report.appends_conflict;
	}
	/* They must be worth judging. */
	ck_assert_uint_gt(events, 500000);
	ck_assert_uint_gt(unknown, 5000);
	ck_assert_uint_gt(conflicts, 1000);
}
END_TEST

START_TEST(test_checker_names_the_smallest_case)
{
	history_from_text("0 1-1 topic orders\n"
			  "1 10-20 append p0 @0 11 12\n"
			  "1 30-40 append p0 @2 13\n"
			  "9 41-41 server killed (SIGKILL)\n"
			  "2 50-60 read p0 @0 11 end1\n",
		fd);
	history_judge_file(path, &report);
	const char *example = report.invariants[CHECKER_I1].example;
	ck_assert_msg(strstr(example, "'orders' partition 0") != NULL &&
			      strstr(example, "offset 2") != NULL &&
			      strstr(example, "killed (SIGKILL)") != NULL &&
			      strstr(example, "client 2 read") != NULL,
		"%s", example);
}
END_TEST

SUITE_MAIN("checker", setup, teardown, test_checker_catches_each_bad_history,
	test_checker_bad_histories_cover_all_invariants, test_checker_passes_what_is_allowed,
	test_checker_passes_1000_generated_histories, test_checker_names_the_smallest_case)
