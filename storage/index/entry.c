#include "index/entry.h"

#include <annals/hash.h>

/* The two halves are SipHash under keys that differ in half their bits; the domain goes into the
 * key, so that no byte of data can imitate it. */
struct index_hash index_hash(const uint8_t store_uuid[16], char domain, struct bytes data)
{
	const uint64_t first = load_u64(store_uuid) ^ (uint8_t)domain;
	const uint64_t second = load_u64(store_uuid + 8);
	const uint64_t high_key[2] = {first, second};
	const uint64_t low_key[2] = {first, ~second};

	return (struct index_hash){
		.high = hash_siphash13(high_key, data), .low = hash_siphash13(low_key, data)};
}

void index_entry_write(uint8_t out[INDEX_ENTRY_BYTES], const struct index_entry *entry)
{
	store_u64(out, entry->hash.high);
	store_u64(out + 8, entry->hash.low);
	store_u64(out + 16, entry->order);
	store_u64(out + 24, entry->place);
	store_u64(out + 32, entry->extra);
}

void index_entry_read(const uint8_t in[INDEX_ENTRY_BYTES], struct index_entry *ret)
{
	ret->hash.high = load_u64(in);
	ret->hash.low = load_u64(in + 8);
	ret->order = load_u64(in + 16);
	ret->place = load_u64(in + 24);
	ret->extra = load_u64(in + 32);
}

int index_entry_compare(const struct index_entry *a, const struct index_entry *b)
{
	if (a->hash.high != b->hash.high) {
		return a->hash.high < b->hash.high ? -1 : 1;
	}
	if (a->hash.low != b->hash.low) {
		return a->hash.low < b->hash.low ? -1 : 1;
	}
	return (a->order > b->order) - (a->order < b->order);
}
