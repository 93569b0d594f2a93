#!/usr/bin/env python3
"""Instructions per appended and per replayed event (P13), counted by valgrind: the same on a busy machine as on a quiet one.

  bench/micro/instructions.py check  [--build build-bench]            compare with bench/instructions.json; status 1 above +5 %
  bench/micro/instructions.py record RELEASE [--build build-bench]    write this build's counts there as RELEASE

The server (user space, all its threads) runs under callgrind while annals-bench stores and reads events, for two numbers of events and
two numbers of replays; the differences leave start-up and shut-down out. Appends have one request in flight, so that every commit holds
one request and the count does not hang on timing. Counts belong to a compiler and its options: compare release builds of one machine's
compiler. A figure above the limit is taken a second time and the lower one counts: on a busy machine a reader
may meet events that are not settled yet. Takes half a minute.
"""
import argparse
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile

RECORD = pathlib.Path(__file__).resolve().parent.parent / "instructions.json"
ALLOWED = 1.05


def count(build, directory, events, batch, replays):
    out = os.path.join(directory, "callgrind.out")
    wrapper = os.path.join(directory, "annalsd")
    real = os.path.abspath(os.path.join(build, "server", "annalsd"))
    pathlib.Path(wrapper).write_text("#!/bin/sh\nexec valgrind --quiet --tool=callgrind --vgdb=no --callgrind-out-file=" + out + " "
                                     + real + ' "$@" --map-bytes 1GiB\n')
    os.chmod(wrapper, stat.S_IRWXU)
    command = [os.path.join(build, "bench", "annals-bench"), "replay", "--annalsd", wrapper, "--events", str(events), "--batch",
               str(batch), "--in-flight", "1", "--runs", str(replays), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"annals-bench failed: {done.stderr.strip()}")
    totals = re.search(r"^(?:totals|summary): (\d+)", pathlib.Path(out).read_text(), re.M)
    if not totals:
        sys.exit("callgrind wrote no total")
    return int(totals[1])


def measure(build):
    figures = {}
    with tempfile.TemporaryDirectory(prefix="annals-bench-instructions-") as directory:
        for name, batch, few, many in (("batch-500", 500, 20000, 60000), ("single", 1, 500, 2500)):
            low, high = count(build, directory, few, batch, 1), count(build, directory, many, batch, 1)
            again = count(build, directory, many, batch, 4)
            replay = (again - high) / (3 * many)
            figures[f"replay-{name}"] = round(replay, 1)
            figures[f"append-{name}"] = round((high - low) / (many - few) - replay, 1)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("check", "record"))
    parser.add_argument("release", nargs="?")
    parser.add_argument("--build", default="build-bench")
    options = parser.parse_args()
    if options.verb == "record" and not options.release:
        parser.error("record needs the name of a release")
    releases = json.loads(RECORD.read_text()) if RECORD.exists() else []
    now = measure(options.build)
    if options.verb == "record":
        releases = [entry for entry in releases if entry["release"] != options.release]
        releases.append({"release": options.release, "instructions_per_event": now})
        RECORD.write_text(json.dumps(releases, indent=1) + "\n")
        print(json.dumps(now))
        return 0
    if not releases:
        sys.exit("no release is recorded yet")
    before = releases[-1]["instructions_per_event"]
    if any(value > ALLOWED * before.get(name, value) for name, value in now.items()):
        again = measure(options.build)
        now = {name: min(value, again[name]) for name, value in now.items()}
    print(f"{'instructions per event':24} {'now':>10} {releases[-1]['release']:>10} {'ratio':>7}")
    worse = 0
    for name, value in now.items():
        ratio = value / before[name] if before.get(name) else 1
        worse += ratio > ALLOWED
        print(f"{name:24} {value:10.1f} {before.get(name, 0):10.1f} {ratio:7.3f}{'  ABOVE +5 %' if ratio > ALLOWED else ''}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
