#!/usr/bin/python3
"""Compares the JSON mapping with python3-protobuf's json_format.

protojson_oracle.py DRIVER [SEED [ROUNDS]]: every round makes a random schema of two files (proto3
and proto2) and asks the driver about many random messages and texts of it:

  print   a message's bytes -> text. Both texts must be the same JSON value.
  wire    the same for bytes that no encoder writes: fields shuffled, cut in two, packed lists
          unpacked, two encodings one after the other.
  parse   a text -> bytes. Both messages must be equal.
  spoil   a text that was broken in one place. Both must accept it, with equal messages, or both
          refuse it.
  schema  with python3-jsonschema: what is printed fits the type's JSON Schema.

Where the two are meant to differ is_meant() says so, and docs/schemas.md says why.
"""

import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

try:
    import jsonschema
except ImportError:
    jsonschema = None

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf import (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2,
                             timestamp_pb2, wrappers_pb2)
from google.protobuf.internal import encoder, wire_format
from google.protobuf.message import DecodeError

F = descriptor_pb2.FieldDescriptorProto
BUILT_IN = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2,
            wrappers_pb2)
WELL_KNOWN = ['Any', 'Duration', 'Empty', 'FieldMask', 'Struct', 'Value', 'ListValue', 'Timestamp',
              'DoubleValue', 'FloatValue', 'Int64Value', 'UInt64Value', 'Int32Value',
              'UInt32Value', 'BoolValue', 'StringValue', 'BytesValue']
SCALARS = [F.TYPE_DOUBLE, F.TYPE_FLOAT, F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_INT32, F.TYPE_FIXED64,
           F.TYPE_FIXED32, F.TYPE_BOOL, F.TYPE_STRING, F.TYPE_BYTES, F.TYPE_UINT32,
           F.TYPE_SFIXED32, F.TYPE_SFIXED64, F.TYPE_SINT32, F.TYPE_SINT64]
KEYS = [t for t in SCALARS if t not in (F.TYPE_DOUBLE, F.TYPE_FLOAT, F.TYPE_BYTES)]
UNPACKABLE = (F.TYPE_STRING, F.TYPE_BYTES, F.TYPE_MESSAGE, F.TYPE_GROUP)


