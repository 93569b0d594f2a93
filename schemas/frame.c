#include <annals/frame.h>

#include <assert.h>

int frame_parse(struct bytes input, size_t frame_bytes_max, struct frame *ret, size_t *ret_needed,
	struct error *err)
{
	*ret = (struct frame){0};
	if (input.size < 4) {
		*ret_needed = FRAME_HEADER_BYTES;
		return 0;
	}
	uint64_t frame_bytes = load_u32(input.data);
	if (frame_bytes < FRAME_HEADER_BYTES - 4) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"the frame says it has %llu bytes, fewer than its header",
			(unsigned long long)frame_bytes);
	}
	if (input.size < FRAME_HEADER_BYTES) {
		*ret_needed = FRAME_HEADER_BYTES;
		return 0;
	}
	ret->kind = input.data[4];
	ret->operation = input.data[5];
	ret->status = load_u16(input.data + 6);
	ret->correlation = load_u32(input.data + 8);
	uint64_t control_bytes = load_u32(input.data + 12);
	if (ret->kind < FRAME_REQUEST || ret->kind > FRAME_PUSH) {
		return error_fail(
			err, ANNALS_E_MALFORMED, "the frame is of unknown kind %u", ret->kind);
	}
	if (ret->kind == FRAME_REQUEST && ret->status != 0) {
		return error_fail(
			err, ANNALS_E_MALFORMED, "the request carries a status, %u", ret->status);
	}
	if (control_bytes > frame_bytes - (FRAME_HEADER_BYTES - 4)) {
		return error_fail(err, ANNALS_E_MALFORMED,
			"the control message of %llu bytes does not fit the frame of %llu bytes",
			(unsigned long long)control_bytes, (unsigned long long)frame_bytes);
	}
	if (frame_bytes > frame_bytes_max) {
		return error_fail(err, ANNALS_E_TOO_LARGE,
			"the frame has %llu bytes, the limit is %zu",
			(unsigned long long)frame_bytes, frame_bytes_max);
	}
	if (input.size - 4 < frame_bytes) {
		*ret_needed = (size_t)frame_bytes + 4;
		return 0;
	}
	ret->size = (size_t)frame_bytes + 4;
	ret->control = bytes_of(input.data + FRAME_HEADER_BYTES, (size_t)control_bytes);
	ret->data = bytes_of(ret->control.data + ret->control.size,
		ret->size - FRAME_HEADER_BYTES - ret->control.size);
	return 1;
}

void frame_write_header(uint8_t out[16], enum frame_kind kind, enum frame_operation operation,
	int status, uint32_t correlation, size_t control_bytes, size_t data_bytes)
{
	assert(control_bytes <= UINT32_MAX / 2 && data_bytes <= UINT32_MAX / 2 - 16);
	assert(status <= 0 && status >= -UINT16_MAX);
	store_u32(out, (uint32_t)(FRAME_HEADER_BYTES - 4 + control_bytes + data_bytes));
	out[4] = (uint8_t)kind;
	out[5] = (uint8_t)operation;
	store_u16(out + 6, (uint16_t)-status);
	store_u32(out + 8, correlation);
	store_u32(out + 12, (uint32_t)control_bytes);
}
