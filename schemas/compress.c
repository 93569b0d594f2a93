/*
 * Bodies in a zstd frame (RFC 8878) or an LZ4 frame (lz4_Frame_format.md 1.6). Exactly one frame,
 * no skippable ones, no dictionary, nothing behind it. Contexts live for one call: nothing is
 * shared between threads, and the largest is a few hundred KiB plus, for LZ4, two blocks.
 */
#include <annals/batch.h>

#include <annals/macros.h>
#include <lz4frame.h>
#include <zstd.h>
#include <zstd_errors.h>

#define ZSTD_MAGIC 0xfd2fb528u
#define LZ4_MAGIC 0x184d2204u
/* RFC 8878, 3.1.1.1.2: every decoder should take windows of 8 MiB. Readers get the frames as they
 * came, so larger ones are refused. */
#define ZSTD_WINDOW_BYTES_MAX (8u << 20)
#define FIRST_ROOM_BYTES 65536u

struct zstd_header {
	uint64_t window_bytes;
	bool has_dictionary;
};

/* Reads the frame header (RFC 8878, 3.1.1.1); libzstd's own reader of it is not part of its stable
 * interface. */
static bool read_zstd_header(struct bytes packed, struct zstd_header *ret)
{
	static const uint8_t dictionary_bytes[] = {0, 1, 2, 4};
	if (packed.size < 6 || load_u32(packed.data) != ZSTD_MAGIC) {
		return false;
	}
	uint8_t descriptor = packed.data[4];
	size_t at = 5;
	bool single_segment = (descriptor & 0x20) != 0;
	ret->window_bytes = 0;
	if (!single_segment) {
		uint64_t base = UINT64_C(1) << (10 + (packed.data[at] >> 3));
		ret->window_bytes = base + base / 8 * (packed.data[at] & 7);
		at++;
	}
	size_t id_bytes = dictionary_bytes[descriptor & 3];
	if (packed.size - at < id_bytes) {
		return false;
	}
	ret->has_dictionary = false;
	for (size_t i = 0; i < id_bytes; i++) {
		ret->has_dictionary |= packed.data[at + i] != 0;
	}
	return true;
}

/* How much room to offer at first for so many packed bytes, and after that twice as much each time.
 */
static size_t first_room(size_t packed_bytes, size_t output_max)
{
	return ANNALS_MIN(output_max, ANNALS_MAX(packed_bytes * 4, FIRST_ROOM_BYTES));
}

static int decompress_zstd(struct bytes packed, size_t output_max, struct buf *out)
{
	struct zstd_header header;
	if (!read_zstd_header(packed, &header) || header.has_dictionary ||
		header.window_bytes > ZSTD_WINDOW_BYTES_MAX ||
		ZSTD_findFrameCompressedSize(packed.data, packed.size) != packed.size) {
		return ANNALS_E_CORRUPT_BATCH;
	}
	unsigned long long declared = ZSTD_getFrameContentSize(packed.data, packed.size);
	if (declared == ZSTD_CONTENTSIZE_ERROR) {
		return ANNALS_E_CORRUPT_BATCH;
	}
	bool is_declared = declared != ZSTD_CONTENTSIZE_UNKNOWN;
	if (is_declared && declared > output_max) {
		return ANNALS_E_TOO_LARGE;
	}
	ZSTD_DCtx *context = ZSTD_createDCtx();
	if (context == NULL) {
		return ANNALS_E_NO_MEMORY;
	}
	size_t room = is_declared ? (size_t)declared : first_room(packed.size, output_max);
	int status;
	for (;;) {
		status = buf_reserve(out, ANNALS_MAX(room, 1));
		if (status < 0) {
			break;
		}
		/* One shot into the output itself: the window needs no memory of its own. */
		size_t done = ZSTD_decompressDCtx(
			context, out->data + out->size, room, packed.data, packed.size);
		if (!ZSTD_isError(done)) {
			out->size += done;
			break;
		}
		if (is_declared || ZSTD_getErrorCode(done) != ZSTD_error_dstSize_tooSmall) {
			status = ANNALS_E_CORRUPT_BATCH;
			break;
		}
		if (room == output_max) {
			status = ANNALS_E_TOO_LARGE;
			break;
		}
		room = ANNALS_MIN(output_max, room * 2);
	}
	ZSTD_freeDCtx(context);
	return status;
}

/*
 * Decodes the frame whose header was read, from packed[at..] to its end, into out. declared is the
 * size that the header tells, 0 if none. The library checks block and content checksums and the
 * declared size where the frame has them.
 */
