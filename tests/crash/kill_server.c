/*
 * The server under kill -9: producers, a tailing reader and a committing group go on while annalsd
 * is killed at random moments and started again; in the end every event is read back and judged.
 *
 * usage: kill_server --annalsd PATH [--rounds N] [--seed N] [--dir DIR]
 */
#include "kill_oracle.h"

#include <annals/client.h>
#include <annals/hash.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PRODUCERS 8u
#define EVENTS_PER_REQUEST_MAX 12u
#define CALL_MS 400
#define START_SECONDS 30

static struct {
	const char *annalsd;
	char dir[256], address[64], log[300];
	unsigned rounds;
	uint64_t seed;
	pid_t pid;
} run = {.rounds = 8};
static struct oracle oracle;
static atomic_bool stop;

static void die(const char *what)
{
	(void)fprintf(stderr, "kill_server: %s\n", what);
	if (run.pid > 0) {
		(void)kill(run.pid, SIGKILL);
	}
	exit(2);
}

static void sleep_ms(unsigned ms)
{
	struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};

	(void)nanosleep(&wait, NULL);
}

/* The address that the newest start logged, once it is ready. */
static bool read_address(void)
{
	char line[1024], address[64] = "";
	bool ready = false;
	FILE *log = fopen(run.log, "re");

	if (log == NULL) {
		return false;
	}
	while (fgets(line, sizeof(line), log) != NULL) {
		const char *found = strstr(line, "protocol=binary");
		found = found != NULL ? strstr(found, "address=") : NULL;
		if (found != NULL) {
			(void)sscanf(found, "address=%63[^ \n]", address);
		}
		ready |= strstr(line, " info ready ") != NULL;
	}
	(void)fclose(log);
	/* Later starts take the same port: other threads have read the address by then. */
	if (ready && address[0] != 0 && run.address[0] == 0) {
		memcpy(run.address, address, sizeof(address));
	}
	return ready;
}

static void start_server(void)
{
	char data[280];

	(void)snprintf(data, sizeof(data), "%s/data", run.dir);
	(void)unlink(run.log);
	run.pid = fork();
	if (run.pid == 0) {
		int fd = open(run.log, O_CREAT | O_WRONLY | O_APPEND, 0600);
		(void)dup2(fd, STDERR_FILENO);
		(void)execl(run.annalsd, run.annalsd, "--data-dir", data, "--http", "off",
			"--binary", run.address[0] != 0 ? run.address : "127.0.0.1:0",
			"--map-bytes", "4GiB", "--tail-bytes-max", "8MiB", (char *)NULL);
		_exit(127);
	}
	for (unsigned tries = 0; !read_address(); tries++) {
		if (tries > START_SECONDS * 20 || waitpid(run.pid, NULL, WNOHANG) != 0) {
			die("annalsd did not start");
		}
		sleep_ms(50);
	}
}

static struct annals_client *connect_client(void)
{
	struct annals_options *options = annals_options_new();
	struct annals_client *client = NULL;
	struct annals_error error;

	if (options == NULL || annals_options_set_servers(options, run.address, &error) != 0 ||
		annals_options_set(options, ANNALS_OPTION_RECONNECT_MAX_MS, 50, &error) != 0 ||
		annals_connect(options, 10000, &client, &error) != 0) {
		die("cannot connect");
	}
	annals_options_free(options);
	return client;
}

/* Even producers send a request again until it is acknowledged; odd ones go on with the next. */
static void *produce(void *arg)
{
	struct oracle_producer *producer = arg;
	struct annals_client *client = connect_client();
	struct random random = {run.seed + 1000 + producer->number};
	static const char type[] = "kill.test";

	while (!stop) {
		struct annals_event events[EVENTS_PER_REQUEST_MAX] = {0};
		uint8_t data[EVENTS_PER_REQUEST_MAX][ORACLE_EVENT_BYTES_MAX];
		struct annals_placement placements[EVENTS_PER_REQUEST_MAX];
		struct annals_error error;
		struct oracle_request *request = oracle_request(
			producer, 1 + (uint32_t)random_below(&random, EVENTS_PER_REQUEST_MAX));
		for (uint32_t i = 0; i < request->count; i++) {
			events[i].type = (struct annals_bytes){type, sizeof(type) - 1};
			events[i].has_data = 1;
			events[i].data = (struct annals_bytes){
				data[i], oracle_data(run.seed, producer->number,
						 request->first_sequence + i, data[i])};
		}
		do {
			request->attempts++;
			if (annals_append(client, "kill", producer->partition, events,
				    request->count, ANNALS_DURABILITY_FSYNC, CALL_MS, placements,
				    NULL, &error) == 0) {
				request->acknowledged = true;
				request->offset = placements[0].offset;
			}
		} while (!request->acknowledged && producer->number % 2 == 0 && !stop);
	}
	annals_client_close(client);
	return NULL;
}

