/*
 * The unit of transport and storage: a stamp, which is the server's, followed by a body, which is
 * the producer's bytes untouched.
 *
 * Stamp, version 1, little-endian. To change it: add a column (readers skip unknown ones) or raise
 * `version` and teach batch_view() both.
 *
 *   at  size  field
 *    0   4    magic 0x31425341 ("ASB1")
 *    4   4    stamp_crc: CRC32C of stamp bytes [8, stamp_bytes); it covers body_crc and so the body
 *    8   1    version = 1
 *    9   1    codec (enum batch_codec)
 *   10   1    body format: 1 = annals.v1.Batch; 2 is reserved for Kafka's RecordBatch
 *   11   1    kind (enum batch_kind)
 *   12   4    stamp_bytes: header and columns, a multiple of 8
 *   16   4    body_bytes, as stored. The body is followed by zeros up to a multiple of 8
 *   20   4    body_crc: CRC32C of the body as stored
 *   24   4    plain_bytes: size of the body decompressed
 *   28   4    count: offsets that the batch covers, at least 1
 *   32   4    topic id
 *   36   4    partition
 *   40   8    base_offset
 *   48   8    base_position
 *   56   8    recorded_us: when it was admitted, microseconds since 1970
 *   64   8    first_time_ns: smallest producer time among the events; INT64_MAX if none has one
 *   72   8    last_time_ns: largest; INT64_MIN if none
 *   80   8    producer_id, 0 = none
 *   88   2    producer_epoch
 *   90   2    flags: none yet; 1 and 2 are reserved for transactions
 *   92   4    first_sequence
 *   96   -    columns: type u16, zero u16, bytes u32, then that many bytes and zeros up to a
 *             multiple of 8
 *
 * A stored batch occupies batch_stored_size() bytes, a multiple of 8, so that batches can be laid
 * end to end.
 */
#ifndef ANNALS_BATCH_H
#define ANNALS_BATCH_H

#include <annals/record.h>

#define BATCH_MAGIC 0x31425341u
#define BATCH_STAMP_BYTES 96u
#define BATCH_STAMP_BYTES_MAX (16u << 20)
#define BATCH_BODY_BYTES_MAX (4u << 20) /* as sent, and again decompressed */

enum batch_codec { BATCH_PLAIN = 0, BATCH_ZSTD = 1, BATCH_LZ4 = 2, BATCH_CODECS };
enum batch_kind { BATCH_DATA = 0, BATCH_CONTROL = 1, BATCH_HOLE = 2 };
#define BATCH_FORMAT_EVENTS 1

/* What a stamp says. */
struct stamp {
	uint8_t codec, body_format, kind;
	uint16_t flags;
	uint32_t body_bytes, body_crc, plain_bytes, count;
	uint32_t topic_id, partition;
	uint64_t base_offset, base_position, recorded_us;
	int64_t first_time_ns, last_time_ns;
	uint64_t producer_id;
	uint16_t producer_epoch;
	uint32_t first_sequence;
};

/* One stored batch, borrowed. */
struct batch {
	struct stamp stamp;
	struct bytes columns; /* the raw columns */
	struct bytes body;    /* as stored */
	struct bytes stored;  /* the whole of it, padding included */
};

/* What a body turned out to hold. */
struct batch_summary {
	uint32_t count;
	uint32_t plain_bytes;
	uint32_t largest_event_bytes;
	int64_t first_time_ns, last_time_ns; /* as in the stamp */
	bool any_key;
	int64_t last_due_ns; /* INT64_MIN: no event has a due time */
};

/* What a body was refused for, where programs want to know. */
enum batch_limit { BATCH_LIMIT_NONE, BATCH_LIMIT_BODY, BATCH_LIMIT_EVENT, BATCH_LIMIT_EVENTS };
struct batch_problem {
	enum batch_limit limit; /* the field of batch_limits that was exceeded, if one was */
	bool has_event_index;
	uint32_t event_index; /* of the event that was refused, from 0 */
};

