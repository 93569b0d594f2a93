/*
 * The options of a schema (extract.h) against a whole event: its key, subject, time and tags. A tag
 * from the data is "name:value".
 *
 * Who may still change the event fills it (extract_event_fill); who got it encoded, to be kept as
 * it is, checks it (extract_event_check). What is filled passes the check. Pure; any thread.
 */
#ifndef ANNALS_EXTRACT_EVENT_H
#define ANNALS_EXTRACT_EVENT_H

#include <annals/extract.h>
#include <annals/record.h>

/* What a filled record points to. Zeroed at first; it must stay where it is. */
struct extract_event {
	struct extract found;
	struct buf texts;
	struct bytes tags[RECORD_TAGS_MAX];
};
/* NULL and zeroed memory: a no-op. */
void extract_event_release(struct extract_event *event);

/*
 * Sets the record's key, subject and time to what its data say, where they say something, and adds
 * the tags that it does not have yet to those in record->tags (a maker's record, not a decoded
 * one). The record then points into *event until the next use.
 *
 * As extract_message(); also ANNALS_E_TOO_LARGE: RECORD_TAGS_MAX, and ANNALS_E_NO_MEMORY. On
 * failure *record may be changed in part.
 */
int extract_event_fill(struct extract_event *event, const struct descriptor_message *type,
	struct record *record, struct error *err) ANNALS_MUST_CHECK;

/*
 * Is a decoded record's key, subject and time what its data say, and are their tags among its own?
 * ANNALS_E_VALIDATION says which is not; otherwise as extract_message().
 */
int extract_event_check(const struct descriptor_message *type, const struct record *record,
	struct error *err) ANNALS_MUST_CHECK;

#endif
