#include <annals/thread.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct sched_attr of Linux, which Debian 12's libc does not declare. */
struct scheduling {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns;
	uint64_t deadline_ns;
	uint64_t period_ns;
};

void thread_set_name(const char *name)
{
	(void)prctl(PR_SET_NAME, name);
}

void thread_set_slice(uint64_t slice_ns)
{
	struct scheduling scheduling;
	int saved = errno;
	memset(&scheduling, 0, sizeof(scheduling));
	/* What is not to change, the policy and the niceness, must be given again. */
	if (syscall(SYS_sched_getattr, 0, &scheduling, sizeof(scheduling), 0) == 0 &&
		scheduling.policy == 0) {
		scheduling.size = sizeof(scheduling);
		scheduling.runtime_ns = slice_ns;
		(void)syscall(SYS_sched_setattr, 0, &scheduling, 0);
	}
	errno = saved;
}
