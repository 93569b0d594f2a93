/* Segment and frame headers, at every page of the input, as opening the journal meets them. */
#include "fuzz.h"
#include "journal/journal_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_segment_header header;
	struct journal_frame frame;
	if (size < JOURNAL_HEADER_BYTES) {
		return 0;
	}
	if (journal_segment_header_read(data, &header) == JOURNAL_CHECK_OK) {
		uint8_t again[JOURNAL_HEADER_BYTES];
		struct journal_segment_header reread;
		journal_segment_header_write(again, &header);
		FUZZ_REQUIRE(journal_segment_header_read(again, &reread) == JOURNAL_CHECK_OK);
		FUZZ_REQUIRE(memcmp(&header, &reread, sizeof(header)) == 0);
	}
	for (size_t at = 0; at + JOURNAL_HEADER_BYTES <= size; at += JOURNAL_HEADER_BYTES) {
		size_t left = size - at - JOURNAL_HEADER_BYTES;
		if (journal_frame_read(data + at, &frame) == JOURNAL_CHECK_OK) {
			size_t length = frame.length < left ? frame.length : left;
			(void)journal_frame_check(
				data + at, bytes_of(data + at + JOURNAL_HEADER_BYTES, length));
		}
	}
	return 0;
}
