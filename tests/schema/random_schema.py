"""Random descriptors and random messages of them."""
import struct

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
SCALARS = [F.TYPE_DOUBLE, F.TYPE_FLOAT, F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_INT32, F.TYPE_FIXED64, F.TYPE_FIXED32, F.TYPE_BOOL,
           F.TYPE_STRING, F.TYPE_BYTES, F.TYPE_UINT32, F.TYPE_SFIXED32, F.TYPE_SFIXED64, F.TYPE_SINT32, F.TYPE_SINT64]
KEYS = [F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_INT32, F.TYPE_FIXED64, F.TYPE_FIXED32, F.TYPE_BOOL, F.TYPE_STRING, F.TYPE_UINT32,
        F.TYPE_SFIXED32, F.TYPE_SFIXED64, F.TYPE_SINT32, F.TYPE_SINT64]
TEXTS = ["", "a", "Prague", "\u017elu\u0165", "\U0001f30b", "\u0000", "x" * 130, "\u65e5\u672c" * 40]


def add_enum(rng, enums, name, prefix, proto3):
    enum = enums.add(name=name)
    numbers = [0] if proto3 else []
    numbers += rng.sample([1, 2, 3, 7, 100, 2**31 - 1, -1, -2**31], rng.randint(1, 5))
    for i, number in enumerate(numbers):
        enum.value.add(name="%s_V%d" % (prefix, i), number=number)
    if rng.random() < 0.3:
        enum.options.allow_alias = True
        enum.value.add(name="%s_ALIAS" % prefix, number=numbers[-1])


def add_map(rng, message, name, types, enums):
    entry = message.nested_type.add(name="".join(p.capitalize() for p in name.split("_")) + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=F.LABEL_OPTIONAL, type=rng.choice(KEYS))
    value = entry.field.add(name="value", number=2, label=F.LABEL_OPTIONAL)
    set_type(rng, value, types, enums)
    return entry.name


def set_type(rng, field, types, enums):
    choice = rng.random()
    if choice < 0.25:
        field.type, field.type_name = F.TYPE_MESSAGE, rng.choice(types)
    elif choice < 0.35 and enums:
        field.type, field.type_name = F.TYPE_ENUM, rng.choice(enums)
    else:
        field.type = rng.choice(SCALARS)


def add_fields(rng, message, full_name, proto3, types, enums):
    numbers = rng.sample(list(range(1, 20)) + [127, 128, 2047, 2048, 18999, 20000, 2**29 - 1], rng.randint(1, 12))
    oneof = None
    optional = []
    for i, number in enumerate(numbers):
        field = message.field.add(name="f%d" % i, number=number, label=F.LABEL_OPTIONAL)
        choice = rng.random()
        if choice < 0.12:
            name = add_map(rng, message, field.name, types, enums if proto3 else [])
            field.label, field.type, field.type_name = F.LABEL_REPEATED, F.TYPE_MESSAGE, full_name + "." + name
            continue
        if not proto3 and choice < 0.2:
            group = message.nested_type.add(name="Group%d" % i)
            group.field.add(name="g", number=1, label=F.LABEL_OPTIONAL, type=rng.choice(SCALARS))
            field.name, field.type, field.type_name = "group%d" % i, F.TYPE_GROUP, full_name + "." + group.name
            field.label = rng.choice([F.LABEL_OPTIONAL, F.LABEL_REPEATED])
            continue
        set_type(rng, field, types, enums)
        choice = rng.random()
        if choice < 0.3:
            field.label = F.LABEL_REPEATED
            if field.type not in (F.TYPE_STRING, F.TYPE_BYTES, F.TYPE_MESSAGE) and rng.random() < 0.5:
                field.options.packed = rng.random() < 0.5
        elif choice < 0.5:
            if oneof is None:
                oneof = True
                message.oneof_decl.add(name="choice")
            field.oneof_index = 0
        elif not proto3 and choice < 0.55 and field.type != F.TYPE_MESSAGE:
            field.label = F.LABEL_REQUIRED
        elif proto3 and choice < 0.6:
            optional.append(field)
    for field in optional:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name="_" + field.name)
    # Members of a oneof must follow one another.
    fields = sorted(message.field, key=lambda f: (f.HasField("oneof_index"), f.oneof_index))
    del message.field[:]
    message.field.extend(fields)


