#!/usr/bin/env python3
"""How throughput changes over partitions, connections and the size of the log; JSON for bench/report.py.

  bench/sweep.py [--build build-bench] [--runs 3] [--seconds 2] > sweep.json

The points of a sweep are measured in turns, every round all of them. Over log size the measure is replay of the whole log.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

SWEEPS = [
    ("Appends over partitions: 64 connections, one event in flight each", "partitions", [1, 10, 100, 1000, 10000],
     lambda x: ["append", "--partitions", str(x)]),
    ("Appends over connections: one event in flight each", "connections", [1, 4, 16, 64, 256, 1024],
     lambda x: ["append", "--connections", str(x)]),
    ("Replay over the size of the log: 100 bytes an event", "events in the log", [100000, 1000000, 10000000],
     lambda x: ["replay", "--events", str(x)]),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-bench")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    bench = os.path.join(options.build, "bench", "annals-bench")
    sweeps = []
    for title, x_name, places, arguments in SWEEPS:
        rates = {x: [] for x in places}
        for _ in range(options.runs):
            for x in places:
                done = subprocess.run([bench, *arguments(x), "--duration", f"{options.seconds}s", "--warm-up", "500ms", "--runs", "1",
                                       "--output", "json"], capture_output=True, text=True, timeout=300)
                if done.returncode != 0:
                    sys.exit(done.stderr)
                rates[x].append(json.loads(done.stdout.strip().splitlines()[-1])["events_per_second"])
                print(f"  {x_name} {x}: {rates[x][-1]:.0f}/s", file=sys.stderr, flush=True)
        sweeps.append({"title": title, "x_name": x_name,
                       "points": [{"x": x, "events_per_second": statistics.median(got), "lowest": min(got), "highest": max(got)}
                                  for x, got in rates.items()]})
    print(json.dumps({"sweeps": sweeps}, indent=1))


if __name__ == "__main__":
    main()
