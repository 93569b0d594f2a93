/* Names that people choose. Pure; any thread. */
#ifndef ANNALS_NAMES_H
#define ANNALS_NAMES_H

#include <annals/bytes.h>
#include <annals/error.h>

#define TOPIC_NAME_MAX 249
#define GROUP_NAME_MAX 249

/* [A-Za-z0-9._-]{1,249}, not ".", "..", nor starting with "__". 0 or ANNALS_E_INVALID with the rule
 * that was broken. */
int topic_name_check(struct bytes name, struct error *err) ANNALS_MUST_CHECK;
/* The same rule. */
int group_name_check(struct bytes name, struct error *err) ANNALS_MUST_CHECK;

#endif