/* All partitions in one request, every few hundred events. */
static void commit_all(struct annals_client *client, const uint64_t *next, size_t events)
{
	static size_t since;
	struct annals_offset offsets[ORACLE_PARTITIONS] = {0};
	struct annals_error error;

	since += events;
	if (since < 300) {
		return;
	}
	since = 0;
	for (uint32_t p = 0; p < ORACLE_PARTITIONS; p++) {
		offsets[p] =
			(struct annals_offset){.topic = "kill", .partition = p, .offset = next[p]};
	}
	if (annals_offsets_commit(
		    client, "followers", offsets, ORACLE_PARTITIONS, CALL_MS, &error) == 0) {
		memcpy(oracle.committed, next, sizeof(oracle.committed));
	}
}

/* Follows all partitions through every kill: offsets go up by one, and what was seen has the right
 * bytes. */
static void *follow(void *arg)
{
	struct annals_client *client = connect_client();
	struct annals_start start = {.kind = ANNALS_START_EARLIEST};
	struct annals_consumer *consumer;
	struct annals_error error;
	uint64_t next[ORACLE_PARTITIONS] = {0}, *ret_seen = arg;

	if (annals_consumer_open(client, "kill", &start, NULL, 10000, &consumer, &error) != 0) {
		die("cannot follow");
	}
	while (!stop) {
		struct annals_event events[256];
		size_t count = 0;
		if (annals_consumer_poll(consumer, 100, events, 256, &count, &error) != 0) {
			die(error.text);
		}
		for (size_t i = 0; i < count; i++) {
			uint8_t wanted[ORACLE_EVENT_BYTES_MAX];
			const uint8_t *data = events[i].data.data;
			if (events[i].offset != next[events[i].partition]) {
				die("the reader skipped or repeated an event");
			}
			next[events[i].partition]++;
			if (oracle_data(run.seed, load_u32(data), load_u32(data + 4), wanted) !=
					events[i].data.size ||
				memcmp(wanted, data, events[i].data.size) != 0) {
				die("the reader saw other bytes than were sent");
			}
			(*ret_seen)++;
		}
		commit_all(client, next, count);
	}
	annals_consumer_close(consumer);
	annals_client_close(client);
	return NULL;
}

static void read_everything(void)
{
	struct annals_client *client = connect_client();
	struct annals_start start = {.kind = ANNALS_START_EARLIEST};
	struct annals_consumer *consumer;
	struct annals_error error;
	struct annals_topic *topic;
	uint64_t wanted = 0;

	if (annals_topic_describe(client, "kill", 10000, &topic, &error) != 0 ||
		annals_consumer_open(client, "kill", &start, NULL, 10000, &consumer, &error) != 0) {
		die("cannot read back");
	}
	for (uint32_t i = 0; i < topic->partition_count; i++) {
		wanted += topic->partitions[i].end_offset;
	}
	annals_topic_free(topic);
	while (oracle.stored_events < wanted) {
		struct annals_event events[256];
		size_t count = 0;
		if (annals_consumer_poll(consumer, 10000, events, 256, &count, &error) != 0 ||
			count == 0) {
			die(count == 0 ? "events are missing at the end of the log" : error.text);
		}
		for (size_t i = 0; i < count; i++) {
			oracle_take(&oracle, events[i].partition, events[i].offset,
				events[i].data.data, events[i].data.size);
		}
	}
	annals_consumer_close(consumer);
	annals_client_close(client);
}

