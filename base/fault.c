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

/* Decimal digits after a colon. */
static bool take_number(const char **text, unsigned long *ret_value)
{
	char *end;

	if (**text != ':' || (*text)[1] < '0' || (*text)[1] > '9') {
		return false;
	}
	*ret_value = strtoul(*text + 1, &end, 10);
	*text = end;
	return true;
}

/* point:n[:errno[:times]]. A trigger that never fires would make its test pass, so it is fatal. */
static void parse_trigger(struct trigger *trigger, const char *text)
{
	const char *rest = text != NULL ? strchr(text, ':') : NULL;
	size_t length = rest != NULL ? (size_t)(rest - text) : 0;
	unsigned long errno_value = EIO;

	memset(trigger, 0, sizeof(*trigger));
	if (text == NULL || *text == 0) {
		return;
	}
	trigger->times = 1;
	if (length > 0 && length < sizeof(trigger->point) && take_number(&rest, &trigger->first) &&
		trigger->first > 0 &&
		(*rest == 0 || (take_number(&rest, &errno_value) && errno_value > 0 &&
				       errno_value < 4096)) &&
		(*rest == 0 || take_number(&rest, &trigger->times)) && *rest == 0) {
		memcpy(trigger->point, text, length);
		trigger->errno_value = (int)errno_value;
		return;
	}
	(void)fprintf(stderr, "fault trigger '%s' is not POINT:N[:ERRNO[:TIMES]]\n", text);
	abort();
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
	int errno_value = 0;
	bool now;

	(void)pthread_mutex_lock(&mutex);
	read_environment();
	point = find_point(name);
	if (matches(&fail_trigger, name, ++point->asked, ++any_asked)) {
		errno_value = fail_trigger.errno_value;
	}
	/* Where a call may fail, the process may die as well. */
	now = point->passed == 0 && matches(&kill_trigger, name, point->asked, any_asked);
	(void)pthread_mutex_unlock(&mutex);
	if (now) {
		(void)kill(getpid(), SIGKILL);
	}
	return errno_value;
}

static pthread_once_t mutation_once = PTHREAD_ONCE_INIT;
static const char *mutation;

static void read_mutation(void)
{
	mutation = getenv("ANNALS_MUTATION");
}

bool fault_mutation(const char *name)
{
	(void)pthread_once(&mutation_once, read_mutation);
	return mutation != NULL && strcmp(mutation, name) == 0;
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
