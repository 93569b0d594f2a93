#!/usr/bin/env python3
"""Rot under a running annalsd: bits, pages and the end of data.mdb change while it serves, and readers ask for everything.

  tests/faults/live_rot.py [--build build] [--rounds 12] [--seed 1]

Each round damages a copy of one store. What must hold: an event that is delivered is the one that was stored; the process answers, or
ends with status 74 and a sentence that names the file, never by a signal; damage to the events of one partition leaves the others
readable, and is counted in annals_corrupt_reads_total; annalsd verify finds what a reader met; `annalsd repair --salvage` writes a
store that verify accepts. The damage is done through the page cache, as a bad disk would show it once the cache was dropped.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PARTITIONS, EVENTS = 4, 24000  # about 24 MB: most of it is settled
PAGE = 4096


class Server:
    def __init__(self, build, directory):
        self.log = open(os.path.join(os.path.dirname(directory), "log"), "w+")
        self.process = subprocess.Popen(
            [os.path.join(build, "server", "annalsd"), "--data-dir", directory, "--http", "127.0.0.1:0", "--binary", "off",
             "--tail-bytes-max", "8MiB"], stderr=self.log)
        self.url = None
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            ready = re.search(r" ready .*http-port=(\d+)", pathlib.Path(self.log.name).read_text())
            if ready:
                self.url = f"http://127.0.0.1:{ready[1]}"
                return
            time.sleep(0.01)

    def get(self, path):
        """(status, body); status 0: no answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, ValueError, http.client.HTTPException):
            return 0, b""

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        return status, pathlib.Path(self.log.name).read_text()


def data_of(partition, number):
    return f"{partition}-{number}-" + "abcdefgh" * 120