static void check_committed(void)
{
	struct annals_client *client = connect_client();
	struct annals_offset *offsets;
	struct annals_error error;
	size_t count;

	if (annals_offsets_fetch(client, "followers", "kill", 10000, &offsets, &count, &error) !=
		0) {
		die("cannot fetch offsets");
	}
	for (size_t i = 0; i < count; i++) {
		uint32_t p = offsets[i].partition;
		if (offsets[i].offset < oracle.committed[p] ||
			offsets[i].offset > oracle.event_count[p]) {
			oracle_problem(&oracle,
				"partition %u: the group's offset is %" PRIu64
				", acknowledged was %" PRIu64,
				p, offsets[i].offset, oracle.committed[p]);
		}
		oracle.committed[p] = 0;
	}
	for (uint32_t p = 0; p < ORACLE_PARTITIONS; p++) {
		if (oracle.committed[p] > 0) {
			oracle_problem(&oracle, "partition %u: the group's offset is lost", p);
		}
	}
	annals_offsets_free(offsets, count);
	annals_client_close(client);
}

static void verify_store(void)
{
	char command[1024];

	(void)snprintf(command, sizeof(command), "'%s' verify '%s/data'", run.annalsd, run.dir);
	if (system(command) != 0) { /* NOLINT(cert-env33-c): paths of the test itself */
		oracle_problem(&oracle, "annalsd verify found problems");
	}
}

static void parse_arguments(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--annalsd") == 0) {
			run.annalsd = argv[i + 1];
		} else if (strcmp(argv[i], "--rounds") == 0) {
			run.rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
		} else if (strcmp(argv[i], "--seed") == 0) {
			run.seed = strtoull(argv[i + 1], NULL, 10);
		} else if (strcmp(argv[i], "--dir") == 0) {
			(void)snprintf(run.dir, sizeof(run.dir), "%s", argv[i + 1]);
		} else {
			die("usage: kill_server --annalsd PATH [--rounds N] [--seed N] [--dir "
			    "DIR]");
		}
	}
	if (run.annalsd == NULL) {
		die("usage: kill_server --annalsd PATH [--rounds N] [--seed N] [--dir DIR]");
	}
	if (run.seed == 0) {
		random_bytes(&run.seed, sizeof(run.seed));
	}
	if (run.dir[0] == 0) {
		(void)snprintf(run.dir, sizeof(run.dir), "/tmp/annals-kill-XXXXXX");
		if (mkdtemp(run.dir) == NULL) {
			die("cannot make a directory");
		}
	}
	(void)snprintf(run.log, sizeof(run.log), "%s/log", run.dir);
}

static void create_topic(void)
{
	struct annals_client *client = connect_client();
	struct annals_topic_config config = {.partitions = ORACLE_PARTITIONS};
	struct annals_error error;

	if (annals_topic_create(client, "kill", &config, 10000, NULL, &error) < 0) {
		die(error.text);
	}
	annals_client_close(client);
}

int main(int argc, char **argv)
{
	struct oracle_producer producers[PRODUCERS] = {0};
	pthread_t threads[PRODUCERS + 1];
	struct random random;
	uint64_t seen = 0;

	parse_arguments(argc, argv);
	random.state = run.seed;
	oracle = (struct oracle){
		.seed = run.seed, .producers = producers, .producer_count = PRODUCERS};
	start_server();
	create_topic();
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		producers[i].number = i;
		producers[i].partition = i % ORACLE_PARTITIONS;
		(void)pthread_create(&threads[i], NULL, produce, &producers[i]);
	}
	(void)pthread_create(&threads[PRODUCERS], NULL, follow, &seen);
	for (unsigned round = 0; round < run.rounds; round++) {
		sleep_ms(50 + (unsigned)random_below(&random, 800));
		(void)kill(run.pid, SIGKILL);
		(void)waitpid(run.pid, NULL, 0);
		start_server();
	}
	stop = true;
	for (uint32_t i = 0; i <= PRODUCERS; i++) {
		(void)pthread_join(threads[i], NULL);
	}
	read_everything();
	check_committed();
	oracle_judge(&oracle);
	(void)kill(run.pid, SIGTERM);
	(void)waitpid(run.pid, NULL, 0);
	verify_store();
	(void)printf("%u kills, seed %" PRIu64 ": %" PRIu64 " events acknowledged, %" PRIu64
		     " stored, %" PRIu64 " followed live, %" PRIu64 " problems\n",
		run.rounds, run.seed, oracle.acknowledged_events, oracle.stored_events, seen,
		oracle.problems);
	oracle_release(&oracle);
	if (oracle.problems == 0) {
		char command[300];
		(void)snprintf(command, sizeof(command), "rm -rf '%s'", run.dir);
		return system(command) == 0 ? 0 : 1; /* NOLINT(cert-env33-c) */
	}
	return 1;
}
