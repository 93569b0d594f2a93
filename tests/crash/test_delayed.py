#!/usr/bin/env python3
"""Delayed events over HTTP while the server is killed: test_delayed.py ANNALSD

Clients schedule events that are due within seconds; the server is killed with -9 at random moments and started again on the same
data. A request whose answer was lost is sent again with the same ids. In the end each promised event is in the log exactly once and
none was stored before it was due. ANNALS_TEST_SECONDS (3): how long; ANNALS_TEST_SEED: which moments.
"""
import collections
import datetime
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

DEADLINE_S = 90


class Server:
    def __init__(self, program):
        self.program = program
        self.data = tempfile.mkdtemp(prefix="annals-delayed-")
        self.process = self.port = None
        self.starts = 0

    def start(self):
        log = os.path.join(self.data, f"log{self.starts}")
        self.starts += 1
        with open(log, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen([self.program, "--data-dir", os.path.join(self.data, "data"), "--http", "127.0.0.1:0",
                                             "--binary", "127.0.0.1:0"], stderr=file)
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and self.process.poll() is None:
            ready = re.search(r" ready .*http-port=(\d+)", pathlib.Path(log).read_text(encoding="utf-8"))
            if ready:
                self.port = int(ready[1])
                return
            time.sleep(0.01)
        sys.exit("annalsd did not start: " + pathlib.Path(log).read_text(encoding="utf-8")[-500:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, method, path, body=None, kind="application/json"):
        """Status and text; None when the server went away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Producer(threading.Thread):
    """Schedules until told to stop; `due` has the promised events: id -> due time as text."""

    def __init__(self, server, number, seed):
        super().__init__()
        self.server, self.name = server, f"p{number}"
        self.random = random.Random(seed)
        self.due, self.errors = {}, []
        self.stopping = False
        self.repeated = 0

    def run(self):
        count = 0
        while not self.stopping:
            batch = {}
            for _ in range(self.random.randint(1, 30)):
                batch[f"{self.name}-{count}"] = rfc3339(time.time() + self.random.choice([0.3, 0.5, 1, 2]) + self.random.random())
                count += 1
            lines = "\n".join(json.dumps({"specversion": "1.0", "id": name, "source": "/test", "type": "reminder",
                                          "partitionkey": name[-1], "annalsdue": due}) for name, due in batch.items())
            end = time.monotonic() + DEADLINE_S
            while time.monotonic() < end:
                answer = self.server.ask("POST", "/v1/topics/t/events", lines.encode(), "application/x-ndjson")
                if answer is not None and answer[0] != 503:
                    break
                self.repeated += 1
                time.sleep(0.02)
            # Part of a repeat may be due already, which the server says, or all of it: then it knows them.
            if answer is None or answer[0] not in (200, 202, 400) or (answer[0] == 400 and "some events are due later" not in answer[1]):
                self.errors.append(f"{answer}")
                return
            if answer[0] != 400:
                self.due.update(batch)
            time.sleep(self.random.random() * 0.01)


def stored(server):
    """All events in the log: id -> [(recorded time, due time)]."""
    found = collections.defaultdict(list)
    for partition in range(2):
        offset = 0
        while True:
            status, text = server.ask("GET", f"/v1/topics/t/partitions/{partition}/events?offset={offset}&limit=1000")
            if status != 200:
                sys.exit(f"cannot read: {status} {text[:200]}")
            lines = text.splitlines()
            if not lines:
                break
            for line in lines:
                event = json.loads(line)
                found[event["id"]].append((event["recordedtime"], event["annalsdue"]))
                offset = event["annalsoffset"] + 1
    return found


def parse(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def main():
    seconds = float(os.environ.get("ANNALS_TEST_SECONDS", "3"))
    seed = int(os.environ.get("ANNALS_TEST_SEED", str(time.time_ns() % 1000000)))
    moments = random.Random(seed)
    server = Server(sys.argv[1])
    try:
        server.start()
        # With dedupe a repeat is known also when it has been appended meanwhile.
        assert server.ask("PUT", "/v1/topics/t", b'{"partitions":2,"dedupe":true}')[0] == 201
        producers = [Producer(server, i, seed + i) for i in range(3)]
        for producer in producers:
            producer.start()
        end, kills = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            time.sleep(moments.random() * 0.6)
            server.kill()
            server.start()
            kills += 1
        for producer in producers:
            producer.stopping = True
        for producer in producers:
            producer.join()
        errors = [error for producer in producers for error in producer.errors]
        promised = {name: due for producer in producers for name, due in producer.due.items()}
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and "\nannals_delayed_events 0\n" not in server.ask("GET", "/metrics")[1]:
            time.sleep(0.05)
        found = stored(server)
        errors += [f"{name} is lost" for name in promised if name not in found]
        errors += [f"{name} came {len(times)} times" for name, times in found.items() if len(times) != 1]
        errors += [f"{name} was due at {due} and stored at {recorded}" for name, times in found.items() for recorded, due in times
                   if parse(recorded) < parse(due).replace(microsecond=parse(due).microsecond // 1000 * 1000)]
        late = sorted((parse(times[0][0]) - parse(times[0][1])).total_seconds() for times in found.values())
        print(f"seed {seed}: {len(promised)} events promised, {len(found)} came, {kills} kills, "
              f"{sum(producer.repeated for producer in producers)} requests sent again, "
              f"late by {late[len(late) // 2] * 1000:.1f} ms in the middle and {late[-1] * 1000:.0f} ms at most")
        if len(promised) < 50:
            errors.append("too few events to say anything")
        for error in errors[:20]:
            print("FAILED:", error)
        return 1 if errors else 0
    finally:
        server.kill()
        shutil.rmtree(server.data)


sys.exit(main())
