/* One check suite of one test case: SUITE_MAIN("name", setup, teardown, test_a, test_b, ...). */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <annals/error.h>
#include <check.h>
#include <string.h>

static inline int suite_run(const char *name, SFun setup, SFun teardown, const TTest *const *tests,
	size_t count, double timeout_s)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, timeout_s);
	for (size_t i = 0; i < count; i++) {
		tcase_add_test(tcase, tests[i]);
	}
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

#define SUITE_MAIN(name, setup, teardown, ...)                                                     \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		return suite_run(                                                                  \
			name, setup, teardown, tests, sizeof(tests) / sizeof(tests[0]), 30);       \
	}

/* The call failed with this code and a text that says so. */
#define ASSERT_FAILS(call, code, err, says)                                                        \
	do {                                                                                       \
		ck_assert_int_eq((call), (code));                                                  \
		ck_assert_msg(strstr((err).text, (says)) != NULL, "'%s' does not say '%s'",        \
			(err).text, (says));                                                       \
	} while (0)

#endif
