#include "lmdb/tables.h"

static MDB_val val_of(struct bytes bytes)
{
	MDB_val val;

	/* LMDB takes keys and values without const and does not write to them. */
	memcpy(&val.mv_data, &bytes.data, sizeof(val.mv_data));
	val.mv_size = bytes.size;
	return val;
}

int table_get(struct env *env, MDB_txn *txn, enum table table, struct bytes key,
	struct bytes *ret_value, struct error *err)
{
	MDB_val k = val_of(key), value;
	int code = mdb_get(txn, env->tables[table], &k, &value);

	if (code == MDB_NOTFOUND) {
		return 0;
	}
	if (code != 0) {
		return env_error(code, err, "cannot read a row");
	}
	*ret_value = bytes_of(value.mv_data, value.mv_size);
	return 1;
}

int table_put(struct env *env, MDB_txn *txn, enum table table, struct bytes key, struct bytes value,
	struct error *err)
{
	MDB_val k = val_of(key), v = val_of(value);
	int code = mdb_put(txn, env->tables[table], &k, &v, 0);

	return code == 0 ? 0 : env_error(code, err, "cannot write a row");
}

int table_put_reserve(struct env *env, MDB_txn *txn, enum table table, struct bytes key,
	size_t value_bytes, uint8_t **ret_room, struct error *err)
{
	MDB_val k = val_of(key), v = {.mv_size = value_bytes};
	int code = mdb_put(txn, env->tables[table], &k, &v, MDB_RESERVE);

	if (code != 0) {
		return env_error(code, err, "cannot write a row");
	}
	*ret_room = v.mv_data;
	return 0;
}

int table_delete(
	struct env *env, MDB_txn *txn, enum table table, struct bytes key, struct error *err)
{
	MDB_val k = val_of(key);
	int code = mdb_del(txn, env->tables[table], &k, NULL);

	return code == 0 || code == MDB_NOTFOUND ? 0 : env_error(code, err, "cannot delete a row");
}

int table_get_meta(struct env *env, MDB_txn *txn, struct meta_row *ret, struct error *err)
{
	struct bytes value;
	int found = table_get(env, txn, TABLE_META, bytes_text("store"), &value, err);

	*ret = (struct meta_row){.next_position = 1, .next_topic_id = 1};
	if (found <= 0) {
		return found;
	}
	if (meta_row_parse(value, ret) != 0) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA, "the meta row fails its checksum");
	}
	return 0;
}

int table_put_meta(struct env *env, MDB_txn *txn, const struct meta_row *row, struct error *err)
{
	uint8_t value[META_ROW_BYTES];

	meta_row_write(value, row);
	return table_put(
		env, txn, TABLE_META, bytes_text("store"), bytes_of(value, sizeof(value)), err);
}

int table_get_partition(struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t partition,
	struct partition_row *ret, struct error *err)
{
	uint8_t key[PARTITION_KEY_BYTES];
	struct bytes value;
	int found;

	*ret = (struct partition_row){0};
	partition_key(key, topic_id, partition);
	found = table_get(env, txn, TABLE_PARTITIONS, bytes_of(key, sizeof(key)), &value, err);
	if (found <= 0) {
		return found;
	}
	if (partition_row_parse(value, ret) != 0) {
		return error_fail(err, ANNALS_E_CORRUPT_DATA,
			"the row of topic id %u partition %u fails its checksum", topic_id,
			partition);
	}
	return 0;
}

int table_put_partition(struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t partition,
	const struct partition_row *row, struct error *err)
{
	uint8_t key[PARTITION_KEY_BYTES], value[PARTITION_ROW_BYTES];

	partition_key(key, topic_id, partition);
	partition_row_write(value, row);
	return table_put(env, txn, TABLE_PARTITIONS, bytes_of(key, sizeof(key)),
		bytes_of(value, sizeof(value)), err);
}
