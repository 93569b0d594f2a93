/* Frames: a stream of them, as a connection reads it. */
#include <annals/frame.h>

#include "fuzz.h"

#define FRAME_BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame frame;
	struct error err;
	size_t at = 0;
	for (;;) {
		size_t needed = 0;
		struct bytes input = bytes_of(data + at, size - at);
		int status = frame_parse(input, FRAME_BYTES_MAX, &frame, &needed, &err);
		if (status == 0) {
			FUZZ_REQUIRE(needed > input.size && needed >= FRAME_HEADER_BYTES);
			FUZZ_REQUIRE(needed <= FRAME_BYTES_MAX + 4);
		}
		if (status <= 0) {
			FUZZ_REQUIRE(frame.size == 0 && frame.control.size == 0);
			return 0;
		}
		FUZZ_REQUIRE(frame.size >= FRAME_HEADER_BYTES && frame.size <= input.size);
		FUZZ_REQUIRE(
			frame.control.size + frame.data.size + FRAME_HEADER_BYTES == frame.size);
		FUZZ_REQUIRE(frame.data.data + frame.data.size == input.data + frame.size);
		/* One byte less is not a frame yet, and says how much is missing. */
		struct frame cut;
		FUZZ_REQUIRE(frame_parse(bytes_of(input.data, frame.size - 1), FRAME_BYTES_MAX,
				     &cut, &needed, &err) == 0);
		FUZZ_REQUIRE(needed == frame.size);
		uint8_t header[FRAME_HEADER_BYTES];
		frame_write_header(header, frame.kind, frame.operation, -(int)frame.status,
			frame.correlation, frame.control.size, frame.data.size);
		FUZZ_REQUIRE(memcmp(header, input.data, sizeof(header)) == 0);
		at += frame.size;
	}
}
