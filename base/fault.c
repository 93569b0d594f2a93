#include <annals/fault.h>

#ifdef ANNALS_FAULT_INJECTION

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POINTS_MAX 256

struct trigger {
	char point[64]; /* empty: off */
	unsigned long first;
	int errno_value;
	unsigned long times; /* 0 = for ever */
};

struct point {
	const char *name;
	unsigned long passed, asked;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct trigger kill_trigger, fail_trigger;
static struct point points[POINTS_MAX];
static size_t point_count;
static unsigned long any_passed, any_asked;
static bool environment_read;

/* point:n[:errno[:times]] */
static void parse_trigger(struct trigger *trigger, const char *text)
{
	const char *colon;
	char *end;

	memset(trigger, 0, sizeof(*trigger));
	if (text == NULL || (colon = strchr(text, ':')) == NULL ||
		(size_t)(colon - text) >= sizeof(trigger->point)) {
		return;
	}
	memcpy(trigger->point, text, (size_t)(colon - text));
	trigger->first = strtoul(colon + 1, &end, 10);
	trigger->errno_value = EIO;
	trigger->times = 1;
	if (*end == ':') {
		trigger->errno_value = (int)strtol(end + 1, &end, 10);
	}
	if (*end == ':') {
		trigger->times = strtoul(end + 1, &end, 10);
	}
}

static void read_environment(void)
{
	if (!environment_read) {
		environment_read = true;
		parse_trigger(&kill_trigger, getenv("ANNALS_KILL_AT"));
		parse_trigger(&fail_trigger, getenv("ANNALS_FAIL_AT"));
		if (getenv("ANNALS_FAULT_LIST") != NULL) {
			(void)atexit(fault_list_at_exit);
		}
	}
}

static struct point *find_point(const char *name)
{
	static struct point overflow;

	for (size_t i = 0; i < point_count; i++) {
		if (strcmp(points[i].name, name) == 0) {
			return &points[i];
		}
	}
	if (point_count == POINTS_MAX) {
		return &overflow;
	}
	points[point_count].name = name;
	return &points[point_count++];
}

static bool matches(
	const struct trigger *trigger, const char *name, unsigned long passing, unsigned long any)
{
	bool wildcard = strcmp(trigger->point, "*") == 0;
	unsigned long n = wildcard ? any : passing;

	if (trigger->point[0] == 0 || (!wildcard && strcmp(trigger->point, name) != 0)) {
		return false;
	}
	return n >= trigger->first && (trigger->times == 0 || n < trigger->first + trigger->times);
}

void fault_point(const char *name)
{
	struct point *point;
	bool now;

	(void)pthread_mutex_lock(&mutex);
	read_environment();
	point = find_point(name);
	now = matches(&kill_trigger, name, ++point->passed, ++any_passed);
	(void)pthread_mutex_unlock(&mutex);
	if (now) {
		(void)kill(getpid(), SIGKILL);
	}
}

int fault_errno(const char *name)
{
	struct point *point;
	bool now;

	(void)pthread_mutex_lock(&mutex);
	read_environment();
	point = find_point(name);
	now = matches(&fail_trigger, name, ++point->asked, ++any_asked);
	(void)pthread_mutex_unlock(&mutex);
	return now ? fail_trigger.errno_value : 0;
}

void fault_list_at_exit(void)
{
	const char *path = getenv("ANNALS_FAULT_LIST");
	FILE *file = path != NULL ? fopen(path, "we") : NULL;

	if (file == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&mutex);
	for (size_t i = 0; i < point_count; i++) {
		(void)fprintf(file, "%s\n", points[i].name);
	}
	(void)pthread_mutex_unlock(&mutex);
	(void)fclose(file);
}

void fault_set(const char *kill_at, const char *fail_at)
{
	(void)pthread_mutex_lock(&mutex);
	environment_read = true;
	parse_trigger(&kill_trigger, kill_at);
	parse_trigger(&fail_trigger, fail_at);
	memset(points, 0, sizeof(points));
	point_count = 0;
	any_passed = any_asked = 0;
	(void)pthread_mutex_unlock(&mutex);
}

#else
/* ISO C wants a translation unit to hold something. */
extern int fault_injection_is_off;
#endif
