"""Every compatibility rule with a change that it must report, and one that it must not.

usage: compat_cases.py DRIVER PROTOC PROTO_DIR
"""
import os
import subprocess
import sys
import tempfile

from driver import Driver

BACKWARD, FORWARD, FULL = 1, 2, 3


def m(body):
    return "message M { %s }" % body


def p2(body):
    return "syntax = \"proto2\"; package t; message M { %s }" % body


def e(values, proto2=False):
    body = "package t; enum E { %s } message M { %s E e = 1; }" % (values, "optional" if proto2 else "")
    return "syntax = \"%s\"; %s" % ("proto2" if proto2 else "proto3", body)


IMPORT = "import \"annals/options.proto\"; "

# rule, what it breaks, old, new; then a change, or none, that must not report the rule.
CASES = [
    ("package-changed", FULL, "package a; message M {}", "package b; message M {}", "package a; message M {}", "package a; message M { int32 a = 1; }"),
    ("message-removed", BACKWARD, "message A {} message B {}", "message A {}", "message A {}", "message A {} message B {}"),
    ("message-removed", BACKWARD, m("message N {}"), m(""), m("map<int32, int32> a = 1;"), m("")),
    ("message-type-changed", 0, m("A a = 1;") + "message A {} message B {}", m("B a = 1;") + "message A {} message B {}", m("A a = 1;") + "message A {}", m("A a = 1;") + "message A { int32 b = 1; }"),
    ("field-added", 0, m(""), m("int32 a = 1;"), m("int32 a = 1;"), m("int64 a = 1;")),
    ("field-removed", 0, m("int32 a = 1;"), m("reserved 1;"), m("int32 a = 1;"), m("")),
    ("field-removed-unreserved", 0, m("int32 a = 1;"), m(""), m("int32 a = 1;"), m("reserved 1;")),
    ("field-renumbered", FULL, m("int32 a = 1;"), m("int32 a = 2;"), m("int32 a = 1;"), m("int32 b = 2;")),
    ("field-renamed", 0, m("int32 a = 1;"), m("int32 b = 1;"), m("int32 a = 1;"), m("int64 a = 1;")),
    ("json-name-changed", 0, m("int32 a = 1;"), m("int32 a = 1 [json_name = \"x\"];"), m("int32 a = 1;"), m("int32 b = 1;")),
    ("field-type-changed", FULL, m("int32 a = 1;"), m("string a = 1;"), m("int32 a = 1;"), m("bool a = 1;")),
    ("field-type-changed", FULL, m("int32 a = 1;"), m("sint32 a = 1;"), m("fixed32 a = 1;"), m("sfixed32 a = 1;")),
    ("field-type-changed", FULL, m("fixed32 a = 1;"), m("float a = 1;"), m("string a = 1;"), m("bytes a = 1;")),
    ("field-range-changed", 0, m("int64 a = 1;"), m("int32 a = 1;"), m("int64 a = 1;"), m("int64 a = 1;")),
    ("field-text-changed", FORWARD, m("string a = 1;"), m("bytes a = 1;"), m("string a = 1;"), m("string b = 1;")),
    ("field-text-changed", BACKWARD, m("bytes a = 1;"), m("string a = 1;"), p2("optional string a = 1;"), p2("optional string b = 1;")),
    ("field-became-repeated", FORWARD, m("int32 a = 1;"), m("repeated int32 a = 1;"), m("int32 a = 1;"), m("optional int32 a = 1;")),
    ("field-became-repeated", 0, m("string a = 1;"), m("repeated string a = 1;"), m("repeated string a = 1;"), m("string a = 1;")),
    ("field-became-singular", BACKWARD, m("repeated int32 a = 1;"), m("int32 a = 1;"), m("int32 a = 1;"), m("repeated int32 a = 1;")),
    ("packed-changed", 0, m("repeated int32 a = 1;"), m("repeated int32 a = 1 [packed = false];"), m("repeated int32 a = 1;"), m("repeated int32 a = 1 [packed = true];")),
    ("map-changed", FULL, m("map<int32, int32> a = 1;"), m("bytes a = 1;"), m("map<int32, int32> a = 1;"), m("map<int32, int64> a = 1;")),
    ("presence-changed", 0, m("int32 a = 1;"), m("optional int32 a = 1;"), m("int32 a = 1;"), m("int64 a = 1;")),
    ("default-changed", 0, p2("optional int32 a = 1 [default = 5];"), p2("optional int32 a = 1 [default = 6];"), p2("optional int32 a = 1 [default = 5];"), p2("optional int32 b = 1 [default = 5];")),
    ("required-added", BACKWARD, p2(""), p2("required int32 a = 1;"), p2(""), p2("optional int32 a = 1;")),
    ("required-added", BACKWARD, p2("optional int32 a = 1;"), p2("required int32 a = 1;"), p2("required int32 a = 1;"), p2("required int32 b = 1;")),
    ("required-removed", FORWARD, p2("required int32 a = 1;"), p2(""), p2("optional int32 a = 1;"), p2("")),
    ("required-removed", FORWARD, p2("required int32 a = 1;"), p2("optional int32 a = 1;"), p2("optional int32 a = 1;"), p2("required int32 a = 1;")),
    ("reserved-used", FULL, m("reserved 1;"), m("int32 a = 1;"), m("reserved 1;"), m("int32 a = 2; reserved 1;")),
    ("reserved-used", FULL, m("reserved \"a\";"), m("int32 a = 1;"), m("reserved \"a\";"), m("int32 b = 1; reserved \"a\";")),
    ("reserved-removed", 0, m("reserved 5 to 7;"), m("reserved 5, 6;"), m("reserved 5, 6;"), m("reserved 5 to 7;")),
    ("extension-range-removed", 0, p2("extensions 100 to 200;"), p2("extensions 100 to 199;"), p2("extensions 100 to 200;"), p2("extensions 100 to max;")),
    ("field-moved-into-oneof", BACKWARD, m("int32 a = 1; int32 b = 2;"), m("oneof o { int32 a = 1; int32 b = 2; }"), m("oneof o { int32 a = 1; }"), m("oneof o { int32 a = 1; int32 b = 2; }")),
    ("field-moved-into-oneof", 0, m("int32 a = 1;"), m("oneof o { int32 a = 1; }"), m("int32 a = 1;"), m("optional int32 a = 1;")),
    ("field-moved-out-of-oneof", FORWARD, m("oneof o { int32 a = 1; int32 b = 2; }"), m("oneof o { int32 a = 1; } int32 b = 2;"), m("oneof o { int32 a = 1; }"), m("oneof p { int32 a = 1; }")),
    ("oneof-field-added", FORWARD, m("oneof o { int32 a = 1; }"), m("oneof o { int32 a = 1; int32 b = 2; }"), m("oneof o { int32 a = 1; }"), m("oneof o { int32 a = 1; } int32 b = 2;")),
    ("oneof-field-removed", BACKWARD, m("oneof o { int32 a = 1; int32 b = 2; }"), m("oneof o { int32 a = 1; }"), m("int32 a = 1; int32 b = 2;"), m("int32 a = 1;")),
    ("enum-value-added", 0, e("A = 0;"), e("A = 0; B = 1;"), e("A = 0; B = 1;"), e("A = 0;")),
    ("enum-value-added", FORWARD, e("A = 0;", True), e("A = 0; B = 1;", True), e("A = 0;", True), e("B = 0;", True)),
    ("enum-value-removed", 0, e("A = 0; B = 1;"), e("A = 0;"), e("A = 0;"), e("A = 0; B = 1;")),
    ("enum-value-removed", BACKWARD, e("A = 0; B = 1;", True), e("A = 0;", True), e("A = 0;", True), e("A = 0; B = 1;", True)),
    ("enum-value-renumbered", FULL, e("A = 0; B = 1;"), e("A = 0; B = 2;"), e("A = 0; B = 1;"), e("A = 0; C = 2;")),
    ("enum-value-renamed", 0, e("A = 0; B = 1;"), e("A = 0; C = 1;"), e("A = 0;"), e("A = 0; B = 1;")),
    ("enum-closed-changed", 0, e("A = 0;", True), e("A = 0;"), e("A = 0;"), e("A = 0; B = 1;")),
    ("extraction-changed", 0, m("string a = 1;"), IMPORT + m("string a = 1 [(annals.key) = true];"), IMPORT + m("string a = 1 [(annals.tag) = \"\"];"), IMPORT + m("string a = 1 [(annals.tag) = \"a\"];")),
]


