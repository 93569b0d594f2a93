"""Random events, random filters: what the pages of a topic and its server-sent events hold, through an index and from the log, is what a
model says; with what lies in memory, after a clean stop, after a kill, beside appends, and after retention.

Run by test_filters.sh: filters.py ANNALSD DIRECTORY [SEED]."""
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

ANNALSD, WORK = sys.argv[1], sys.argv[2]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else random.SystemRandom().randrange(1 << 32)
TYPES = ["order.placed", "order.paid", "order", "customer.moved", "rare"]
TOPICS = ["indexed", "plain"]  # the same events in both; only one has indexes
checks = 0


def check(condition, *what):
    global checks
    checks += 1
    if not condition:
        raise AssertionError("seed %d: " % SEED + " ".join(str(w) for w in what))


class Server:
    def start(self):
        log = os.path.join(WORK, "filters-log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen([ANNALSD, "--data-dir", os.path.join(WORK, "filters"), "--http", "127.0.0.1:0", "--binary", "off"],
                                            stderr=out)
        end = time.monotonic() + 60
        match = None
        while match is None:
            check(time.monotonic() < end and self.process.poll() is None, "no server: " + open(log).read())
            match = re.search(r"ready .*http-port=(\d+)", open(log).read())
            time.sleep(0.02)
        self.connection = http.client.HTTPConnection("127.0.0.1", int(match.group(1)), timeout=60)

    def stop(self, how):
        self.connection.close()
        self.process.send_signal(how)
        self.process.wait(60)

    def ask(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()


def make_event(rng, number):
    rare = rng.random() < 0.01
    event = {"specversion": "1.0", "id": str(number), "source": "/s", "type": TYPES[4] if rare else rng.choice(TYPES[:4]),
             "partitionkey": "k%d" % (rng.randrange(4) if rng.random() < 0.8 else rng.randrange(1000))}
    if rng.random() < 0.7:
        event["subject"] = "s%d" % rng.randrange(5)
    tags = [t for t in ("even", "red", "seat:%d" % rng.randrange(200)) if rng.random() < 0.5]
    if tags:
        event["annalstags"] = ",".join(tags)
    return event


def make_filter(rng):
    wanted = {}
    if rng.random() < 0.5:
        wanted["type"] = rng.choice(TYPES)
    if rng.random() < 0.2:
        wanted["typePrefix"] = rng.choice(["order", "order.", "c", "none."])
    if rng.random() < 0.2:
        wanted["subject"] = "s%d" % rng.randrange(6)
    if rng.random() < 0.4:
        wanted["key"] = rng.choice(["k0", "k1", "k77", "k500", "nobody"])
    if rng.random() < 0.4:
        wanted["tag"] = rng.sample(["even", "red", "seat:7", "seat:8", "none"], rng.randrange(1, 3))
    if rng.random() < 0.2:
        wanted["partition"] = rng.randrange(3)
    return wanted


def passes(event, wanted):
    tags = event.get("annalstags", "").split(",")
    return (wanted.get("type", event["type"]) == event["type"] and event["type"].startswith(wanted.get("typePrefix", ""))
            and wanted.get("subject", event.get("subject")) == event.get("subject")
            and wanted.get("key", event["partitionkey"]) == event["partitionkey"] and all(t in tags for t in wanted.get("tag", []))
            and wanted.get("partition", event["annalspartition"]) == event["annalspartition"])


def read_pages(server, topic, parameters):
    """All pages, following their links until one is empty and leads to itself."""
    path = "/v1/topics/%s/events?%s" % (topic, urllib.parse.urlencode(parameters, doseq=True))
    events, pages = [], 0
    while True:
        status, headers, body = server.ask("GET", path)
        check(status == 200, path, status, body)
        page = [json.loads(line) for line in body.splitlines()]
        following = re.match(r"<(.*)>; rel=\"next\"", headers["Link"]).group(1)
        events += page
        pages += 1
        if not page and token(following) == token(path):
            return events
        check(token(following) > token(path) and pages < 20000, "the pages do not end", path, following)
        path = following


def token(path):
    match = re.search(r"after=\d+\.(\d+)", path)
    return int(match.group(1)) if match else -1


def compare(server, rng, rounds):
    for topic in TOPICS:
        history = read_pages(server, topic, {})
        positions = [e["annalsposition"] for e in history]
        check(positions == sorted(set(positions)), "positions rise", topic)
        times = [e["recordedtime"] for e in history]
        check(times == sorted(times), "recorded times rise with positions", topic)
        topic_id = server_topic_id(server, topic)
        for _ in range(rounds):
            wanted = make_filter(rng)
            parameters = dict(wanted, limit=rng.choice([1, 3, 50, 1000, 5000]) if len(history) < 700 else rng.choice([50, 1000, 5000]))
            after, since = rng.choice([(0, ""), (0, ""), (rng.choice(positions), ""), (0, rng.choice(times)), (0, "2000-01-01T00:00:00Z")])
            if after:
                parameters["after"] = "%d.%d" % (topic_id, after)
            if since:
                parameters["from"] = since
            expected = [e for e in history if passes(e, wanted) and e["annalsposition"] > after and e["recordedtime"] >= since]
            found = read_pages(server, topic, parameters)
            check(found == expected, topic, parameters, "found", len(found), "expected", len(expected))


def server_topic_id(server, topic):
    return json.loads(server.ask("GET", "/v1/topics/" + topic)[2])["id"]


def append(server, rng, first, count):
    number = first
    while number < first + count:
        size = min(rng.choice([1, 5, 200, 600]), first + count - number)
        body = "\n".join(json.dumps(make_event(rng, n)) for n in range(number, number + size))
        for topic in TOPICS:
            status, _, answer = server.ask("POST", "/v1/topics/%s/events" % topic, body, {"Content-Type": "application/x-ndjson"})
            check(status == 200, status, answer)
        number += size
    return number


class Tail(threading.Thread):
    """Reads server-sent events until one whose id is `last` has come."""

    def __init__(self, server, topic, wanted, last):
        super().__init__()
        self.port, self.topic, self.wanted, self.last = server.connection.port, topic, wanted, last
        self.events, self.ids, self.problem = [], [], None

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            path = "/v1/topics/%s/events?%s" % (self.topic, urllib.parse.urlencode(dict(self.wanted, **{"from": "earliest"}), doseq=True))
            connection.request("GET", path, headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            event = None
            while True:
                line = answer.readline().decode().rstrip("\n")
                if line.startswith("id: "):
                    self.ids.append(int(line.split(".")[1]))
                elif line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event is None:
                    self.events.append(json.loads(line[6:]))
                    if self.events[-1]["id"] == self.last:
                        return
                elif line == "":
                    event = None
        except Exception as problem:  # told by the main thread
            self.problem = problem


def tails(server, rng, number):
    """Readers begin in history and go on live while events come: none is left out, none comes twice."""
    wants = [{"type": "rare"}, {"tag": ["red"]}, {"key": "k1"}, {"type": "order", "subject": "s1"}, {}]
    readers = []
    for topic in TOPICS:
        for wanted in wants:
            reader = Tail(server, topic, wanted, "last")
            reader.start()
            readers.append(reader)
    number = append(server, rng, number, 1500)
    last = {"specversion": "1.0", "id": "last", "source": "/s", "type": "rare", "partitionkey": "k1", "annalstags": "red", "subject": "s1"}
    for topic in TOPICS:
        for event in (last, dict(last, type="order")):
            status, _, answer = server.ask("POST", "/v1/topics/%s/events" % topic, json.dumps(event), {"Content-Type": "application/cloudevents+json"})
            check(status == 200, status, answer)
    return number, readers


def main(server):
    rng = random.Random(SEED)
    server.start()
    for topic in TOPICS:
        body = {"partitions": 3}
        if topic == "indexed":
            body.update(streams=True, queryIndex=True, dedupe=False)
        check(server.ask("PUT", "/v1/topics/" + topic, json.dumps(body))[0] == 201)
    number = append(server, rng, 0, 500)
    compare(server, rng, 25)
    server.stop(signal.SIGTERM)
    server.start()
    number = append(server, rng, number, 2000)
    compare(server, rng, 25)
    server.stop(signal.SIGKILL)
    server.start()
    compare(server, rng, 10)
    number, readers = tails(server, rng, number)
    for reader in readers:
        reader.join(120)
        check(not reader.is_alive() and reader.problem is None, reader.topic, reader.wanted, "did not end", reader.problem)
        expected = [e for e in read_pages(server, reader.topic, {}) if passes(e, reader.wanted)]
        check(reader.ids == sorted(reader.ids), "ids rise")
        check(reader.events == expected[:len(reader.events)] and len(reader.events) >= len(expected) - 1, reader.topic, reader.wanted,
              len(reader.events), len(expected))
    for topic in TOPICS:
        check(server.ask("PATCH", "/v1/topics/" + topic, json.dumps({"retention": {"events": 400}}))[0] == 200)
    end = time.monotonic() + 60
    while any(p["firstOffset"] == 0 for t in TOPICS for p in json.loads(server.ask("GET", "/v1/topics/" + t)[2])["partitions"]):
        check(time.monotonic() < end, "retention takes nothing")
        time.sleep(0.1)
    time.sleep(1.5)  # what it has begun
    compare(server, rng, 15)
    server.stop(signal.SIGTERM)
    check(server.process.returncode == 0, "exit status")
    print("seed %d: %d checks" % (SEED, checks))


server = Server()
try:
    main(server)
except AssertionError as problem:
    print(problem, file=sys.stderr)
    sys.exit(1)
finally:
    server.process.kill()
