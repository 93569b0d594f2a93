#!/usr/bin/env python3
"""Clients that a server must survive, against a real annalsd; every check is printed, and the status is 1 when one fails.

  tests/hostile/hostile.py [--build build] [--only slow,tails,many,overload] [--long] [--strict]

  slow      connections that send a byte a second of a request's head or body, announce bodies of 1 GiB, never read their answers, send
            frames of 2 GiB or nothing at all, beside clients that behave
  tails     subscribers that stop reading while 20 MB/s are appended, and read on later
  many      thousands of idle subscribers, all at once; one connection above the limit; the server killed, and all of them again
  overload  three times what the server can do, then half of it; and more large requests at once than the queue holds

The short form takes about a minute; --long uses 2,000 slow connections, 1,000 tails, 10,000 connections and five minutes of overload,
and needs `ulimit -n` above 12,000. Latencies are printed beside their goals; they decide only with --strict, because a busy machine
misses them for reasons of its own. Servers, data and ports are the program's own.
"""
import argparse
import json
import os
import pathlib
import re
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request


class Report:
    def __init__(self, strict):
        self.strict = strict
        self.passed = self.failed = self.missed = 0

    def check(self, good, text):
        self.passed += bool(good)
        self.failed += not good
        print(f"  {'ok    ' if good else 'FAILED'}  {text}", flush=True)

    def goal(self, good, text):
        """A goal of time: decides only when asked to."""
        if good or self.strict:
            self.check(good, text)
        else:
            self.missed += 1
            print(f"  missed  {text}", flush=True)