class Compiler:
    def __init__(self, protoc, proto_dir, work):
        self.protoc, self.proto_dir, self.work = protoc, proto_dir, work
        self.sets = {}

    def compile(self, text):
        if "syntax" not in text:
            text = "syntax = \"proto3\"; " + text
        if text not in self.sets:
            with open(os.path.join(self.work, "t.proto"), "w") as file:
                file.write(text)
            out = os.path.join(self.work, "t.set")
            subprocess.run([self.protoc, "--include_imports", "-I", self.work, "-I", self.proto_dir, "-o", out, "t.proto"],
                           check=True, stderr=subprocess.PIPE)
            with open(out, "rb") as file:
                self.sets[text] = file.read()
        return self.sets[text]


def findings(driver, compiler, old, new):
    for verb, text in (("O", old), ("D", new)):
        status, answer = driver.ask(verb, compiler.compile(text))
        if status != 0:
            sys.exit("refused: %s: %s" % (text, answer.decode()))
    status, answer = driver.ask("C", "t.proto")
    if status != 0:
        sys.exit("%s -> %s: %s" % (old, new, answer.decode()))
    return {line.split()[0]: int(line.split()[1]) for line in answer.decode().splitlines()}


def main():
    driver = Driver(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory(prefix="annals-compat-") as work:
        compiler = Compiler(sys.argv[2], sys.argv[3], work)
        for rule, breaks, old, new, quiet_old, quiet_new in CASES:
            found = findings(driver, compiler, old, new)
            if found.get(rule) != breaks:
                failed += 1
                print("%s: %s -> %s: expected %d, got %s" % (rule, old, new, breaks, found))
            if findings(driver, compiler, old, old):
                failed += 1
                print("%s differs from itself" % old)
            found = findings(driver, compiler, quiet_old, quiet_new)
            if rule in found:
                failed += 1
                print("%s: %s -> %s: should not be reported: %s" % (rule, quiet_old, quiet_new, found))
    driver.close()
    print("%d cases of %d rules, %d failed" % (len(CASES), len({case[0] for case in CASES}), failed))
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
