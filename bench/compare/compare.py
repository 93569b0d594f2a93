#!/usr/bin/env python3
"""The same work given to Annals, to its peers and to the bare machine, in the same run, interleaved.

  bench/compare/compare.py [--build build-bench] [--runs 3] [--seconds 2] [--only small,batch,large,replay] [--peers redis,nats,...]
                           [--output FILE.json]

Works: small (P1: 64 connections, one event of 100 bytes in flight each), batch (P2: one connection, 8 requests of 500 x 100 bytes in
flight), large (P3: 8 connections, batches of 64 x 1 KiB), replay (one consumer, 100 bytes and 1 KiB). Every round measures everyone
once, so that a slow minute of the machine meets all of them; the medians of the rounds are compared. All servers run all the time and
are idle while another is measured; Kafka and PostgreSQL, which are not idle when idle, run only during their own turn.

What must be installed: redis-server, nats-server, postgresql, java. A second NATS release: NATS_CURRENT=PATH. Kafka: KAFKA_LIBS=DIR with
its jars. What is missing is named in the result and left out.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import peers  # noqa: E402

WORKS = {  # connections, requests in flight, events a request, bytes of data
    "small": (64, 1, 1, 100),
    "batch": (1, 8, 500, 100),
    "large": (8, 1, 64, 1024),
}
REPLAYS = {"replay-100": (200000, 100), "replay-1k": (50000, 1024)}
# Each store's history is read so often after it was filled, and the median counts: everybody's first pass runs beside the disk writes
# that the filling left.
PASSES = 3


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise peers.Missing(f"{os.path.basename(command[0])} failed: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Results:
    def __init__(self):
        self.lines = {}
        self.left_out = {}

    def add(self, work, label, durability, result):
        line = self.lines.setdefault((work, label), {"work": work, "system": label, "durability": durability, "runs": []})
        line["runs"].append(result)
        say(f"  {work:11} {label:46} {result.get('events_per_second', 0):12.0f}/s {result.get('megabytes_per_second', 0):8.1f} MB/s"
            f"  p50 {result.get('p50_ms', 0):.3f} ms")

    def document(self):
        rows = []
        for line in self.lines.values():
            median = {}
            for name in sorted({key for run in line["runs"] for key in run}):
                values = [run[name] for run in line["runs"] if isinstance(run.get(name), (int, float))]
                if values:
                    median[name] = statistics.median(values)
                    if name == "events_per_second":
                        median["lowest"], median["highest"] = min(values), max(values)
            rows.append({**line, "median": median})
        return rows


def measure_annals(options, results, work):
    bench = os.path.join(options.build, "bench", "annals-bench")
    if work in WORKS:
        connections, in_flight, batch, size = WORKS[work]
        for durability, means in (("fsync", "fsync before the answer"), ("os", "no fsync: the page cache only")):
            got = run_json([bench, "append", "--connections", str(connections), "--in-flight", str(in_flight), "--batch", str(batch),
                            "--event-bytes", str(size), "--duration", f"{options.seconds}s", "--warm-up", "500ms", "--runs", "1",
                            "--durability", durability, "--output", "json"])
            results.add(work, f"Annals, durability {durability}", means, got)
    else:
        events, size = REPLAYS[work]
        got = run_json([bench, "replay", "--events", str(events * 15), "--event-bytes", str(size), "--batch", "500", "--runs", str(PASSES),
                        "--output", "json"])
        results.add(work, "Annals", "checksums verified", got)


def measure_peer(options, results, work, peer):
    load = os.path.join(options.build, "bench", "peer-load")
    try:
        if isinstance(peer, peers.Kafka):
            measure_kafka(results, work, peer)
        elif work in WORKS:
            peer.reset()
            got = run_json([load, peer.protocol, "append", str(peer.port), *map(str, WORKS[work]), str(options.seconds)])
            results.add(work, peer.label, peer.durability, got)
        elif not peer.slow_to_fill:  # its reads are those of the same system with other flushing
            events, size = REPLAYS[work]
            peer.reset()
            peer.fill(events, size)
            passes = [run_json([load, peer.protocol, "replay", str(peer.port), str(events), str(size)]) for _ in range(PASSES)]
            passes.sort(key=lambda result: result["events_per_second"])
            results.add(work, peer.label, peer.durability, passes[PASSES // 2])
    except (peers.Missing, OSError, subprocess.TimeoutExpired) as problem:
        results.left_out[f"{peer.label}, {work}"] = str(problem)
        say(f"  {work:11} {peer.label}: {problem}")


def measure_kafka(results, work, peer):
    if work == "batch":
        results.add(work, peer.label, peer.durability, peer.produce(60000 if peer.flush else 2000000, 100, 500))
    elif work == "large":
        results.add(work, peer.label, peer.durability, peer.produce(20000 if peer.flush else 300000, 1024, 64))
    elif work == "replay-100" and not peer.flush:
        peer.produce(2000000, 100, 500)
        results.add(work, peer.label, peer.durability, peer.consume(2000000, 100))


def measure_limits(options, results, work):
    load = os.path.join(options.build, "bench", "peer-load")
    directory = os.environ.get("TMPDIR", "/tmp")
    if work in WORKS:
        connections, in_flight, batch, size = WORKS[work]
        group = min(connections, 64) * in_flight * batch * (size + 12)
        for preallocated in (0, 1):
            got = run_json([load, "file", "sync", directory, str(group), str(preallocated)])
            got["group_bytes"] = group
            got["events_per_second"] = got["megabytes_per_second"] * 1e6 / (size + 12)
            results.add(work, f"limit: {'preallocated' if preallocated else 'growing'} file, write + fdatasync",
                        f"fdatasync after each {group} bytes", got)
    else:
        got = run_json([load, "loopback", "stream", "2"])
        got["events_per_second"] = got["megabytes_per_second"] * 1e6 / (REPLAYS[work][1] + 12)
        results.add(work, "limit: one loopback socket", "nothing stored", got)


def everyone(chosen):
    found = [peers.Redis("always"), peers.Redis("everysec"), peers.Nats(False)]
    other = os.environ.get("NATS_CURRENT")
    if other:
        found += [peers.Nats(False, other), peers.Nats(True, other)]
    found += [peers.Postgres(), peers.Kafka(True), peers.Kafka(False)]
    return [peer for peer in found if not chosen or type(peer).__name__.lower() in chosen]


def measure(options):
    results = Results()
    light, heavy = [], []
    works = [work for work in [*WORKS, *REPLAYS] if not options.only or work.split("-")[0] in options.only]
    try:
        for peer in everyone(options.peers):
            try:
                if isinstance(peer, (peers.Postgres, peers.Kafka)):
                    heavy.append(peer)
                else:
                    peer.start()
                    light.append(peer)
            except (peers.Missing, OSError) as problem:
                peer.stop()
                results.left_out[peer.label] = str(problem)
                say(f"  left out: {peer.label}: {problem}")
        for turn in range(options.runs):
            say(f"round {turn + 1} of {options.runs}")
            for work in works:
                measure_limits(options, results, work)
                measure_annals(options, results, work)
                for peer in light:
                    measure_peer(options, results, work, peer)
            for peer in heavy:
                try:
                    if peer.label not in results.left_out:
                        peer.start()
                        for work in works:
                            measure_peer(options, results, work, peer)
                except (peers.Missing, OSError, subprocess.TimeoutExpired) as problem:
                    results.left_out[peer.label] = str(problem)
                    say(f"  left out: {peer.label}: {problem}")
                finally:
                    peer.stop()
    finally:
        for peer in light:
            peer.stop()
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"cores": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]},
            "command": " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]), "seconds": options.seconds, "rounds": options.runs, "results": results.document(),
            "left_out": results.left_out,
            "versions": {peer.label: getattr(peer, "version", "") for peer in light + heavy}}


def words(text):
    return [word for word in text.split(",") if word]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-bench")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--only", type=words, default=[])
    parser.add_argument("--peers", type=words, default=[])
    parser.add_argument("--output")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peers are stopped
    text = json.dumps(measure(options), indent=1)
    if options.output:
        pathlib.Path(options.output).write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
