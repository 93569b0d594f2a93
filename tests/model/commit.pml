/*
 * The commit pipeline: group commit, answers held until the flush, unknown outcomes, fail-stop, and
 * reopening; under failing writes, failing flushes, restarts of the process and a power cut at any
 * step. Checked exhaustively by commit.sh with spin.
 *
 * The disk, as Linux has it: what is written lies in the page cache, readable and dirty. A flush
 * that succeeds makes all that is dirty durable. One that fails leaves it durable or not, nobody
 * knows, and clean all the same: the next flush has nothing to do and succeeds. A power cut loses
 * the cache; what was dirty may have reached the disk. A new process finds the cache as it was.
 *
 * A batch is one bit; a block is a set of them and reaches the disk whole or not at all (the
 * journal's checksums see to that). Clients number their batches and send one again when its
 * outcome is unknown; the server knows what it holds.
 *
 * Each MUTATION_... is a bug that some system has had; with it the check must fail.
 */
#ifndef CLIENTS
#define CLIENTS 3
#endif
#ifndef BATCHES
#define BATCHES 2
#endif
#define ERRORS 2   /* failing writes and flushes */
#define RESTARTS 2 /* of the process, not counting the power cut */

#define BIT(client, number) (1 << ((client) * BATCHES + (number)))

mtype = {none, ok, refused, unknown};
mtype = {idle, write, sync, publish, answer, stopped, down};

/* The disk. */
short durable; /* survives a power cut */
short cache;   /* what a read finds */
short dirty;   /* of it, what the next flush writes */

/* The server's memory. */
mtype step = down;
short draft;   /* the block under construction or being committed */
short visible; /* what readers and answers see */
byte staged;   /* the next offset to give out ... */
byte end;      /* ... and the published one: equal between commits */

/* The clients' side. */
bool waiting[CLIENTS];
byte number[CLIENTS];
mtype response[CLIENTS];
short acked, told_refused;

/* Twice in the log. */
bool duplicate;

byte errors, restarts;
bool cut; /* the power cut has been */

#define PROMISES                                                                                   \
	assert((acked & ~durable) == 0);     /* acknowledged: survives */                          \
	assert((visible & ~durable) == 0);   /* shown to anybody: survives */                      \
	assert((told_refused & cache) == 0); /* refused: nothing happened */                       \
	assert(!duplicate)                   /* sent again: stored once */

inline respond(set, what)
{
	byte c = 0;
	do
	:: c < CLIENTS ->
		if
		:: waiting[c] && (set & BIT(c, number[c])) ->
			waiting[c] = false;
			response[c] = what
		:: else
		fi;
		c++
	:: else -> break
	od;
	c = 0
}

inline count(set, into)
{
	byte b = 0;
	do
	:: b < CLIENTS * BATCHES ->
		if
		:: set & (1 << b) -> into = into + 1
		:: else
		fi;
		b++
	:: else -> break
	od;
	b = 0
}

/* What may or may not have reached the disk. */
inline perhaps_durable()
{
	if
	:: durable = durable | dirty
	:: skip
	fi
}

proctype client(byte me)
{
	do
	:: number[me] < BATCHES && !waiting[me] && response[me] == none ->
		waiting[me] = true
	:: atomic { response[me] == ok ->
			acked = acked | BIT(me, number[me]);
			response[me] = none;
			number[me]++;
			PROMISES
		}
	:: atomic { response[me] == refused ->
			/* Nothing happened, so it may give up: the batch must never appear. */
			told_refused = told_refused | BIT(me, number[me]);
			response[me] = none;
			number[me]++;
			PROMISES
		}
	:: response[me] == unknown ->
		response[me] = none /* and once more, with the same number */
	:: number[me] == BATCHES -> break
	od
}

/* Takes some of those who wait into a block. What is stored already is answered and not stored
 * again; what is visible is durable, so the answer may go out. */
