"""A session of confluent-kafka's schema registry client, unmodified, with a server; 77 without it.

usage: schema_client.py URL COMPILED_DIR
COMPILED_DIR holds common_pb2.py and quake_pb2.py, see test_schema_client.sh.
"""
import sys

try:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError
    from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext
except ImportError as missing:
    print("skipped: no confluent-kafka client with protobuf (%s)" % missing)
    sys.exit(77)

sys.path.insert(0, sys.argv[2])
import common_pb2  # noqa: E402
import quake_pb2  # noqa: E402

OPTIONS = {"use.deprecated.format": False}


def expect(got, wanted):
    assert got == wanted, "got %r, not %r" % (got, wanted)


def expect_error(code, call):
    try:
        call()
    except SchemaRegistryError as error:
        expect(error.error_code, code)
        return
    raise AssertionError("no error %d" % code)


client = SchemaRegistryClient({"url": sys.argv[1]})
context = SerializationContext("quakes", MessageField.VALUE)
event = quake_pb2.Event(head=quake_pb2.Head(id="us1"), place=common_pb2.Place(name="Alaska"))

# The serializer registers what it needs, imports first, and frames with id 2 and message 1.
encoded = ProtobufSerializer(quake_pb2.Event, client, OPTIONS)(event, context)
expect(encoded[:7].hex(), "00000000020202")
expect(ProtobufDeserializer(quake_pb2.Event, OPTIONS)(encoded, context), event)
expect(ProtobufDeserializer(quake_pb2.Event, OPTIONS, client)(encoded, context), event)
expect(client.get_subjects(), ["common.proto", "quakes-value"])
latest = client.get_latest_version("quakes-value")
expect((latest.version, latest.schema_id), (1, 2))
expect([(r.name, r.subject, r.version) for r in latest.schema.references], [("common.proto", "common.proto", 1)])
schema = client.get_schema(2)
expect(schema.schema_type, "PROTOBUF")
expect(client.lookup_schema("quakes-value", schema).version, 1)
expect(client.test_compatibility("quakes-value", schema), True)

expect(client.get_compatibility(), "BACKWARD")
client.set_compatibility("quakes-value", "FULL")
expect(client.get_compatibility("quakes-value"), "FULL")

text = Schema('syntax = "proto3"; package t; message T { int32 a = 1; }', "PROTOBUF")
other = Schema('syntax = "proto3"; package t; message T { string a = 1; }', "PROTOBUF")
expect(client.register_schema("t-value", text), 3)
expect(client.register_schema("u-value", text), 3)
expect(client.test_compatibility("t-value", other), False)
expect_error(409, lambda: client.register_schema("t-value", other))
expect_error(42201, lambda: client.register_schema("a", Schema('"string"', "AVRO")))
expect_error(40401, lambda: client.get_versions("none"))
expect_error(40402, lambda: client.get_version("t-value", 9))
expect_error(42206, lambda: client.delete_subject("common.proto"))
expect(client.delete_version("t-value", 1), 1)
expect(client.delete_subject("u-value"), [1])
expect(client.delete_subject("u-value", permanent=True), [1])
expect(client.get_subjects(), ["common.proto", "quakes-value"])
print("ok")