static int run_lz4(LZ4F_dctx *context, struct bytes packed, size_t at, size_t declared,
	size_t output_max, struct buf *out)
{
	/* Earlier output may be referred to in place as long as growing does not move it. */
	const LZ4F_decompressOptions_t options = {.stableDst = declared > 0};
	size_t cap = declared > 0 ? declared : output_max;
	size_t room = declared > 0 ? declared : first_room(packed.size, output_max);
	size_t start = out->size;
	for (;;) {
		size_t left = cap - (out->size - start);
		size_t output_bytes = ANNALS_MIN(left, room);
		/* One more than declared: the rounds after the last byte of output must not grow it
		 * either. */
		int status = buf_reserve(out, output_bytes + 1);
		if (status < 0) {
			return status;
		}
		size_t input_bytes = packed.size - at;
		size_t hint = LZ4F_decompress(context, out->data + out->size, &output_bytes,
			packed.data + at, &input_bytes, &options);
		if (LZ4F_isError(hint)) {
			return ANNALS_E_CORRUPT_BATCH;
		}
		out->size += output_bytes;
		at += input_bytes;
		if (hint == 0) {
			return at == packed.size ? 0 : ANNALS_E_CORRUPT_BATCH;
		}
		if (output_bytes == 0 && input_bytes == 0) {
			return left == 0 && declared == 0 ? ANNALS_E_TOO_LARGE
							  : ANNALS_E_CORRUPT_BATCH;
		}
		room = ANNALS_MAX(room, out->size - start);
	}
}

static int decompress_lz4(struct bytes packed, size_t output_max, struct buf *out)
{
	if (packed.size < 4 || load_u32(packed.data) != LZ4_MAGIC) {
		return ANNALS_E_CORRUPT_BATCH;
	}
	LZ4F_dctx *context;
	if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
		return ANNALS_E_NO_MEMORY;
	}
	LZ4F_frameInfo_t info;
	size_t at = packed.size;
	int status = 0;
	if (LZ4F_isError(LZ4F_getFrameInfo(context, &info, packed.data, &at)) || info.dictID != 0) {
		status = ANNALS_E_CORRUPT_BATCH;
	} else if (info.contentSize > output_max) {
		status = ANNALS_E_TOO_LARGE;
	} else {
		status = run_lz4(context, packed, at, (size_t)info.contentSize, output_max, out);
	}
	LZ4F_freeDecompressionContext(context);
	return status;
}

int batch_decompress(
	struct bytes packed, enum batch_codec codec, size_t output_max, struct buf *out)
{
	size_t start = out->size;
	int status;
	switch (codec) {
	case BATCH_PLAIN:
		if (packed.size > output_max) {
			return ANNALS_E_TOO_LARGE;
		}
		return buf_add(out, packed.data, packed.size);
	case BATCH_ZSTD:
		status = decompress_zstd(packed, output_max, out);
		break;
	case BATCH_LZ4:
		status = decompress_lz4(packed, output_max, out);
		break;
	case BATCH_CODECS:
	default:
		return ANNALS_E_INVALID;
	}
	if (status < 0) {
		out->size = start;
	}
	return status;
}

static int compress_zstd(struct bytes plain, int level, struct buf *out)
{
	size_t room = ZSTD_compressBound(plain.size);
	int status = ZSTD_isError(room) ? ANNALS_E_NO_MEMORY : buf_reserve(out, room);
	if (status < 0) {
		return status;
	}
	size_t done = ZSTD_compress(out->data + out->size, room, plain.data, plain.size,
		level == 0 ? ZSTD_CLEVEL_DEFAULT : level);
	if (ZSTD_isError(done)) {
		return ANNALS_E_NO_MEMORY; /* all else is excluded: there is room, and levels are
					      clamped */
	}
	out->size += done;
	return 0;
}

static int compress_lz4(struct bytes plain, int level, struct buf *out)
{
	const LZ4F_preferences_t preferences = {
		.frameInfo = {.blockSizeID = LZ4F_max256KB, .contentSize = plain.size},
		.compressionLevel = level,
	};
	size_t room = LZ4F_compressFrameBound(plain.size, &preferences);
	int status = LZ4F_isError(room) ? ANNALS_E_NO_MEMORY : buf_reserve(out, room);
	if (status < 0) {
		return status;
	}
	size_t done = LZ4F_compressFrame(
		out->data + out->size, room, plain.data, plain.size, &preferences);
	if (LZ4F_isError(done)) {
		return ANNALS_E_NO_MEMORY;
	}
	out->size += done;
	return 0;
}

int batch_compress(struct bytes plain, enum batch_codec codec, int level, struct buf *out)
{
	switch (codec) {
	case BATCH_PLAIN:
		return buf_add(out, plain.data, plain.size);
	case BATCH_ZSTD:
		return compress_zstd(plain, level, out);
	case BATCH_LZ4:
		return compress_lz4(plain, level, out);
	case BATCH_CODECS:
	default:
		return ANNALS_E_INVALID;
	}
}

static const char *const codec_names[BATCH_CODECS] = {
	[BATCH_PLAIN] = "plain", [BATCH_ZSTD] = "zstd", [BATCH_LZ4] = "lz4"};

int batch_codec_parse(struct bytes name, enum batch_codec *ret)
{
	for (unsigned i = 0; i < BATCH_CODECS; i++) {
		if (bytes_is(name, codec_names[i])) {
			*ret = (enum batch_codec)i;
			return 0;
		}
	}
	return ANNALS_E_INVALID;
}

const char *batch_codec_name(enum batch_codec codec)
{
	return codec < BATCH_CODECS ? codec_names[codec] : "unknown";
}