def random_file(rng, index):
    proto3 = rng.random() < 0.6
    package = "t%d" % index
    file = descriptor_pb2.FileDescriptorProto(name="t%d.proto" % index, package=package, syntax="proto3" if proto3 else "proto2")
    file.dependency.append("google/protobuf/timestamp.proto")
    names = ["M%d" % i for i in range(rng.randint(1, 4))]
    types = [".%s.%s" % (package, n) for n in names] + [".google.protobuf.Timestamp"]
    enums = [".%s.E" % package]
    add_enum(rng, file.enum_type, "E", "E", proto3)
    for name in names:
        message = file.message_type.add(name=name)
        add_enum(rng, message.enum_type, "Inner", "INNER", proto3)
        add_fields(rng, message, ".%s.%s" % (package, name), proto3, types, enums + [".%s.%s.Inner" % (package, name)])
    return file, [t[1:] for t in types[:-1]]


def pool_of(files):
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    return pool


def random_scalar(rng, field):
    t = field.type
    if t == F.TYPE_STRING:
        return rng.choice(TEXTS)
    if t == F.TYPE_BYTES:
        return bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 3, 200])))
    if t == F.TYPE_BOOL:
        return rng.random() < 0.5
    if t == F.TYPE_DOUBLE:
        return rng.choice([0.0, -0.0, 1.5, 1e300, -3.25, float("inf"), float("nan"), rng.random()])
    if t == F.TYPE_FLOAT:
        return struct.unpack("<f", struct.pack("<f", rng.choice([0.0, -0.0, 1.5, 3e38, 0.1, float("-inf")])))[0]
    if t == F.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    bits = 64 if t in (F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_FIXED64, F.TYPE_SFIXED64, F.TYPE_SINT64) else 32
    value = rng.choice([0, 1, 127, 128, 2**(bits - 1) - 1, rng.getrandbits(bits - 1), rng.getrandbits(7)])
    if t in (F.TYPE_UINT64, F.TYPE_UINT32, F.TYPE_FIXED64, F.TYPE_FIXED32):
        return rng.choice([value, 2**bits - 1])
    return rng.choice([value, -value, -2**(bits - 1)])


def fill(rng, message, depth=0):
    for field in message.DESCRIPTOR.fields:
        if field.label != F.LABEL_REQUIRED and rng.random() < (0.4 if depth < 3 else 0.8):
            continue
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            value_field = field.message_type.fields_by_name["value"]
            for _ in range(rng.randint(0, 3)):
                key = random_scalar(rng, field.message_type.fields_by_name["key"])
                if value_field.message_type is not None:
                    if depth < 3:
                        fill(rng, getattr(message, field.name)[key], depth + 1)
                else:
                    getattr(message, field.name)[key] = random_scalar(rng, value_field)
        elif field.message_type is not None:
            if depth >= 3:
                continue
            if field.label == F.LABEL_REPEATED:
                for _ in range(rng.randint(0, 3)):
                    fill(rng, getattr(message, field.name).add(), depth + 1)
            else:
                getattr(message, field.name).SetInParent()
                fill(rng, getattr(message, field.name), depth + 1)
        elif field.label == F.LABEL_REPEATED:
            getattr(message, field.name).extend(random_scalar(rng, field) for _ in range(rng.randint(0, 5)))
        else:
            setattr(message, field.name, random_scalar(rng, field))


def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(5)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = bytes([rng.randrange(256)])
        elif kind == 2:
            del data[at:at + 1]
        elif kind == 3:
            data = data[:at]
        elif data:
            data[at % len(data)] = rng.randrange(256)
    return bytes(data)


def class_of(pool, name):
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(name))