inline take()
{
	byte k = 0;
	do
	:: k < CLIENTS ->
		if
		:: waiting[k] ->
			if
#ifndef MUTATION_NO_DEDUPE
			:: visible & BIT(k, number[k]) ->
				waiting[k] = false;
				response[k] = ok
#endif
#ifdef MUTATION_NO_DEDUPE
			:: true -> draft = draft | BIT(k, number[k])
#else
			:: !(visible & BIT(k, number[k])) -> draft = draft | BIT(k, number[k])
#endif
			:: skip /* came later */
			fi
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	if
	:: draft != 0 -> count(draft, staged); step = write
	:: else
	fi
}

inline fail_stop()
{
#ifdef MUTATION_NO_FAIL_STOP
	step = idle;
	staged = end;
#else
	step = stopped;
#endif
	draft = 0
}

proctype server()
{
	do
	:: atomic { step == idle -> assert(staged == end); take(); PROMISES }

	:: atomic { step == write ->
			duplicate = duplicate || (draft & cache);
			if
			:: cache = cache | draft;
			   dirty = dirty | draft;
			   step = sync
			:: errors < ERRORS -> /* before the first byte: the disk is full */
			   errors++;
			   duplicate = false;
			   respond(draft, refused);
			   draft = 0;
#ifndef MUTATION_KEEP_STAGED
			   staged = end;
#endif
			   step = idle
			:: errors < ERRORS -> /* in the middle: perhaps only padding is missing */
			   errors++;
			   cache = cache | draft;
			   dirty = dirty | draft;
#ifdef MUTATION_UNKNOWN_IS_REFUSED
			   respond(draft, refused);
#else
			   respond(draft, unknown);
#endif
			   fail_stop()
			fi;
#ifdef MUTATION_ACK_BEFORE_SYNC
			if
			:: step == sync -> respond(draft, ok)
			:: else
			fi;
#endif
#ifdef MUTATION_PUBLISH_BEFORE_SYNC
			if
			:: step == sync -> visible = visible | draft
			:: else
			fi;
#endif
			PROMISES
		}

	:: atomic { step == sync ->
			if
			:: durable = durable | dirty;
			   dirty = 0;
			   step = publish
			:: errors < ERRORS ->
			   errors++;
			   perhaps_durable();
			   dirty = 0;
#ifdef MUTATION_RETRY_SYNC
			   skip; /* and again: nothing is dirty now, so it will succeed */
#else
			   respond(draft, unknown);
			   fail_stop()
#endif
			fi;
			PROMISES
		}

	:: atomic { step == publish -> visible = visible | draft; end = staged; step = answer; PROMISES }

	:: atomic { step == answer -> respond(draft, ok); draft = 0; step = idle; PROMISES }

	/* Reopening: everything that is read is written again and flushed before it is served. */
	:: atomic { step == down ->
#ifndef MUTATION_OPEN_WITHOUT_REWRITE
			dirty = dirty | (cache & ~visible);
#endif
			if
#ifdef MUTATION_OPEN_WITHOUT_SYNC
			:: true ->
#else
			:: durable = durable | dirty;
			   dirty = 0;
#endif
			   visible = cache;
			   draft = 0;
			   staged = 0;
			   count(visible, staged);
			   end = staged;
			   step = idle
			:: errors < ERRORS -> /* it does not open; the next try begins anew */
			   errors++;
			   perhaps_durable();
			   dirty = 0
			fi;
			PROMISES
		}

	:: timeout -> break
	od
}

/* Kills the process, or the machine, between any two steps. */
proctype operator()
{
	do
	:: atomic { step != down && (restarts < RESTARTS || step == stopped) ->
			if
			:: step != stopped -> restarts++
			:: else
			fi;
			step = down;
			visible = 0;
			draft = 0;
			respond(~0, unknown) /* the connection is gone */
		}
	:: atomic { !cut ->
			cut = true;
			perhaps_durable();
			dirty = 0;
			cache = durable;
			assert((acked & ~cache) == 0);
			step = down;
			visible = 0;
			draft = 0;
			respond(~0, unknown)
		}
	:: timeout -> break
	od
}

init {
	atomic {
		byte i = 0;
		do
		:: i < CLIENTS -> response[i] = none; run client(i); i++
		:: else -> break
		od;
		run server();
		run operator()
	}
}
