/* base/fault.c, compiled into this test with its points on, whatever the build's options are. */
#include <annals/fault.h>

#include "suite.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(test_fault_is_off_until_it_is_set)
{
	for (int i = 0; i < 10; i++) {
		fault_point("a");
		ck_assert_int_eq(fault_errno("a"), 0);
	}
}
END_TEST

START_TEST(test_fault_fails_the_nth_passing_of_one_point_only)
{
	fault_set(NULL, "b:3");
	ck_assert_int_eq(fault_errno("b"), 0);
	ck_assert_int_eq(fault_errno("a"), 0);
	ck_assert_int_eq(fault_errno("b"), 0);
	ck_assert_int_eq(fault_errno("a"), 0);
	ck_assert_int_eq(fault_errno("b"), EIO);
	ck_assert_int_eq(fault_errno("b"), 0);
}
END_TEST

START_TEST(test_fault_fails_so_many_times_or_for_ever)
{
	fault_set(NULL, "a:2:28:2");
	ck_assert_int_eq(fault_errno("a"), 0);
	ck_assert_int_eq(fault_errno("a"), ENOSPC);
	ck_assert_int_eq(fault_errno("a"), ENOSPC);
	ck_assert_int_eq(fault_errno("a"), 0);
	fault_set(NULL, "a:1:4:0");
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(fault_errno("a"), EINTR);
	}
	fault_set(NULL, NULL);
	ck_assert_int_eq(fault_errno("a"), 0);
}
END_TEST

START_TEST(test_fault_star_counts_every_point)
{
	fault_set(NULL, "*:3:5");
	ck_assert_int_eq(fault_errno("a"), 0);
	ck_assert_int_eq(fault_errno("b"), 0);
	ck_assert_int_eq(fault_errno("c"), EIO);
	ck_assert_int_eq(fault_errno("a"), 0);
}
END_TEST

/* How a child ends that passes the point twice, with the variables as they are. */
static int child_status(void)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)fclose(stderr);
		fault_point("a");
		(void)fault_errno("b");
		fault_point("a");
		exit(7);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(test_fault_kills_at_the_nth_passing_named_by_the_environment)
{
	ck_assert_int_eq(setenv("ANNALS_KILL_AT", "a:2", 1), 0);
	ck_assert(WIFSIGNALED(child_status()) && WTERMSIG(child_status()) == SIGKILL);
	ck_assert_int_eq(setenv("ANNALS_KILL_AT", "a:3", 1), 0);
	ck_assert_int_eq(WEXITSTATUS(child_status()), 7);
	ck_assert_int_eq(setenv("ANNALS_KILL_AT", "", 1), 0);
	ck_assert_int_eq(WEXITSTATUS(child_status()), 7);
}
END_TEST

START_TEST(test_fault_refuses_triggers_that_could_never_fire)
{
	static const char *const bad[] = {"a", "a:", ":1", "a:0", "a:x", "a:-1", "a:1x",
		"a:1:", "a:1:0", "a:1:99999", "a:1:5:", "a:1:5:1:", "a: 1",
		"a-name-of-a-point-that-is-longer-than-any-point-of-the-tree-ever-is:1"};

	for (size_t i = 0; i < ANNALS_COUNT_OF(bad); i++) {
		ck_assert_int_eq(setenv("ANNALS_KILL_AT", bad[i], 1), 0);
		int status = child_status();
		ck_assert_msg(
			WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "'%s' passed", bad[i]);
	}
}
END_TEST

START_TEST(test_fault_lists_the_points_passed)
{
	char path[] = "/tmp/annals-fault-XXXXXX", text[64];
	int fd = mkstemp(path);
	ssize_t size;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(setenv("ANNALS_FAULT_LIST", path, 1), 0);
	ck_assert_int_eq(WEXITSTATUS(child_status()), 7);
	size = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	(void)unlink(path);
	ck_assert_int_gt(size, 0);
	text[size] = 0;
	ck_assert_str_eq(text, "a\nb\n");
}
END_TEST

SUITE_MAIN("fault", NULL, NULL, test_fault_is_off_until_it_is_set,
	test_fault_fails_the_nth_passing_of_one_point_only,
	test_fault_fails_so_many_times_or_for_ever, test_fault_star_counts_every_point,
	test_fault_kills_at_the_nth_passing_named_by_the_environment,
	test_fault_refuses_triggers_that_could_never_fire, test_fault_lists_the_points_passed)
