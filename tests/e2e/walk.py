#!/usr/bin/env python3
"""walk.py DOCUMENT HEADING: runs the commands of the console blocks below a heading and compares what they print.

A command begins with "$ " and goes on after a line that ends with a backslash. "[...]" in the expected output stands for anything in a line.
"""
import re
import subprocess
import sys


def blocks(path, heading):
    inside = fenced = False
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("#") and not fenced:
            inside = line.lstrip("# ") == heading
        elif inside and line.startswith("```"):
            fenced = line == "```console"
        elif inside and fenced:
            yield line


def commands(lines):
    command, expected = None, []
    for line in lines:
        if command is not None and command.endswith("\\"):
            command += "\n" + line
        elif line.startswith("$ "):
            if command is not None:
                yield command, expected
            command, expected = line[2:], []
        else:
            expected.append(line)
    if command is not None:
        yield command, expected


def fits(expected, got):
    pattern = ".*".join(re.escape(part) for part in expected.split("[...]"))
    return re.fullmatch(pattern, got) is not None


count = 0
for command, expected in commands(blocks(sys.argv[1], sys.argv[2])):
    done = subprocess.run(["bash", "-c", "set -o pipefail\n" + command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    got = done.stdout.decode().splitlines()
    if len(got) != len(expected) or not all(map(fits, expected, got)):
        sys.exit("$ %s\nprinted\n%s\nnot\n%s" % (command, "\n".join(got), "\n".join(expected)))
    count += 1
if count == 0:
    sys.exit("no command below '%s'" % sys.argv[2])
print("%d commands print what the document says" % count)
