"""Descriptors printed as .proto source and compiled by protoc again: the same descriptors come out.

usage: print_oracle.py DRIVER PROTOC PROTO_DIRECTORY SOURCE_DIRECTORY [--seed N] [--count N]
"""
import argparse
import glob
import os
import random
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

from driver import Driver
from random_schema import random_file

RICH = """
syntax = "proto2";
package rich.types;
import public "google/protobuf/any.proto";
import "google/protobuf/descriptor.proto";
import "annals/options.proto";
option java_package = "a.\\"b\\"";
option optimize_for = CODE_SIZE;
option (note) = "file \\\\ \\303\\251";
enum Kind { option allow_alias = true; NONE = 0; SAME = 0 [deprecated = true]; LOW = -5; reserved 7, 9 to 11, 100 to max; reserved "OLD"; }
extend google.protobuf.FileOptions { optional string note = 50001; }
extend google.protobuf.FieldOptions {
  optional sint32 weight = 50002; repeated uint64 list = 50003; optional Kind kind = 50004; optional double ratio = 50005; optional float part = 50006;
  optional bytes raw = 50007; optional bool flag = 50008; optional fixed32 word = 50009; optional sfixed64 signed = 50010;
}
extend google.protobuf.EnumValueOptions { optional string label = 50011; }
extend google.protobuf.MessageOptions { optional int32 level = 50012; }
extend google.protobuf.ServiceOptions { optional int64 cost = 50013; }
message Outer {
  option (level) = -3;
  option deprecated = true;
  required int32 a = 1 [default = -7, (weight) = -9, deprecated = true];
  optional string text = 2 [default = "x\\"y\\n\\\\", json_name = "TEXT", (list) = 1, (list) = 18446744073709551615];
  optional bytes raw = 3 [default = "\\000\\377\\"\\\\", (.rich.types.raw) = "\\001z"];
  optional double d = 4 [default = -inf, (ratio) = 1.5e-7, (part) = 0.1];
  optional float f = 5 [default = nan];
  optional bool b = 6 [default = true, (flag) = false];
  optional Kind kind = 7 [default = LOW, (.rich.types.kind) = LOW];
  repeated int32 packed = 8 [packed = true, (word) = 4000000000, (signed) = -1];
  map<string, Inner> first = 9;
  message Inner { optional Outer back = 1; message Deep { optional Kind kind = 1; enum Local { ZERO = 0; } optional Local local = 2; } }
  map<int64, Kind> second = 10;
  oneof choice { string left = 11 [(annals.key) = true]; Inner.Deep right = 12; }
  optional uint64 after = 13 [jstype = JS_STRING];
  extensions 100 to 199;
  extensions 1000 to max;
  reserved 20, 30 to 39;
  reserved "gone", "lost";
  extend Outer { optional int32 inside = 100; }
}
extend Outer { repeated Outer.Inner more = 101; optional string word_more = 102 [default = "w"]; }
enum Labelled { A = 1 [(label) = "the \\"a\\""]; }
service Calls {
  option (cost) = -12;
  rpc One(Outer) returns (Outer.Inner);
  rpc Two(stream Outer) returns (stream .rich.types.Outer) { option deprecated = true; option idempotency_level = IDEMPOTENT; }
}
"""
THIRD = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Plain {
  optional int32 seen = 1;
  google.protobuf.Timestamp at = 2;
  repeated sint64 many = 3 [packed = false];
  repeated string names = 4;
  map<uint32, bytes> blobs = 5;
  oneof either { bool yes = 6; double no = 7; }
  optional string last_name_2 = 8 [json_name = "surname"];
  string odd__name_ = 9;
}
"""


def compiled(protoc, paths, name):
    result = subprocess.run([protoc] + ["-I" + path for path in paths] + ["--include_imports", "--descriptor_set_out=/dev/stdout", name],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return descriptor_pb2.FileDescriptorSet.FromString(result.stdout) if result.returncode == 0 else None, result.stderr.decode()


def file_of(files, name):
    file = descriptor_pb2.FileDescriptorProto()
    file.CopyFrom(next(f for f in files.file if f.name == name))
    file.ClearField("source_code_info")
    if file.syntax == "proto2":
        file.ClearField("syntax")
    return file


def round_trip(driver, protoc, paths, files, name):
    """False: not printed (groups, options that are messages)."""
    status, answer = driver.ask("D", files.SerializeToString())
    if status != 0:
        sys.exit("%s is refused: %s" % (name, answer.decode()))
    status, text = driver.ask("T", name)
    if status != 0:
        return False
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(text)
        again, errors = compiled(protoc, [directory] + paths, name)
    if again is None:
        sys.exit("protoc refuses what was printed of %s: %s\n%s" % (name, errors, text.decode()))
    before, after = file_of(files, name), file_of(again, name)
    if before != after:
        sys.exit("%s comes out different:\n%s\n--- before\n%s\n--- after\n%s" % (name, text.decode(), before, after))
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("protoc")
    parser.add_argument("protos")
    parser.add_argument("source")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    driver, protoc = Driver(arguments.driver), arguments.protoc
    done = 0
    with tempfile.TemporaryDirectory() as own:
        for name, text in (("rich.proto", RICH), ("third.proto", THIRD),
                           ("group.proto", "syntax = \"proto2\"; message M { optional group G = 1 { optional int32 a = 2; } }")):
            with open(os.path.join(own, name), "w") as out:
                out.write(text)
        schemas = os.path.join(arguments.source, "examples/schemas")
        samples = os.path.join(arguments.source, "tests/schema")
        paths = [own, arguments.protos, schemas, samples]
        names = ["rich.proto", "third.proto", "annals/options.proto"] + ["google/protobuf/%s.proto" % n for n in (
            "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type", "wrappers")]
        names += sorted(os.path.basename(p) for p in glob.glob(schemas + "/*.proto") + glob.glob(samples + "/*.proto"))
        for name in names:
            files, errors = compiled(protoc, paths, name)
            if files is None:
                sys.exit("protoc refuses %s: %s" % (name, errors))
            if round_trip(driver, protoc, paths, files, name):
                done += 1
            elif name != "sample2.proto":  # has groups
                sys.exit("%s is not printed" % name)
        if round_trip(driver, protoc, paths, compiled(protoc, paths, "group.proto")[0], "group.proto"):
            sys.exit("a group was printed")
        rng = random.Random(arguments.seed)
        timestamp = compiled(protoc, paths, "google/protobuf/timestamp.proto")[0].file[0]
        random_done = 0
        for index in range(arguments.count):
            file, _ = random_file(rng, index)
            # As protoc would have it.
            files = descriptor_pb2.FileDescriptorSet(file=[timestamp, file])
            status, _ = driver.ask("D", files.SerializeToString())
            status, text = driver.ask("T", file.name)
            if status != 0:
                continue
            with open(os.path.join(own, file.name), "wb") as out:
                out.write(text)
            first, errors = compiled(protoc, paths, file.name)
            if first is None:
                sys.exit("protoc refuses what was printed: %s\n%s" % (errors, text.decode()))
            if not same_types(file, file_of(first, file.name)):
                sys.exit("types differ:\n%s\n%s" % (file, first))
            if not round_trip(driver, protoc, paths, first, file.name):
                sys.exit("not printed again")
            random_done += 1
    driver.close()
    if random_done * 2 < arguments.count:
        sys.exit("of %d random schemas only %d were printed" % (arguments.count, random_done))
    print("seed %d: %d files and %d random ones come out the same" % (arguments.seed, done, random_done))


def same_types(before, after):
    """The generator leaves out what protoc writes: JSON names; the rest must agree, in any order."""
    def clean(message):
        for field in message.field:
            field.ClearField("json_name")
        for nested in message.nested_type:
            clean(nested)
        nested = sorted(message.nested_type, key=lambda m: m.name)
        message.ClearField("nested_type")
        message.nested_type.extend(nested)
        fields = sorted(message.field, key=lambda f: f.number)
        message.ClearField("field")
        message.field.extend(fields)
        return message

    def types(file):
        copy = descriptor_pb2.FileDescriptorProto()
        copy.CopyFrom(file)
        return [clean(m) for m in copy.message_type], list(copy.enum_type), list(copy.extension)

    return types(before) == types(after)


if __name__ == "__main__":
    main()
