"""Concurrent appenders over several partitions and readers that tail them: pages of a partition and of a topic, server-sent events whose
connection breaks again and again, and subscriptions of the binary protocol; with filters and without; from the beginning, from an event,
from a time and from now on. Each reader must have had exactly the events that the log holds for it in the end, in their order.

Run by test_tailing.sh: tailing.py ANNALSD ANNALS DIRECTORY [SEED]. ANNALS is the command line tool, the reader over the binary protocol."""
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

ANNALSD, ANNALS, WORK = sys.argv[1:4]
SEED = int(sys.argv[4]) if len(sys.argv) > 4 and sys.argv[4] else random.SystemRandom().randrange(1 << 32)
PARTITIONS, APPENDERS, REQUESTS = 4, 4, 60
TOPICS = ["indexed", "plain"]  # only one has indexes
TYPES = ["order.placed", "order.paid", "customer.moved"]
FILTERS = [{}, {"type": "rare"}, {"key": "k1"}, {"typePrefix": "order.", "tag": ["red"]}]
DEADLINE = time.monotonic() + 150
checks = 0


class Failed(Exception):
    pass


def check(condition, *what):
    global checks
    checks += 1
    if not condition:
        raise Failed("seed %d: " % SEED + " ".join(str(w) for w in what))


def passes(event, wanted):
    tags = event.get("annalstags", "").split(",")
    return (wanted.get("type", event["type"]) == event["type"] and event["type"].startswith(wanted.get("typePrefix", ""))
            and wanted.get("key", event["partitionkey"]) == event["partitionkey"] and all(t in tags for t in wanted.get("tag", [])))


def place(event):
    return event["annalspartition"], event["annalsoffset"]


class Server:
    def start(self):
        log = os.path.join(WORK, "tailing-log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen([ANNALSD, "--data-dir", os.path.join(WORK, "tailing"), "--http", "127.0.0.1:0", "--binary",
                                             "127.0.0.1:0"], stderr=out)
        match = None
        while match is None:
            check(time.monotonic() < DEADLINE and self.process.poll() is None, "no server: " + open(log).read())
            text = open(log).read()
            match = re.search(r"ready .*http-port=(\d+)", text)
            time.sleep(0.02)
        self.port = int(match.group(1))
        self.binary = re.search(r"listening.*protocol=binary.*address=(\S+)", text).group(1)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


