"""Random schemas and messages, valid and broken: schema_driver and protobuf's own library must agree.

usage: oracle.py DRIVER [--seed N] [--messages N]
"""
import argparse
import random
import sys
import warnings

from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.message import DecodeError

from driver import Driver
from random_schema import class_of, fill, mutate, pool_of, random_file

MISMATCH_ALLOWED = bytes([4])
TIMESTAMP = descriptor_pb2.FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)


def accepts(message_class, data):
    message = message_class()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            message.ParseFromString(data)
        except DecodeError:
            return None
    # A warning tells of an end-group tag without its group.
    return message if not caught and message.IsInitialized() else None


def check_message(driver, message_class, name, data, counts):
    theirs = accepts(message_class, data)
    status, answer = driver.ask("V", name, data, MISMATCH_ALLOWED)
    counts["accepted" if status == 0 else "refused"] += 1
    if (status == 0) == (theirs is not None):
        return True
    if status != 0:
        # Stricter by design (validate.h): what they make of it must still be valid for us.
        counts["stricter"] += 1
        return driver.ask("V", name, theirs.SerializeToString(), MISMATCH_ALLOWED)[0] == 0 and (
            b"cut short or not protobuf" in answer or b"required" in answer)
    return False


def check_schema(driver, rng, index, messages, counts):
    file, names = random_file(rng, index)
    try:
        pool = pool_of([TIMESTAMP, file])
        pool.FindFileByName(file.name)
    except TypeError as error:
        raise SystemExit("the generator made a schema that protobuf refuses: %s\n%s" % (error, file))
    descriptors = descriptor_pb2.FileDescriptorSet(file=[TIMESTAMP, file])
    status, answer = driver.ask("D", descriptors.SerializeToString())
    if status != 0:
        raise SystemExit("schema %d is refused: %s\n%s" % (index, answer.decode(), file))
    counts["schemas"] += 1
    for _ in range(messages):
        name = rng.choice(names)
        message_class = class_of(pool, name)
        message = message_class()
        fill(rng, message)
        data = message.SerializePartialToString()
        broken = mutate(rng, data)
        for case in (data, broken):
            if not check_message(driver, message_class, name, case, counts):
                raise SystemExit("schema %d: disagreement on %s %s: %s\n%s" % (
                    index, name, case.hex(), driver.ask("V", name, case, MISMATCH_ALLOWED), file))


def without_some_fields(rng, message):
    """Removes fields of the message and of those in it; what stands in a oneof or in a map's entry stays."""
    if not message.options.map_entry:
        kept = [field for field in message.field if field.HasField("oneof_index") or rng.random() < 0.7]
        del message.field[:]
        message.field.extend(kept)
    for nested in message.nested_type:
        without_some_fields(rng, nested)


# Types that read each other's encoding, as numbers of FieldDescriptorProto.Type.
ALIKE = ((3, 4, 5, 13), (6, 16), (7, 15), (17, 18), (9, 12))


def changed(rng, message, counts):
    """Fields get other names, types that read the same encoding, and lists in place of single values."""
    if not message.options.map_entry:
        for number, field in enumerate(message.field):
            if field.type != 10 and not field.type_name.endswith("Entry") and rng.random() < 0.3:
                field.name = "renamed_%d_of_it" % number
                field.ClearField("json_name")
                counts["renamed fields"] += 1
            alike = [types for types in ALIKE if field.type in types]
            if alike and rng.random() < 0.4:
                # Text may not become bytes and back: bytes need not be UTF-8.
                field.type = 12 if field.type in (9, 12) else rng.choice(alike[0])
                field.ClearField("default_value")
                counts["retyped fields"] += 1
            if field.label == 1 and not field.HasField("oneof_index") and field.type != 10 and rng.random() < 0.2:
                field.label = 3
                field.ClearField("default_value")
                field.ClearField("proto3_optional")
                counts["fields made lists"] += 1
    for nested in message.nested_type:
        changed(rng, nested, counts)


def check_projection(driver, rng, index, messages, counts):
    """What is projected to a version with fewer and changed fields reads like the original there, without what is unknown."""
    file, names = random_file(rng, index)
    fewer = descriptor_pb2.FileDescriptorProto()
    fewer.CopyFrom(file)
    for message in fewer.message_type:
        without_some_fields(rng, message)
        changed(rng, message, counts)
    old_pool, new_pool = pool_of([TIMESTAMP, file]), pool_of([TIMESTAMP, fewer])
    for verb, version in (("O", file), ("D", fewer)):
        descriptors = descriptor_pb2.FileDescriptorSet(file=[TIMESTAMP, version])
        status, answer = driver.ask(verb, descriptors.SerializeToString())
        if status != 0:
            raise SystemExit("schema %d is refused: %s\n%s" % (index, answer.decode(), version))
    for _ in range(messages):
        name = rng.choice(names)
        message = class_of(old_pool, name)()
        fill(rng, message)
        data = message.SerializePartialToString()
        new_class = class_of(new_pool, name)
        theirs, ours = new_class(), new_class()
        theirs.ParseFromString(data)
        if not theirs.IsInitialized():
            continue
        status, answer = driver.ask("P", name, data)
        if status == 0:
            ours.ParseFromString(answer)
        # As text, which leaves out what is unknown (theirs keeps it, DiscardUnknownFields() does not find all) and
        # where NaN equals itself. Ours may hold nothing unknown.
        known = driver.ask("V", name, answer, bytes([1]))[0] == 0
        if status != 0 or not known or str(ours) != str(theirs):
            raise SystemExit("schema %d: projection of %s %s: %d %r\n%s\n%s" % (
                index, name, data.hex(), status, answer, file, fewer))
        counts["projected"] += 1
        counts["projected with losses"] += len(answer) < len(data)


def check_broken_schemas(driver, rng, count, counts):
    """Whatever bytes: an answer, never a crash; what protobuf refuses we refuse, but for what we do not check."""
    for index in range(count):
        file, _ = random_file(rng, index)
        data = mutate(rng, descriptor_pb2.FileDescriptorSet(file=[TIMESTAMP, file]).SerializeToString())
        status, _ = driver.ask("D", data)
        counts["broken schemas"] += 1
        counts["broken schemas refused"] += status != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=4000)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    driver = Driver(arguments.driver)
    counts = dict.fromkeys(["schemas", "accepted", "refused", "stricter", "projected", "projected with losses", "renamed fields", "retyped fields", "fields made lists", "broken schemas", "broken schemas refused"], 0)
    for index in range(max(1, arguments.messages // 20)):
        check_schema(driver, rng, index, 20, counts)
        check_projection(driver, rng, index, 5, counts)
    check_broken_schemas(driver, rng, arguments.messages // 4, counts)
    driver.close()
    print(counts)
    if 0 in (counts["refused"], counts["projected with losses"], counts["retyped fields"], counts["fields made lists"]) or counts["stricter"] * 50 > counts["refused"]:
        sys.exit("too many differences, or nothing tested")


if __name__ == "__main__":
    main()