class Server:
    def __init__(self, build, *options):
        self.program = os.path.join(build, "server", "annalsd")
        self.data = tempfile.mkdtemp(prefix="annals-hostile-")
        self.options = options
        self.ports = ("0", "0")
        self.start()

    def start(self):
        self.log = open(os.path.join(self.data, "log"), "a+")
        at = self.log.tell()
        self.process = subprocess.Popen(
            [self.program, "--data-dir", os.path.join(self.data, "data"), "--http", f"127.0.0.1:{self.ports[0]}",
             "--binary", f"127.0.0.1:{self.ports[1]}", *self.options], stderr=self.log)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            ready = re.search(r" ready .*http-port=(\d+) binary-port=(\d+)", pathlib.Path(self.log.name).read_text()[at:])
            if ready:
                self.ports = ready.groups()
                self.http, self.binary = (("127.0.0.1", int(port)) for port in self.ports)
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        sys.exit(f"hostile: annalsd did not start: {pathlib.Path(self.log.name).read_text()[-500:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        """Ends it; its status, 0 when it drained as it should."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.log.close()
        shutil.rmtree(self.data)
        return status

    def alive(self):
        return self.process.poll() is None

    def memory_mib(self):
        """Its own memory but for the events that are not settled yet, whose limit is an option (tail-bytes-max)."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^RssAnon:\s+(\d+)", text, re.M)[1]) / 1024 - self.metric("annals_tail_bytes") / 1048576

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[-1])
        return 0.0

    def request(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[0]}{path}", method=method, data=body)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()


def load(build, server, **options):
    """Clients that behave: annals-bench, open loop where a rate is given."""
    command = [os.path.join(build, "bench", "annals-bench"), "append", "--server", f"127.0.0.1:{server.ports[1]}", "--runs", "1",
               "--output", "json"]
    for name, value in options.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    out, errors = process.communicate()
    if process.returncode != 0:
        sys.exit(f"hostile: annals-bench failed: {errors.strip()[-300:]}")
    return json.loads(out.strip().splitlines()[-1])


def connect(address, receive_bytes=0):
    s = socket.socket()
    if receive_bytes:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    s.settimeout(20)
    s.connect(address)
    return s


# ---- slow ----

class Slow:
    """A connection that trickles, and when it was closed."""
    def __init__(self, address, first, trickle):
        self.socket = connect(address)
        self.socket.sendall(first)
        self.socket.setblocking(False)
        self.trickle = trickle
        self.opened = time.monotonic()
        self.closed = None
        self.answer = b""


def trickle(connections, seconds):
    """A byte a second on each until all are closed or the time is over."""
    selector = selectors.DefaultSelector()
    for slow in connections:
        selector.register(slow.socket, selectors.EVENT_READ, slow)
    end, turn, open_count = time.monotonic() + seconds, time.monotonic(), len(connections)
    while open_count > 0 and time.monotonic() < end:
        for key, _ in selector.select(max(0.0, min(0.2, turn - time.monotonic()))):
            try:
                data = key.fileobj.recv(65536)
            except OSError:
                data = b""
            key.data.answer += data
            if not data:
                key.data.closed = time.monotonic()
                selector.unregister(key.fileobj)
                open_count -= 1
        if time.monotonic() < turn:
            continue
        turn += 1
        for key in list(selector.get_map().values()):
            if key.data.trickle:
                try:
                    key.fileobj.send(key.data.trickle)
                except OSError:
                    pass
    selector.close()


def slow(options, report):
    heads, bodies, huge, deaf, frames = (2000, 500, 200, 100, 50) if options.long else (300, 80, 40, 20, 10)
    server = Server(options.build)
    server.request("PUT", "/v1/topics/t", b'{"partitions":1}')
    good = dict(connections=200, rate=2000, warm_up="500ms", duration="15s" if options.long else "11s")
    descriptors = server.descriptors()
    baseline = result(load(options.build, server, **{**good, "duration": "5s"}))
    rss = server.memory_mib()
    beside = load(options.build, server, **good)

    kinds = {"heads": [Slow(server.http, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"x") for _ in range(heads)]}
    kinds["bodies"] = [Slow(server.http, b"POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", b"x")
                       for _ in range(bodies)]
    kinds["bodies of 1 GiB"] = [Slow(server.http, b"POST /v1/topics/t/events?type=x HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n",
                                     b"x") for _ in range(huge)]
    kinds["frames of 2 GiB"] = [Slow(server.binary, b"\x00\x00\x00\x80" * 8, b"\xff") for _ in range(frames)]
    silent = [connect(server.http) for _ in range(deaf)] + [connect(server.binary) for _ in range(deaf)]
    unread = [connect(server.http, 4096) for _ in range(deaf)]
    for s in unread:
        s.setblocking(False)
        try:
            s.send(b"GET /v1/topics HTTP/1.1\r\nHost: a\r\n\r\n" * 10000)
        except OSError:
            pass
    trickle([slow for kind in kinds.values() for slow in kind], 20)
    peak = server.memory_mib()
    measured = result(beside)

    for name, kind in kinds.items():
        took = [slow.closed - slow.opened for slow in kind if slow.closed]
        report.check(len(took) == len(kind) and max(took) <= 15,
                     f"{len(took)} of {len(kind)} slow {name} closed after at most {max(took, default=0):.1f} s (15)")
    report.check(all(b" 413 " in slow.answer for slow in kinds["bodies of 1 GiB"]), "bodies of 1 GiB are told 413")
    report.check(all(b" 408 " in slow.answer for slow in kinds["heads"]), "slow heads are told 408")
    report.check(measured["failed"] == 0, f"{good['connections']} clients that behave: {measured['failed']} requests failed (0)")
    report.goal(measured["p99_ms"] <= 1.2 * baseline["p99_ms"],
                f"their p99 {measured['p99_ms']:.2f} ms, without the others {baseline['p99_ms']:.2f} (1.2 x)")
    report.check(peak - rss <= 64, f"memory grew by {peak - rss:.1f} MiB (64)")
    for s in silent + unread:
        s.close()
    end = time.monotonic() + 5
    while server.descriptors() > descriptors + 10 and time.monotonic() < end:
        time.sleep(0.1)
    report.check(abs(server.descriptors() - descriptors) <= 10,
                 f"descriptors {server.descriptors()}, {descriptors} before (10 apart)")
    report.check(server.alive() and server.stop() == 0, "the server drains and ends with 0")


# ---- tails ----

class Producer(threading.Thread):
    """NDJSON requests of 100 events of about 1 KiB at 20 MB/s, and how long each took."""
    def __init__(self, server, topic, seconds):
        super().__init__(daemon=True)
        self.server, self.topic, self.seconds = server, topic, seconds
        self.took, self.failed, self.events = [], 0, 0

    def run(self):
        line = json.dumps({"specversion": "1.0", "id": "@", "source": "/h", "type": "t", "data": "x" * 950})
        s = connect(self.server.http)
        begin, sent = time.monotonic(), 0
        while time.monotonic() - begin < self.seconds:
            body = "".join(line.replace("@", f"{self.topic}-{self.events + i}", 1) + "\n" for i in range(100)).encode()
            head = (f"POST /v1/topics/{self.topic}/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n").encode()
            due = begin + sent / 20e6
            time.sleep(max(0.0, due - time.monotonic()))
            s.sendall(head + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += s.recv(65536)
            length = re.search(rb"content-length: (\d+)", answer, re.I)
            need = answer.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
            while len(answer) < need:
                answer += s.recv(65536)
            if time.monotonic() - begin > min(3, self.seconds / 2):  # the tails fill their buffers first
                self.took.append(time.monotonic() - max(due, begin))
            if b" 200 " in answer[:16] or b" 201 " in answer[:16]:
                self.events += 100
            else:
                self.failed += 1
            sent += len(body)
        s.close()

    def p99_ms(self):
        took = sorted(self.took)
        return took[len(took) * 99 // 100] * 1e3


def tails(options, report):
    count, seconds, read_bytes = (1000, 600, 4 << 20) if options.long else (100, 6, 2 << 20)
    server = Server(options.build)
    for topic in ("quiet", "loud"):
        server.request("PUT", f"/v1/topics/{topic}", json.dumps(
            {"partitions": 1, "retention": {"bytes": 2 << 30}} if options.long else {"partitions": 1}).encode())
    baseline = Producer(server, "quiet", min(seconds, 30))
    baseline.start()
    baseline.join()
    rss = server.memory_mib()
    consumers = []
    for _ in range(count):
        s = connect(server.http, 4096)
        s.sendall(b"GET /v1/topics/loud/events?from=earliest HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        consumers.append(s)
    producer = Producer(server, "loud", seconds)
    producer.start()
    peak = oldest = 0.0
    while producer.is_alive():
        producer.join(0.25)
        peak = max(peak, server.memory_mib() - rss)
        oldest = max(oldest, server.metric("annals_lmdb_oldest_reader_seconds"))
    report.check(producer.failed == 0 and baseline.failed == 0, f"{producer.events} events stored, {producer.failed} requests failed (0)")
    allowed = 64 + count * 0.375  # each: 256 KiB of output, and the batch that it is in, of about 100 KiB
    report.check(peak <= allowed, f"memory grew by {peak:.1f} MiB with {count} tails that do not read ({allowed:.0f})")
    report.check(oldest <= 1, f"the oldest read transaction was open for {oldest:.2f} s (1)")
    report.goal(producer.p99_ms() <= 1.1 * baseline.p99_ms() + 1,
                f"the producer's p99 {producer.p99_ms():.1f} ms, without tails {baseline.p99_ms():.1f} (1.1 x)")
    whole = told = 0
    for i, s in enumerate(consumers):
        limit = read_bytes if i > 0 or options.long else 1 << 40
        data, offsets = b"", []
        s.settimeout(10)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while len(offsets) < producer.events and limit > 0:
            try:
                got = s.recv(1 << 20)
            except OSError:
                break
            if not got:
                break
            limit -= len(got)
            data += got
            ends = data.rfind(b"\n\n")
            if ends > 0:
                offsets += [int(n) for n in re.findall(rb'"annalsoffset":(\d+)', data[:ends])]
                data = data[ends:]
        told += b"event: error" in data
        whole += offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else 0
        s.close()
    if options.long:
        report.check(whole + told == count, f"{whole} of {count} tails read on without a gap, {told} were told that events are gone")
    else:
        report.check(whole == count, f"{whole} of {count} tails read on without a gap, one of them to the end")
    report.check(server.alive() and server.stop() == 0, "the server drains and ends with 0")


# ---- many ----

def subscribe_all(server, count):
    """So many subscribers as fast as they come; (sockets, how many got their answer, seconds)."""
    selector, begin, sockets, answered = selectors.DefaultSelector(), time.monotonic(), [], 0
    while len(sockets) < count or answered < count:
        for _ in range(min(200, count - len(sockets))):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(server.http)
            selector.register(s, selectors.EVENT_WRITE)
            sockets.append(s)
        for key, mask in selector.select(0.05):
            try:
                if mask & selectors.EVENT_WRITE:
                    key.fileobj.send(b"GET /v1/topics/t/events?from=latest HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
                    selector.modify(key.fileobj, selectors.EVENT_READ)
                else:
                    answered += b" 200 " in key.fileobj.recv(4096)[:16]
                    selector.unregister(key.fileobj)
            except OSError:
                selector.unregister(key.fileobj)
        if time.monotonic() - begin > 30:
            break
    selector.close()
    return sockets, answered, time.monotonic() - begin


def many(options, report):
    count, seconds = (10000, 60) if options.long else (2000, 5)
    server = Server(options.build, "--connections-max", str(count + 300), "--idle-timeout", "10m")
    server.request("PUT", "/v1/topics/t", b'{"partitions":1}')
    good = dict(connections=200, rate=2000, warm_up="500ms", duration=f"{seconds}s")
    baseline = result(load(options.build, server, **{**good, "duration": "5s"}))
    sockets, answered, took = subscribe_all(server, count)
    report.check(answered == count, f"{answered} of {count} connections were served")
    report.goal(count / took >= 2000, f"{count / took:.0f} a second (2000)")
    measured = result(load(options.build, server, **good))
    report.check(measured["failed"] == 0, f"beside them {measured['failed']} requests of 200 active clients failed (0)")
    report.check(server.memory_mib() <= 300, f"the server has {server.memory_mib():.0f} MiB of memory of its own (300)")
    report.goal(measured["p99_ms"] <= 1.5 * baseline["p99_ms"],
                f"their p99 {measured['p99_ms']:.2f} ms, alone {baseline['p99_ms']:.2f} (1.5 x)")
    extra = [connect(server.http) for _ in range(303)]
    refused = 0
    for s in extra[-3:]:
        try:
            s.settimeout(5)
            answer = s.recv(4096)
            refused += b" 503 " in answer[:16] and b"retry-after" in answer.lower()
        except OSError:
            pass
    report.check(refused == 3, f"above the limit {refused} of 3 connections are told 503 and when to come again")
    for s in extra:
        s.close()
    server.kill()
    for s in sockets:
        s.close()
    begin = time.monotonic()
    server.start()
    sockets, answered, _ = subscribe_all(server, count)
    took = time.monotonic() - begin
    report.check(answered == count and took <= 15, f"killed and started again, {answered} of {count} are back after {took:.1f} s (15)")
    for s in sockets:
        s.close()
    report.check(server.alive() and server.stop() == 0, "the server drains and ends with 0")


# ---- overload ----

def large_requests(server, count):
    """So many requests of 3.5 MiB at once: (accepted, refused as they should be, others, slowest refusal)."""
    line = json.dumps({"specversion": "1.0", "id": "@", "source": "/h", "type": "t", "data": "x" * 100000})
    outcomes, lock = [], threading.Lock()

    def one(number):
        body = "".join(line.replace("@", f"{number}-{i}", 1) + "\n" for i in range(36)).encode()
        s = connect(server.http)
        s.settimeout(60)
        s.sendall((f"POST /v1/topics/t/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
        sent = time.monotonic()
        answer = s.recv(65536)
        s.close()
        with lock:
            outcomes.append((int(answer[9:12]), b"retry-after" in answer.lower(), time.monotonic() - sent))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accepted = sum(status in (200, 201) for status, _, _ in outcomes)
    refused = [took for status, again, took in outcomes if status in (429, 503) and again]
    return accepted, len(refused), count - accepted - len(refused), max(refused, default=0)


def overload(options, report):
    seconds = 300 if options.long else 6
    server = Server(options.build)
    server.request("PUT", "/v1/topics/t", b'{"partitions":1}')
    # Of this shape: an open loop sends each request when it is due, for itself, which costs more than answering in bunches.
    shape = dict(connections=256, in_flight=64, warm_up="500ms")
    capacity = max(result(load(options.build, server, **shape, rate=rate, duration="1500ms"))["requests_per_second"]
                   for rate in (60000, 100000, 140000, 180000, 240000))
    fitting = dict(connections=256, in_flight=64, rate=int(capacity * 0.5), warm_up="1s", duration="4s")
    before = result(load(options.build, server, **fitting))
    rss = server.memory_mib()
    over = load(options.build, server, **shape, rate=int(3 * capacity), duration=f"{seconds}s")
    most = 0.0
    while over.poll() is None:
        most = max(most, server.memory_mib() - rss)
        time.sleep(0.2)
    over = result(over)
    after = result(load(options.build, server, **{**fitting, "warm_up": "6s"}))
    report.check(over["failed"] == 0, f"offered three times {capacity:.0f} requests/s, {over['failed']} failed (0)")
    report.goal(over["requests_per_second"] >= 0.9 * capacity,
                f"{over['requests_per_second']:.0f}/s were done, {over['requests_per_second'] / capacity:.2f} of the peak (0.9)")
    report.check(most <= 256, f"memory grew by {most:.1f} MiB meanwhile (256)")
    report.goal(after["p99_ms"] <= 2 * before["p99_ms"] + 2,
                f"afterwards p99 {after['p99_ms']:.2f} ms at half of the peak, before {before['p99_ms']:.2f} (2 x)")
    accepted, refused, others, slowest = large_requests(server, 60)
    report.check(others == 0 and accepted >= 1,
                 f"60 requests of 3.5 MiB at once: {accepted} stored, {refused} told 429 or 503 and when to come again, {others} others (0)")
    if refused:
        report.goal(slowest <= 0.1, f"the slowest of these refusals came after {slowest * 1e3:.0f} ms (100)")
    count = sum(int(part["count"]) if "count" in part else int(part["endOffset"]) - int(part["firstOffset"])
                for part in json.loads(server.request("GET", "/v1/topics/t"))["partitions"])
    report.check(count == accepted * 36, f"{count} events are stored, {accepted * 36} were acknowledged")
    report.check(server.alive() and server.stop() == 0, "the server drains and ends with 0")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", default="slow,tails,many,overload")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if limit < (12000 if options.long else 3000):
        print(f"hostile: only {limit} files may be open: raise ulimit -n", file=sys.stderr)
        return 77  # a skipped test
    report = Report(options.strict)
    for name in options.only.split(","):
        begin = time.monotonic()
        print(f"{name}", flush=True)
        {"slow": slow, "tails": tails, "many": many, "overload": overload}[name](options, report)
        print(f"  {time.monotonic() - begin:.0f} s", flush=True)
    print(f"{report.passed} passed, {report.failed} failed, {report.missed} goals of time missed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