struct batch_limits {
	/* As sent, and decompressed. 0 = BATCH_BODY_BYTES_MAX, which it cannot exceed. */
	uint32_t body_bytes_max;
	uint32_t event_bytes_max; /* one encoded event; 0 = no limit below the body's */
	uint32_t events_max;      /* 0 = no limit below the body's */
	/* When partitions > 0, every event with a key must belong to `partition` of so many, else
	 * ANNALS_E_WRONG_PARTITION. */
	uint32_t partitions;
	uint32_t partition;
	struct batch_problem *problem; /* filled when the body is refused; may be NULL */
};

/*
 * Opens a body once, on its way in: decompresses (output capped at body_bytes_max), walks it,
 * decodes every event with record_decode(), applies the limits. `scratch` receives the decompressed
 * bytes and can be reused between calls. err names the event by its index. ANNALS_E_MALFORMED,
 * ANNALS_E_TOO_LARGE, ANNALS_E_VALIDATION, ANNALS_E_WRONG_PARTITION, ANNALS_E_CORRUPT_BATCH (does
 * not decompress), ANNALS_E_INVALID (unknown codec), ANNALS_E_NO_MEMORY. An empty body is
 * malformed, and so is any field but `event`. Pure; any thread.
 */
int batch_check_body(struct bytes body, enum batch_codec codec, const struct batch_limits *limits,
	struct buf *scratch, struct batch_summary *ret, struct error *err) ANNALS_MUST_CHECK;

/* Bytes that a batch of this body takes when stored, with so much of columns (a multiple of 8). */
size_t batch_stored_size(size_t body_bytes, size_t columns_bytes);
/*
 * Writes the stamp, columns, body and padding to out, which has batch_stored_size() bytes.
 * stamp->body_bytes must be body.size and stamp->body_crc its CRC32C, which is taken as given.
 * Never fails.
 */
void batch_write(uint8_t *out, const struct stamp *stamp, struct bytes columns, struct bytes body);

/*
 * Reads the stored batch at the start of `stored` without checking any CRC. ANNALS_E_MALFORMED if
 * it is cut short or impossible (unknown version, codec or kind, sizes above the limits or that
 * contradict each other, offsets that overflow, columns that do not add up). Pure; allocates
 * nothing; the result borrows from `stored`.
 */
int batch_view(struct bytes stored, struct batch *ret) ANNALS_MUST_CHECK;
/*
 * Checks both CRCs and the padding. 0 or ANNALS_E_CORRUPT_DATA naming topic id, partition and
 * offset as the stamp has them. Whether they are the ones that belong here is for the caller to
 * compare.
 */
int batch_verify(const struct batch *batch, struct error *err) ANNALS_MUST_CHECK;

/*
 * The plain body: batch->body itself when it is not compressed, else decompressed into scratch.
 * ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY.
 */
int batch_plain_body(
	const struct batch *batch, struct buf *scratch, struct bytes *ret_body) ANNALS_MUST_CHECK;

/*
 * Walks a plain body: *cursor starts at 0; returns 1 with the bytes of the next encoded event, 0 at
 * the end, ANNALS_E_MALFORMED otherwise.
 */
int batch_next_event(struct bytes plain_body, size_t *cursor, struct bytes *ret_event);

/*
 * Compresses `plain` into out (appended): one frame that says its size, without dictionary.
 * ANNALS_E_NO_MEMORY, ANNALS_E_INVALID for an unknown codec. level 0 = the codec's default; levels
 * are those of libzstd and liblz4.
 */
int batch_compress(
	struct bytes plain, enum batch_codec codec, int level, struct buf *out) ANNALS_MUST_CHECK;
/*
 * Decompresses into out (appended; as it was on failure), refusing more than output_max bytes.
 * Memory stays below about three times output_max. Refused as ANNALS_E_CORRUPT_BATCH: all that is
 * not exactly one frame (skippable or second frames, trailing bytes), dictionaries, zstd windows
 * above 8 MiB, wrong checksums or sizes. ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY, ANNALS_E_INVALID
 * for an unknown codec.
 */
int batch_decompress(struct bytes packed, enum batch_codec codec, size_t output_max,
	struct buf *out) ANNALS_MUST_CHECK;
/* "plain", "zstd", "lz4"; else ANNALS_E_INVALID. The name of an unknown codec is "unknown". */
int batch_codec_parse(struct bytes name, enum batch_codec *ret) ANNALS_MUST_CHECK;
const char *batch_codec_name(enum batch_codec codec);

#endif