def make_store(build, directory):
    server = Server(build, directory)
    request = urllib.request.Request(server.url + "/v1/topics/t", method="PUT", data=json.dumps({"partitions": PARTITIONS}).encode())
    urllib.request.urlopen(request).read()
    for begin in range(0, EVENTS // PARTITIONS, 500):
        for partition in range(PARTITIONS):
            lines = "".join(json.dumps({"specversion": "1.0", "id": f"{partition}-{i}", "source": "/r", "type": "t",
                                        "data": data_of(partition, i)}) + "\n" for i in range(begin, begin + 500))
            request = urllib.request.Request(f"{server.url}/v1/topics/t/partitions/{partition}/events", method="POST", data=lines.encode(),
                                             headers={"Content-Type": "application/x-ndjson"})
            urllib.request.urlopen(request).read()
    time.sleep(1)
    status, log = server.stop()
    if status != 0:
        sys.exit(f"live_rot: the store could not be made: {log[-500:]}")


def damage(path, kind, rng):
    size = os.path.getsize(path) * 3 // 8  # beyond it lies space that is only reserved
    with open(path, "r+b") as file:
        if kind == "cut":
            file.truncate(size // 3 // PAGE * PAGE)
            return
        for _ in range({"bits": 40, "zero": 10, "swap": 6, "stale": 10}[kind]):
            # Not the two meta pages: LMDB looks at one of them only when it writes.
            at = rng.randrange(2, size // PAGE) * PAGE
            file.seek(at)
            page = bytearray(file.read(PAGE))
            other = rng.randrange(2, size // PAGE) * PAGE
            if kind == "bits":
                page[rng.randrange(len(page))] ^= 1 << rng.randrange(8)
            elif kind == "zero":
                page = bytearray(len(page))
            else:
                file.seek(other)
                second = file.read(PAGE)
                if kind == "swap":
                    file.seek(other)
                    file.write(page)
                page = second
            file.seek(at)
            file.write(page)


def read_all(server, counts):
    """Asks for everything from every 97th offset on; returns what was wrong."""
    wrong = []
    for partition in range(PARTITIONS):
        for offset in range(0, EVENTS // PARTITIONS, 97):
            status, body = server.get(f"/v1/topics/t/partitions/{partition}/events?offset={offset}&limit=97")
            counts[status] += 1
            if status == 0:  # cut off in the middle of the answer, or the end
                time.sleep(0.05)
                if server.process.poll() is not None:
                    return wrong
            if status != 200:
                continue
            for i, line in enumerate(body.decode().splitlines()):
                event = json.loads(line)
                if "annalsoffset" not in event:
                    continue
                if event["annalsoffset"] != offset + i or event["data"] != data_of(partition, offset + i):
                    wrong.append(f"partition {partition}, offset {offset + i}: another event was delivered")
    return wrong


def one_round(options, pristine, kind, rng, counts):
    with tempfile.TemporaryDirectory(prefix="annals-live-rot-") as work:
        directory = os.path.join(work, "data")
        shutil.copytree(pristine, directory)
        server = Server(options.build, directory)
        if server.url is None:
            return [f"the server did not start: {server.stop()}"]
        damage(os.path.join(directory, "shards", "0", "lmdb", "data.mdb"), kind, rng)
        refused = counts[0] + counts[500]
        wrong = read_all(server, counts)
        refused = counts[0] + counts[500] - refused
        corrupt, readyz = 0.0, 0
        if server.process.poll() is None:
            found = re.search(rb"^annals_corrupt_reads_total (\S+)", server.get("/metrics")[1], re.M)
            corrupt = float(found[1]) if found else 0.0
            readyz = server.get("/readyz")[0]
        status, log = server.stop()
        counts["ended 74" if status == 74 else f"ended {status}"] += 1
        if status < 0:
            wrong.append(f"killed by signal {-status}")
        elif status == 74 and not re.search(r"annalsd: '.*data\.mdb' (is damaged|cannot be read)", log):
            wrong.append("ended without its sentence: " + log[-300:])
        elif status not in (0, 74):
            wrong.append(f"ended with {status}: {log[-300:]}")
        if status == 0 and corrupt == 0 and refused > 0:
            wrong.append("damage was met and not counted")
        if status == 0 and readyz != 200:
            wrong.append(f"/readyz answers {readyz} while everything else is served")
        counts["corrupt reads"] += int(corrupt)
        counts["ready"] += readyz == 200
        verify = subprocess.run([os.path.join(options.build, "server", "annalsd"), "verify", directory], capture_output=True, text=True)
        counts["verify found it"] += verify.returncode == 1
        if verify.returncode not in (0, 1):
            wrong.append(f"verify ended with {verify.returncode}: {verify.stderr[-300:]}")
        if (corrupt > 0 or status == 74) and verify.returncode == 0:
            wrong.append("verify finds nothing where a reader met damage")
        rescued = os.path.join(work, "rescued")
        salvage = subprocess.run([os.path.join(options.build, "server", "annalsd"), "repair", "--salvage", rescued, directory],
                                 capture_output=True, text=True)
        again = subprocess.run([os.path.join(options.build, "server", "annalsd"), "verify", rescued], capture_output=True, text=True)
        if again.returncode != 0:
            wrong.append(f"what was rescued ({salvage.returncode}) is not whole: {again.stdout[-200:]} {salvage.stderr[-300:]}")
        return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts, failed = collections.Counter(), 0
    with tempfile.TemporaryDirectory(prefix="annals-live-rot-") as work:
        pristine = os.path.join(work, "data")
        make_store(options.build, pristine)
        for number in range(options.rounds):
            kind = ("bits", "zero", "swap", "stale", "cut")[number % 5]
            wrong = one_round(options, pristine, kind, random.Random(options.seed * 1000 + number), counts)
            for text in wrong[:5]:
                print(f"round {number} ({kind}): {text}")
            failed += bool(wrong)
    print(f"{options.rounds} rounds, seed {options.seed}: " + ", ".join(f"{key}: {value}" for key, value in sorted(counts.items(), key=str)))
    print(f"{options.rounds - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
