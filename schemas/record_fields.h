/* Field numbers of annals.v1.Event (event.proto) for record.c and record_encode.c; a test holds
 * them against the generated descriptor. */
#ifndef SCHEMAS_RECORD_FIELDS_H
#define SCHEMAS_RECORD_FIELDS_H

enum event_field {
	EVENT_id = 1,
	EVENT_source = 2,
	EVENT_type = 3,
	EVENT_subject = 4,
	EVENT_time_ns = 5,
	EVENT_datacontenttype = 6,
	EVENT_dataschema = 7,
	EVENT_key = 8,
	EVENT_data = 9,
	EVENT_schema_version = 10,
	EVENT_extension = 11,
	EVENT_header = 12,
	EVENT_tag = 13,
	EVENT_due_ns = 14,
	EVENT_FIELD_LAST = EVENT_due_ns,
};

#endif
