/* Names of topics and groups. */
#include <annals/names.h>

#include "suite.h"

static struct error err;

static void setup(void)
{
	err = (struct error){0};
}

static void teardown(void)
{
}

START_TEST(test_names_good_ones)
{
	static const char *const names[] = {
		"a", "earthquakes", "A.b_c-9", "...", "_a", ".a", "-", "0", "a__b", "_._"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		ck_assert_int_eq(topic_name_check(bytes_text(names[i]), &err), 0);
		ck_assert_int_eq(group_name_check(bytes_text(names[i]), &err), 0);
	}
	ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(test_names_length)
{
	char name[TOPIC_NAME_MAX + 1];
	memset(name, 'n', sizeof(name));
	ck_assert_int_eq(topic_name_check(bytes_of(name, TOPIC_NAME_MAX), &err), 0);
	ASSERT_FAILS(topic_name_check(bytes_of(name, TOPIC_NAME_MAX + 1), &err), ANNALS_E_INVALID,
		err, "the topic name has 250 characters, the limit is 249");
	ASSERT_FAILS(topic_name_check(bytes_of(NULL, 0), &err), ANNALS_E_INVALID, err,
		"the topic name is empty");
	ck_assert_int_eq(group_name_check(bytes_of(name, GROUP_NAME_MAX), NULL), 0);
	ASSERT_FAILS(group_name_check(bytes_of(name, GROUP_NAME_MAX + 1), &err), ANNALS_E_INVALID,
		err, "the group name has 250");
}
END_TEST

START_TEST(test_names_reserved_ones)
{
	static const char *const names[] = {".", "..", "__", "__offsets"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(names); i++) {
		ASSERT_FAILS(topic_name_check(bytes_text(names[i]), &err), ANNALS_E_INVALID, err,
			"reserved");
		ck_assert_int_eq(group_name_check(bytes_text(names[i]), NULL), ANNALS_E_INVALID);
	}
}
END_TEST

START_TEST(test_names_every_other_byte_is_refused)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	for (int c = 0; c < 256; c++) {
		uint8_t name[3] = {'a', (uint8_t)c, 'b'};
		bool fits = c != 0 && strchr(allowed, c) != NULL;
		int status = topic_name_check(bytes_of(name, sizeof(name)), &err);
		ck_assert_int_eq(status, fits ? 0 : ANNALS_E_INVALID);
		if (!fits) {
			ck_assert_str_eq(err.text,
				"the topic name has a character outside [A-Za-z0-9._-] at byte 1");
		}
	}
}
END_TEST

SUITE_MAIN("names", setup, teardown, test_names_good_ones, test_names_length,
	test_names_reserved_ones, test_names_every_other_byte_is_refused)