def ask(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


class Worker(threading.Thread):
    """A thread whose problem the main thread tells."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.rng, self.problem = server, random.Random(seed), None

    def run(self):
        try:
            self.work()
        except Exception as problem:
            self.problem = problem


class Appender(Worker):
    def __init__(self, server, seed, name):
        super().__init__(server, seed)
        self.name, self.stored, self.sent = name, {t: [] for t in TOPICS}, 0

    def make_event(self):
        rng = self.rng
        event = {"specversion": "1.0", "id": "%s-%d" % (self.name, self.sent), "source": "/s", "annalstags": rng.choice(["red", "blue", "red,blue"]),
                 "type": "rare" if rng.random() < 0.01 else rng.choice(TYPES), "partitionkey": "k%d" % rng.randrange(rng.choice([3, 300]))}
        if rng.random() < 0.02:
            event["data"] = "x" * rng.randrange(50000)
        self.sent += 1
        return event

    def work(self):
        connection = self.server.connect()
        for _ in range(REQUESTS):
            events = [self.make_event() for _ in range(self.rng.choice([1, 1, 3, 40]))]
            body = "\n".join(json.dumps(e) for e in events)
            for topic in TOPICS:
                status, _, answer = ask(connection, "POST", "/v1/topics/%s/events" % topic, body, {"Content-Type": "application/x-ndjson"})
                check(status == 200, status, answer)
                self.stored[topic] += [e["id"] for e in events]
            if self.rng.random() < 0.3:
                time.sleep(self.rng.random() * 0.02)


class Reader(Worker):
    """Collects events until they are as many as main() expects; what comes too often or unasked is among them."""

    def __init__(self, server, seed, topic, wanted, start):
        super().__init__(server, seed)
        self.topic, self.wanted, self.start_at = topic, wanted, start
        self.events, self.done = [], threading.Event()
        self.after = 0  # the position behind which it began
        self.began = threading.Event()

    def query(self, **more):
        return urllib.parse.urlencode(dict(self.wanted, **more), doseq=True)

    def __str__(self):
        return "%s of %s, filter %s, from %s" % (type(self).__name__, self.topic, self.wanted, self.start_at)


class Pages(Reader):
    """Pages of the topic."""

    def work(self):
        connection = self.server.connect()
        more = {} if self.start_at == "earliest" else {"from": self.start_at}
        path = "/v1/topics/%s/events?%s" % (self.topic, self.query(limit=self.rng.choice([7, 100, 1000]), **more))
        self.began.set()
        while not self.done.is_set():
            status, headers, body = ask(connection, "GET", path)
            check(status == 200, path, status, body)
            self.events += [json.loads(line) for line in body.splitlines()]
            following = re.match(r"<(.*)>; rel=\"next\"", headers["Link"]).group(1)
            if following == path:
                time.sleep(0.01)
            path = following


class PartitionPages(Reader):
    """Pages of one partition, which wait at the end."""

    def __init__(self, server, seed, topic, wanted, start, partition):
        super().__init__(server, seed, topic, wanted, start)
        self.partition = partition

    def work(self):
        connection = self.server.connect()
        base = "/v1/topics/%s/partitions/%d/events?" % (self.topic, self.partition)
        more = {"from": self.start_at}
        self.began.set()
        while not self.done.is_set():
            path = base + self.query(limit=self.rng.choice([7, 1000]), wait="500ms", **more)
            status, headers, body = ask(connection, "GET", path)
            check(status == 200, path, status, body)
            self.events += [json.loads(line) for line in body.splitlines()]
            more = {"offset": headers["Annals-Next-Offset"]}


class Stream(Reader):
    """Server-sent events. Where `breaks`, the connection is closed after some blocks, perhaps the first, and the stream resumed with the last
    id, or begun again where there was none."""

    def __init__(self, server, seed, topic, wanted, start, breaks):
        super().__init__(server, seed, topic, wanted, start)
        self.breaks, self.resumed, self.last_id = breaks, 0, None

    def work(self):
        more = {} if self.start_at == "latest" else {"from": self.start_at}
        while not self.done.is_set():
            connection = self.server.connect()
            headers = {"Accept": "text/event-stream"}
            if self.last_id:
                headers["Last-Event-ID"] = self.last_id  # beside what the first request asked for, as browsers do
            connection.request("GET", "/v1/topics/%s/events?%s" % (self.topic, self.query(**more)), headers=headers)
            answer = connection.getresponse()
            check(answer.status == 200, self, answer.status)
            self.read(answer, (self.rng.randrange(1, 60) if self.resumed else 1) if self.breaks else None)
            answer.close()
            connection.close()
            self.resumed += 1

    def read(self, answer, most):
        block, count = {}, 0
        while not self.done.is_set() and (most is None or count < most):
            line = answer.readline().decode()
            check(line != "", self, "the stream ended")
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n":
                self.take(block)
                count += 1
                block = {}
            elif name:
                block[name] = value

    def take(self, block):
        """A block is taken as browsers do: whole, its id with it."""
        if "id" in block:
            self.last_id = block["id"]
        if not self.began.is_set():
            self.after = int(self.last_id.split(".")[1]) if self.start_at == "latest" else 0
            self.began.set()
        check(block.get("event", "caught-up") == "caught-up", self, block)
        if "data" in block and "event" not in block:
            self.events.append(json.loads(block["data"]))
            check(self.last_id.endswith(".%d" % self.events[-1]["annalsposition"]), self, "the id of another event", block)


class Subscription(Reader):
    """The binary protocol, by the command line tool."""

    def work(self):
        arguments = [ANNALS, "read", self.topic, "--follow", "--output", "ndjson", "--from", self.start_at]
        for name, value in self.wanted.items():
            arguments += ["--type-prefix" if name == "typePrefix" else "--" + name, ",".join(value) if name == "tag" else value]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, ANNALS_SERVER=self.server.binary))
        self.began.set()
        for line in self.process.stdout:
            self.events.append(json.loads(line))
        self.process.wait()
        check(self.done.is_set(), self, "ended:", self.process.stderr.read())


def read_log(server, topic):
    """What the partitions hold, read one by one without a filter when nothing is appended any more."""
    connection = server.connect()
    log = []
    for partition in range(PARTITIONS):
        status, headers, body = ask(connection, "GET", "/v1/topics/%s/partitions/%d/events?limit=1000000" % (topic, partition))
        check(status == 200, topic, partition, status)
        events = [json.loads(line) for line in body.splitlines()]
        check([e["annalsoffset"] for e in events] == list(range(len(events))), "offsets have no gap", topic, partition)
        check(int(headers["Annals-End-Offset"]) == len(events), "the page holds the partition", topic, partition)
        check(len(events) > 0, "nothing in", topic, partition)
        log += events
    log.sort(key=lambda e: e["annalsposition"])
    times = [e["recordedtime"] for e in log]
    check(times == sorted(times), "recorded times rise with positions", topic)
    check(len({e["annalsposition"] for e in log}) == len(log), "a position is one event's", topic)
    return log


def check_appends(appenders, topic, log):
    found = {}
    for event in log:
        name, _, number = event["id"].partition("-")
        found.setdefault(name, []).append(event)
    for appender in appenders:
        events = found.get(appender.name, [])
        check(sorted(int(e["id"].split("-")[1]) for e in events) == list(range(appender.sent)), topic, appender.name, "stored once each")
        for partition in range(PARTITIONS):
            numbers = [int(e["id"].split("-")[1]) for e in events if e["annalspartition"] == partition]
            check(numbers == sorted(numbers), topic, appender.name, "in the order of its requests", partition)


def expected(reader, log):
    return [e for e in log if passes(e, reader.wanted) and e["annalsposition"] > reader.after
            and (reader.start_at in ("earliest", "latest") or e["recordedtime"] >= reader.start_at)
            and getattr(reader, "partition", e["annalspartition"]) == e["annalspartition"]]


def is_served(reader, count):
    return reader.problem is not None or len(reader.events) >= count


def compare(reader, log):
    """Waits for a reader to have what it should, and a little longer for what it should not."""
    wanted = expected(reader, log)
    while not is_served(reader, len(wanted)) and time.monotonic() < DEADLINE:
        time.sleep(0.01)
    check(reader.problem is None, reader, repr(reader.problem))
    got = list(reader.events)
    if isinstance(reader, Subscription):  # no order between partitions
        got.sort(key=lambda e: e["annalspartition"])
        wanted.sort(key=lambda e: e["annalspartition"])
    if got == wanted:
        return wanted
    missing = {place(e) for e in wanted} - {place(e) for e in got}
    unasked = {place(e) for e in got} - {place(e) for e in wanted}
    raise Failed("seed %d: %s: %d events, not %d; missing %s, unasked %s, repeated %d" % (
        SEED, reader, len(got), len(wanted), sorted(missing)[:5], sorted(unasked)[:5], len(got) - len({place(e) for e in got})))


def begin_readers(server, rng, topic, start):
    """One reader of each kind for each filter."""
    readers = []
    for wanted in FILTERS:
        def seed():
            return rng.randrange(1 << 32)
        if start != "latest":  # pages begin where they are first asked for, which nobody can tell
            readers.append(Pages(server, seed(), topic, wanted, start))
            readers.append(PartitionPages(server, seed(), topic, wanted, start, rng.randrange(PARTITIONS)))
            readers.append(Subscription(server, seed(), topic, wanted, start))
        readers.append(Stream(server, seed(), topic, wanted, start, False))
        readers.append(Stream(server, seed(), topic, wanted, start, True))
    for reader in readers:
        reader.start()
    return readers


def wait_for(appenders, sent):
    while any(a.sent < sent and a.is_alive() for a in appenders):
        check(time.monotonic() < DEADLINE, "appends take too long")
        time.sleep(0.002)


def end_reader(reader):
    reader.done.set()
    if isinstance(reader, Subscription):
        reader.process.send_signal(signal.SIGTERM)


def wake_streams(server):
    """Streams look up when something comes."""
    connection = server.connect()
    last = {"specversion": "1.0", "id": "last", "source": "/s", "type": "order.rare", "partitionkey": "k1", "annalstags": "red"}
    for topic in TOPICS:
        for event_type in ("rare", "order.last"):
            body = json.dumps(dict(last, id="last-" + event_type, type=event_type))
            status, _, answer = ask(connection, "POST", "/v1/topics/%s/events" % topic, body, {"Content-Type": "application/cloudevents+json"})
            check(status == 200, status, answer)


def main(server):
    rng = random.Random(SEED)
    server.start()
    connection = server.connect()
    for topic in TOPICS:
        body = {"partitions": PARTITIONS}
        if topic == "indexed":
            body.update(streams=True, queryIndex=True, dedupe=False)
        check(ask(connection, "PUT", "/v1/topics/" + topic, json.dumps(body))[0] == 201)
    appenders = [Appender(server, rng.randrange(1 << 32), "a%d" % i) for i in range(APPENDERS)]
    readers = []
    for topic in TOPICS:
        readers += begin_readers(server, rng, topic, "earliest")
        readers += begin_readers(server, rng, topic, "latest")
    for reader in readers:
        check(reader.began.wait(60), reader, "did not begin", reader.problem)
    for appender in appenders:
        appender.start()
    wait_for(appenders, 100)
    for topic in TOPICS:
        status, _, body = ask(connection, "GET", "/v1/topics/%s/events?limit=100" % topic)
        check(status == 200 and body, topic, status)
        some = rng.choice([json.loads(line) for line in body.splitlines()])
        readers += begin_readers(server, rng, topic, some["recordedtime"])
        readers += begin_readers(server, rng, topic, "latest")
    for appender in appenders:
        appender.join(max(0, DEADLINE - time.monotonic()))
        check(not appender.is_alive() and appender.problem is None, appender.name, "did not end", appender.problem)
    for reader in readers:
        check(reader.began.wait(60), reader, "did not begin", reader.problem)
    wake_streams(server)
    events = 0
    for topic in TOPICS:
        log = read_log(server, topic)
        check_appends(appenders, topic, [e for e in log if not e["id"].startswith("last")])
        for reader in readers:
            if reader.topic == topic:
                events += len(compare(reader, log))
    counts = [len(r.events) for r in readers]
    time.sleep(0.3)
    for reader, count in zip(readers, counts):
        check(len(reader.events) == count and reader.problem is None, reader, "goes on after the end", reader.problem)
    check(any(getattr(r, "resumed", 0) > 3 for r in readers), "no stream was broken and resumed")
    for reader in readers:
        end_reader(reader)
    for reader in readers:
        if isinstance(reader, Subscription):
            reader.join(60)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    check(server.process.returncode == 0, "exit status", server.process.returncode)
    print("seed %d: %d readers had %d events, %d checks" % (SEED, len(readers), events, checks))


the_server = Server()
code = 0
try:
    main(the_server)
except Failed as failure:
    print(failure, file=sys.stderr)
    code = 1
finally:
    the_server.process.kill()
sys.stdout.flush()
os._exit(code)  # readers may still wait for a line
