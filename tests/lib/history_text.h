/* Histories written as text, for tests of the checker. One operation a line:
 *
 *   CLIENT BEGIN-END VERB [WORD ...]        times in milliseconds
 *
 * Verbs: append read commit fetch deliver ack refuse park trim topic server. Words: pN partition,
 * @N offset, N the value of an event, #N number (appends: of their own by default), tryN attempt,
 * unknown, refused, conflict, idem, os, seqN, epochN, keyN stream, verN, expN, exists, startN,
 * endN, countN, genN, groupN, reset, seek, back, hole, replayed, delN; `|` begins the next part.
 */
#ifndef TESTS_HISTORY_TEXT_H
#define TESTS_HISTORY_TEXT_H

#include "checker.h"

/* Writes the text as a history to fd; aborts on what it does not understand. */
void history_from_text(const char *text, int fd);
/* Judges everything in the file. Aborts when it cannot be read. */
void history_judge_file(const char *path, struct checker_report *ret);

#endif