class Driver:
    """The program under test, one line a question."""

    def __init__(self, path, file_set):
        self.file = tempfile.NamedTemporaryFile(prefix='annals-json-', suffix='.set')
        self.file.write(file_set)
        self.file.flush()
        self.process = subprocess.Popen([path, self.file.name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def ask(self, verb, options, name, data):
        line = f'{verb} {options or "-"} {name} {data.hex() or "-"}\n'
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().rstrip('\n')
        if answer.startswith('ok '):
            return bytes.fromhex(answer[3:]), None
        if not answer.startswith('error '):
            raise SystemExit(f'the driver died of: {line}')
        return None, answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.file.close()


# Schemas


def camel(name):
    return re.sub(r'_(.)', lambda m: m.group(1).upper(), name)


class Schema:
    def __init__(self, rng, number):
        self.rng = rng
        self.package = f'o{number}'
        self.pool = descriptor_pool.DescriptorPool()
        files = []
        for module in BUILT_IN:
            proto = descriptor_pb2.FileDescriptorProto()
            module.DESCRIPTOR.CopyToProto(proto)
            files.append(proto)
        self.messages = []
        self.enums = []
        files.append(self.make_file('proto3'))
        files.append(self.make_file('proto2'))
        file_set = descriptor_pb2.FileDescriptorSet()
        for proto in files:
            self.pool.Add(proto)
        for proto in files:
            # What protoc would write: every json_name.
            full = file_set.file.add()
            full.CopyFrom(proto)
            for message in full.message_type:
                self.name_json(message)
        self.set_bytes = file_set.SerializeToString()
        factory = message_factory.MessageFactory(self.pool)
        self.classes = {name: factory.GetPrototype(self.pool.FindMessageTypeByName(name))
                        for name in self.messages +
                        ['google.protobuf.' + known for known in WELL_KNOWN]}

    def name_json(self, message):
        for field in message.field:
            if not field.HasField('json_name'):
                field.json_name = camel(field.name)
        for nested in message.nested_type:
            self.name_json(nested)

    def make_file(self, syntax):
        proto = descriptor_pb2.FileDescriptorProto(
            name=f'{self.package}/{syntax}.proto', package=f'{self.package}.{syntax}',
            syntax=syntax)
        proto.dependency.extend(module.DESCRIPTOR.name for module in BUILT_IN)
        if syntax == 'proto2':
            proto.dependency.append(f'{self.package}/proto3.proto')
        proto3 = syntax == 'proto3'
        own_enums = []
        for i in range(2):
            enum = proto.enum_type.add(name=f'E{i}')
            numbers = [0] + self.rng.sample(range(-3, 0), 2) + self.rng.sample(range(1, 9), 3)
            if not proto3 and i > 0:
                self.rng.shuffle(numbers)
            for number in numbers:
                enum.value.add(name=f'{syntax.upper()}_{i}_V{number}'.replace('-', 'M'),
                               number=number)
            own_enums.append(f'.{proto.package}.E{i}')
        # A proto3 message may not have a closed enum; a proto2 message may have either.
        self.enums = own_enums if proto3 else own_enums + self.enums
        own = [f'{proto.package}.M{i}' for i in range(4)]
        self.messages += own
        for i in range(4):
            self.make_message(proto.message_type.add(name=f'M{i}'), own[i], proto3)
        return proto

    def make_message(self, message, full_name, proto3):
        rng = self.rng
        numbers = rng.sample(range(1, 60), 14) + rng.sample(range(20000, 1 << 20), 2)
        if rng.random() < 0.5:
            numbers.sort()
        oneofs = rng.randint(0, 2)
        for i in range(oneofs):
            message.oneof_decl.add(name=f'choice{i}')
        optional = []
        for i, number in enumerate(numbers):
            field = message.field.add(name=rng.choice(['f', 'some_f', 'a_b_c', 'F', 'x1_']) +
                                      str(i), number=number, label=F.LABEL_OPTIONAL)
            if rng.random() < 0.2:
                field.json_name = rng.choice(['@', 'j', 'J son ', 'é']) + str(i)
            kind = rng.random()
            if kind < 0.15:
                self.make_map(message, field, full_name, i)
                continue
            self.set_type(field, kind)
            if kind > 0.95 and not proto3:
                # A group has the lower-case name of its type.
                field.type = F.TYPE_GROUP
                field.name = f'group{i}'
                field.ClearField('json_name')
                field.type_name = f'.{full_name}.Group{i}'
                group = message.nested_type.add(name=f'Group{i}')
                group.field.add(name='inner', number=3, label=F.LABEL_OPTIONAL,
                                type=F.TYPE_INT32)
            place = rng.random()
            if place < 0.3:
                field.label = F.LABEL_REPEATED
                if field.type not in UNPACKABLE and rng.random() < 0.5:
                    field.options.packed = rng.random() < 0.5
            elif place < 0.5 and oneofs > 0:
                field.oneof_index = rng.randrange(oneofs)
            elif place < 0.6 and proto3 and field.type != F.TYPE_MESSAGE:
                optional.append(field)
            elif place < 0.65 and not proto3:
                field.label = F.LABEL_REQUIRED
        used = {field.oneof_index for field in message.field if field.HasField('oneof_index')}
        for i in range(oneofs):
            if i not in used:
                message.field.add(name=f'only{i}', number=2000000 + i, label=F.LABEL_OPTIONAL,
                                  type=F.TYPE_INT32, oneof_index=i)
        # The members of a oneof must stand together.
        fields = sorted(message.field, key=lambda field: field.oneof_index + 1
                        if field.HasField('oneof_index') else 0)
        names = {field.name for field in optional}
        copies = [F.FromString(field.SerializeToString()) for field in fields]
        del message.field[:]
        message.field.extend(copies)
        for field in message.field:
            if field.name not in names:
                continue
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name='_' + field.name)

    def set_type(self, field, kind):
        rng = self.rng
        if kind < 0.55:
            field.type = rng.choice(SCALARS)
        elif kind < 0.65:
            field.type = F.TYPE_ENUM
            field.type_name = rng.choice(self.enums + ['.google.protobuf.NullValue'] * (
                rng.random() < 0.3))
        elif kind < 0.8:
            field.type = F.TYPE_MESSAGE
            field.type_name = '.' + rng.choice(self.messages)
        else:
            field.type = F.TYPE_MESSAGE
            field.type_name = '.google.protobuf.' + rng.choice(WELL_KNOWN)

    def make_map(self, message, field, full_name, i):
        rng = self.rng
        name = ''.join(part[:1].upper() + part[1:] for part in field.name.split('_')) + 'Entry'
        entry = message.nested_type.add(name=name)
        entry.options.map_entry = True
        entry.field.add(name='key', number=1, label=F.LABEL_OPTIONAL, type=rng.choice(KEYS))
        value = entry.field.add(name='value', number=2, label=F.LABEL_OPTIONAL)
        self.set_type(value, rng.uniform(0.15, 0.9))
        if value.type == F.TYPE_ENUM and value.type_name.endswith('.E1'):
            # An enum in a map must begin with 0.
            value.type_name = value.type_name[:-1] + '0'
        field.label = F.LABEL_REPEATED
        field.type = F.TYPE_MESSAGE
        field.type_name = f'.{full_name}.{name}'


# Messages


class Filler:
    def __init__(self, rng, schema):
        self.rng = rng
        self.schema = schema

    def text(self):
        rng = self.rng
        alphabet = rng.choice(['abc', 'aé"\\/\n\t\x01\x7f\u2028', 'x😀\u0800\uffff<>&'])
        return ''.join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 3, 20])))

    def integer(self, low, high):
        rng = self.rng
        return rng.choice([0, 1, low, high, rng.randint(low, high),
                           max(low, rng.randint(-100, 100))])

    def double(self):
        rng = self.rng
        return rng.choice([0.0, -0.0, 1.5, -2.0, 1e300, 5e-324, float('inf'), float('-inf'),
                           float('nan'), rng.uniform(-180, 180), round(rng.uniform(-180, 180), 4),
                           rng.randint(-10**15, 10**15), 1e21, 123456789012345680.0,
                           struct.unpack('<d', rng.randbytes(8))[0]])

    def scalar(self, field):
        rng = self.rng
        cpp = field.cpp_type
        if field.type == F.TYPE_STRING:
            return self.text()
        if field.type == F.TYPE_BYTES:
            return rng.randbytes(rng.choice([0, 1, 2, 3, 17]))
        if field.type == F.TYPE_BOOL:
            return rng.random() < 0.5
        if field.type == F.TYPE_ENUM:
            if rng.random() < 0.1 and field.enum_type.file.syntax == 'proto3' and \
                    field.file.syntax == 'proto3':
                return rng.randint(-2**31, 2**31 - 1)
            return rng.choice(field.enum_type.values).number
        if field.type == F.TYPE_DOUBLE:
            return self.double()
        if field.type == F.TYPE_FLOAT:
            value = rng.choice([self.double(), struct.unpack('<f', rng.randbytes(4))[0]])
            return value if value != value or abs(value) < 3e38 or value in (
                float('inf'), float('-inf')) else 1.25
        if cpp == field.CPPTYPE_INT32:
            return self.integer(-2**31, 2**31 - 1)
        if cpp == field.CPPTYPE_UINT32:
            return self.integer(0, 2**32 - 1)
        if cpp == field.CPPTYPE_INT64:
            return self.integer(-2**63, 2**63 - 1)
        return self.integer(0, 2**64 - 1)

    def json_value(self, depth):
        rng = self.rng
        kind = rng.randrange(6 if depth < 3 else 4)
        if kind == 0:
            return None
        if kind == 1:
            return rng.choice([0, 1.5, -7, 1e20, rng.uniform(-1, 1)])
        if kind == 2:
            return self.text()
        if kind == 3:
            return rng.random() < 0.5
        if kind == 4:
            return [self.json_value(depth + 1) for _ in range(rng.randrange(3))]
        return {self.text() + str(i): self.json_value(depth + 1) for i in range(rng.randrange(3))}

    def well_known(self, message, name, depth):
        rng = self.rng
        if name == 'Timestamp':
            message.seconds = rng.choice([0, -62135596800, 253402300799,
                                          rng.randint(-62135596800, 253402300799)])
            message.nanos = rng.choice([0, 5 * 10**8, 1000, 999999999, 120000])
        elif name == 'Duration':
            sign = rng.choice([-1, 1])
            message.seconds = sign * rng.choice([0, 1, 315576000000, rng.randint(0, 10**6)])
            message.nanos = sign * rng.choice([0, 5 * 10**8, 1000, 999999999])
        elif name == 'FieldMask':
            message.paths.extend(rng.choice(['a', 'a_b.c', 'foo_bar_baz', 'x1.y'])
                                 for _ in range(rng.randrange(4)))
        elif name == 'Value':
            json_format.ParseDict(self.json_value(depth), message)
        elif name == 'Struct':
            json_format.ParseDict({str(i): self.json_value(depth) for i in range(2)}, message)
        elif name == 'ListValue':
            json_format.ParseDict([self.json_value(depth) for i in range(2)], message)
        elif name == 'Any':
            if rng.random() < 0.8:
                inner = rng.choice(sorted(self.schema.classes))
                content = self.message(self.schema.classes[inner](), depth + 2)
                message.type_url = rng.choice(['type.googleapis.com/', 'a/b/', '/']) + inner
                message.value = content.SerializePartialToString(deterministic=True)
        elif name == 'Empty':
            pass
        elif rng.random() < 0.9:
            field = message.DESCRIPTOR.fields_by_name['value']
            message.value = self.scalar(field)

    def message(self, message, depth=0):
        rng = self.rng
        package, _, name = message.DESCRIPTOR.full_name.rpartition('.')
        message.SetInParent()
        if package == 'google.protobuf':
            self.well_known(message, name, depth)
            return message
        for field in message.DESCRIPTOR.fields:
            required = field.label == field.LABEL_REQUIRED
            if not required and rng.random() > (0.5, 0.3, 0.15, 0.05, 0)[min(depth, 4)]:
                continue
            self.fill(message, field, depth)
        return message

    def fill(self, message, field, depth):
        rng = self.rng
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self.fill_map(getattr(message, field.name), field, depth)
        elif field.label == field.LABEL_REPEATED:
            for _ in range(rng.choice([0, 1, 2, 5])):
                if field.message_type is not None:
                    self.message(getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(self.scalar(field))
        elif field.message_type is not None:
            if depth < 6:
                self.message(getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, self.scalar(field))

    def fill_map(self, target, field, depth):
        key_field = field.message_type.fields_by_name['key']
        value_field = field.message_type.fields_by_name['value']
        for _ in range(self.rng.choice([0, 1, 2, 5])):
            key = self.scalar(key_field)
            if value_field.message_type is not None:
                self.message(target[key], depth + 1)
            else:
                target[key] = self.scalar(value_field)


# Encodings that no encoder writes


def fields_of(data):
    """The fields of an encoding as (number, wire type, bytes with the tag)."""
    fields = []
    at = 0
    while at < len(data):
        start = at
        tag, at = varint(data, at)
        at = skip(data, at, tag)
        fields.append((tag >> 3, tag & 7, data[start:at]))
    return fields


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def skip(data, at, tag):
    kind = tag & 7
    if kind == 0:
        return varint(data, at)[1]
    if kind == 1:
        return at + 8
    if kind == 5:
        return at + 4
    if kind == 2:
        size, at = varint(data, at)
        return at + size
    while True:
        inner, at = varint(data, at)
        if inner & 7 == 4:
            return at
        at = skip(data, at, inner)


def tag_bytes(number, kind):
    return encoder._VarintBytes(number << 3 | kind)


def restyle(rng, message_descriptor, data):
    """Other bytes, mostly of the same message."""
    fields = []
    for number, kind, encoded in fields_of(data):
        field = message_descriptor.fields_by_number.get(number)
        fields.append(encoded)
        if field is None or field.label != field.LABEL_REPEATED or field.type in UNPACKABLE:
            continue
        if kind == 2 and rng.random() < 0.5:
            size, at = varint(encoded, varint(encoded, 0)[1])
            body = encoded[at:]
            wire = {F.TYPE_DOUBLE: 1, F.TYPE_FIXED64: 1, F.TYPE_SFIXED64: 1, F.TYPE_FLOAT: 5,
                    F.TYPE_FIXED32: 5, F.TYPE_SFIXED32: 5}.get(field.type, 0)
            fields.pop()
            at = 0
            while at < len(body):
                end = skip(body, at, wire)
                fields.append(tag_bytes(number, wire) + body[at:end])
                at = end
        elif kind != 2 and rng.random() < 0.5:
            body = encoded[len(tag_bytes(number, kind)):]
            fields[-1] = tag_bytes(number, 2) + encoder._VarintBytes(len(body)) + body
    style = rng.randrange(4)
    if style == 0:
        rng.shuffle(fields)
    elif style == 1:
        fields += [field for field in fields if rng.random() < 0.5]
    elif style == 2:
        fields.insert(rng.randint(0, len(fields)), rng.choice([
            tag_bytes(900, 0) + b'\x05', tag_bytes(901, 2) + b'\x02ab',
            tag_bytes(902, 3) + tag_bytes(1, 0) + b'\x01' + tag_bytes(902, 4)]))
    return b''.join(fields)


# Comparison


def difference(a, b, path=''):
    """Where two JSON values differ, '' if nowhere."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f'{path}: {sorted(a)} {sorted(b)}'
        return next(filter(None, (difference(a[k], b[k], f'{path}.{k}') for k in a)), '')
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return f'{path}: {a} {b}'
        return next(filter(None, (difference(x, y, f'{path}[{i}]')
                                  for i, (x, y) in enumerate(zip(a, b)))), '')
    if not isinstance(a, bool) and not isinstance(b, bool) and \
            isinstance(a, (int, float)) and isinstance(b, (int, float)):
        # As texts, so that -0.0 is not 0.0.
        same = str(float(a)) == str(float(b))
        if not same and 0 < abs(a) < 1e-37:
            # Of a float that is subnormal they print more digits than it has.
            same = struct.pack('<f', a) == struct.pack('<f', b)
    else:
        same = type(a) is type(b) and a == b
    return '' if same else f'{path}: {a!r} {b!r}'


def tidy(message, classes):
    """Encodes what Any messages hold in one order."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name['value'].message_type is not None:
                for key in value:
                    tidy(value[key], classes)
        elif field.label == field.LABEL_REPEATED:
            for item in value:
                tidy(item, classes)
        else:
            tidy(value, classes)
    if message.DESCRIPTOR.full_name == 'google.protobuf.Any' and message.type_url:
        held = classes[message.type_url.rpartition('/')[2]]()
        held.MergeFromString(message.value)
        message.value = canonical(held, classes)


def canonical(message, classes):
    tidy(message, classes)
    return message.SerializePartialToString(deterministic=True)


def rounds_to_integer(token):
    try:
        return float(token).is_integer()
    except ValueError:
        return False


class Compare:
    def __init__(self, driver, schema, rng, tell):
        self.driver = driver
        self.schema = schema
        self.rng = rng
        self.tell = tell
        self.counts = {}
        self.validators = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def fits(self, name, text):
        """What is printed fits the JSON Schema."""
        if jsonschema is None:
            return
        if name not in self.validators:
            schema = json.loads(self.driver.ask('schema', '-', name, b'')[0])
            jsonschema.Draft202012Validator.check_schema(schema)
            self.validators[name] = jsonschema.Draft202012Validator(schema)
        for error in self.validators[name].iter_errors(json.loads(text)):
            self.tell('schema', name, text.decode(), f'{error.json_path}: {error.message[:300]}')
            break
        self.count('schema')

    def their_text(self, message, options):
        return json_format.MessageToJson(
            message, preserving_proto_field_name='n' in options,
            use_integers_for_enums='e' in options, descriptor_pool=self.schema.pool,
            indent=None, sort_keys=True)

    def print(self, what, name, data):
        options = self.rng.choice(['-', '-', 'n', 'e', 'ne'])
        ours, problem = self.driver.ask('print', options, name, data)
        message = self.schema.classes[name]()
        reason = None
        try:
            message.ParseFromString(data)
            theirs = json.loads(self.their_text(message, options))
        except (DecodeError, json_format.Error, ValueError, TypeError, OverflowError) as error:
            reason = error
        if ours is None or reason is not None:
            if ours is not None:
                self.tell(what, name, data, f'only we print: {ours.decode()}; they: {reason!r}')
            elif reason is None:
                self.tell(what, name, data, f'only they print: {theirs}; we: {problem}')
            else:
                self.count(what + ' refused')
            return
        differs = difference(json.loads(ours), theirs)
        if differs:
            self.tell(what, name, data, differs)
        if options == '-' and message.IsInitialized():
            self.fits(name, ours)
        self.count(what)

    def their_message(self, name, text):
        message = self.schema.classes[name]()
        # NaN as a bare word is no JSON, though Python reads it.
        json.loads(text, parse_constant=lambda word: [].index(word))
        return json_format.Parse(text, message, descriptor_pool=self.schema.pool)

    def parse(self, what, name, text):
        partial = self.rng.random() < 0.5
        ours, problem = self.driver.ask('parse', 'p' if partial else '-', name,
                                        text.encode('utf-8', 'surrogatepass'))
        theirs = None
        reason = None
        try:
            theirs = self.their_message(name, text)
            if not partial:
                theirs.SerializeToString()
        except Exception as error:  # json_format lets several kinds escape
            reason = error
            theirs = None
        if ours is None or theirs is None:
            if ours is not None and not self.is_meant(text, ours, repr(reason)):
                self.tell(what, name, text, f'only we parse; they: {reason!r}; we: {ours.hex()}')
            elif theirs is not None and not self.is_meant(text, None, problem):
                self.tell(what, name, text, f'only they parse; we: {problem}')
            self.count(what + ' refused')
            return
        message = self.schema.classes[name]()
        message.MergeFromString(ours)
        classes = self.schema.classes
        if canonical(message, classes) != canonical(theirs, classes):
            lines = zip(str(message).split('\n'), str(theirs).split('\n'))
            self.tell(what, name, text, f'{[pair for pair in lines if pair[0] != pair[1]][:4]}')
        self.count(what)

    def is_meant(self, text, ours, problem):
        """True for the differences that docs/schemas.md lists; the token that our error points
        at tells them from others."""
        if ours is not None:
            # Inside an Any they check required fields even so.
            return 'null is not allowed to be used as an element' in problem or \
                "not 'NoneType'" in problem or 'EncodeError' in problem or \
                re.search(r'Invalid enum value \S+ for enum type o\d+\.proto3', problem)
        match = re.match(r'error validation-failed (.*) at \'.*\', byte (\d+)$', problem)
        if match is None:
            return False
        rest = text.encode('utf-8', 'surrogatepass')[int(match.group(2)):].decode(errors='replace')
        token = re.match(r'"(?:[^"\\]|\\.)*"|[^\s,\]}]*', rest).group(0)
        quoted = token.startswith('"')
        return {
            'invalid base64': True,
            # They round to a double first.
            'not an integer': quoted or rounds_to_integer(token),
            'not a number': quoted,
            'a number was expected': token in ('true', 'false'),
            'number out of range': quoted or token == '1e400',
            # They cut such a number of an enum off. (Of an integer they refuse it.)
            'integer out of range': re.fullmatch(r'-?[0-9.e+]{4,}', token) is not None,
            'not a Timestamp': True,
            'not a Duration': True,
            'not a value of the enum': not quoted or re.search(r'\d', token) is not None,
            'the name or number of an enum value was expected': token in ('true', 'false'),
        }.get(match.group(1), False)


def restyle_text(rng, value):
    """The same JSON with other spellings of numbers and other orders."""
    if isinstance(value, dict):
        items = [(key, restyle_text(rng, item)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [restyle_text(rng, item) for item in value]
    if isinstance(value, str) and rng.random() < 0.3 and re.fullmatch(r'-?\d{1,15}', value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.3:
        return rng.choice([str(value), float(value)])
    return value


def spoil(rng, text):
    """One change to a text."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[-+.\deE]+|\w+|\s+|.', text, re.S)
    at = rng.randrange(len(tokens))
    token = tokens[at]
    kind = rng.randrange(5)
    if kind == 0:
        del tokens[at]
    elif kind == 1:
        tokens.insert(at, rng.choice(tokens))
    elif kind == 2:
        tokens[at] = rng.choice(['null', 'true', '1.5', '-1', '"x"', '{}', '[]', '""', '1e400',
                                 '4294967296', '99999999999999999999', '"1"', '"NaN"', '1e3'])
    elif kind == 3 and len(token) > 2 and token[0] == '"':
        place = rng.randrange(1, len(token))
        tokens[at] = token[:place] + rng.choice('aZ09_-+.:\\ ') + token[place:]
    else:
        tokens[at] = rng.choice(tokens)
    return ''.join(tokens)


def run(path, seed, rounds):
    failures = []
    counts = {}

    for number in range(rounds):
        rng = random.Random(seed * 1000003 + number)
        schema = Schema(rng, number)
        driver = Driver(path, schema.set_bytes)
        filler = Filler(rng, schema)

        def tell(what, name, subject, text):
            failures.append(what)
            if len(failures) <= 15:
                shown = subject if isinstance(subject, str) else subject.hex()
                print(f'{what} {name} (seed {seed}, round {number}): {text[:3000]}\n  of {shown[:3000]}\n')

        compare = Compare(driver, schema, rng, tell)
        names = schema.messages * 3 + sorted(schema.classes)
        for name in names:
            message = filler.message(schema.classes[name]())
            data = message.SerializePartialToString(deterministic=True)
            compare.print('print', name, data)
            descriptor = message.DESCRIPTOR
            compare.print('wire', name, restyle(rng, descriptor, data))
            other = filler.message(schema.classes[name]()).SerializePartialToString(deterministic=True)
            compare.print('wire', name, restyle(rng, descriptor, data + other))
            try:
                text = compare.their_text(message, rng.choice(['-', 'n', 'e']))
            except (json_format.Error, ValueError, TypeError):
                continue
            compare.parse('parse', name, text)
            text = json.dumps(restyle_text(rng, json.loads(text)),
                              ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
            compare.parse('parse', name, text)
            for _ in range(4):
                compare.parse('spoil', name, spoil(rng, text))
        driver.close()
        for key, value in compare.counts.items():
            counts[key] = counts.get(key, 0) + value
    print(', '.join(f'{key} {value}' for key, value in sorted(counts.items())))
    if failures:
        print(f'{len(failures)} differences')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1,
                 int(sys.argv[3]) if len(sys.argv) > 3 else 20))
