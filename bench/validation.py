#!/usr/bin/env python3
"""validation.py [--build DIR] [--seconds S] [--batch N] [--rounds R]: what validation costs appends.

One server and two topics, one that does not validate and one that refuses what is wrong, get the same batches of earthquake events in turns
(examples/schemas/quake3.proto, 192 bytes of data each, whose key, subject, time and tags are held against the data), in protobuf over HTTP on one
connection, with durability `os`, so that the disk does not hide the difference. Prints events a second and the server's processor time per event, of all
rounds together, and their ratios. Needs protoc.
"""
import argparse
import http.client
import os
import re
import struct
import subprocess
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SECONDS = 1517363399


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def fixed(number, form, value):
    return varint(number << 3 | 1) + struct.pack(form, value)


def event(i):
    """One element of annals.v1.Batch (schemas/event.proto) with a quake.Event."""
    key, place = b"us%08d" % i, b"37km NNE of Amboy, Washington, " * 4
    origin = fixed(1, "<d", 46.2) + fixed(2, "<d", -122.1) + fixed(3, "<d", 3.28)
    data = (field(1, key) + field(2, b"\x08" + varint(SECONDS)) + fixed(6, "<d", 0.31) + field(7, place)
            + b"\x40\x02" + field(9, b"us") + field(10, origin) + b"\x58\x05")
    return field(1, field(3, b"quake.Event") + field(4, place) + fixed(5, "<q", SECONDS * 10**9)
                 + field(6, b"application/protobuf") + field(8, key) + field(9, data)
                 + field(13, b"status:STATUS_REVIEWED") + field(13, b"network:us")), len(data)


class Server:
    def __init__(self, build, work):
        self.log = open(os.path.join(work, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.path.join(build, "server", "annalsd"), "--data-dir", os.path.join(work, "data"),
             "--http", "127.0.0.1:0", "--binary", "127.0.0.1:0"], stderr=self.log)
        for _ in range(200):
            time.sleep(0.05)
            self.log.seek(0)
            found = re.search(r"protocol=http address=(\S+)", self.log.read())
            if found:
                break
        self.connection = http.client.HTTPConnection(found.group(1), timeout=30)

    def ask(self, method, path, body=None, content_type="application/json"):
        self.connection.request(method, path, body, {"Content-Type": content_type})
        response = self.connection.getresponse()
        text = response.read()
        if response.status not in (200, 201):
            raise SystemExit("%s %s: %d %s" % (method, path, response.status, text.decode()))

    def processor_seconds(self):
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as stat:
            words = stat.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def measure(server, options, body):
    totals = {topic: [0, 0.0, 0.0] for topic in ("off", "enforce")}
    for _ in range(options.rounds):
        for topic, total in totals.items():
            processor, start = server.processor_seconds(), time.monotonic()
            while time.monotonic() - start < options.seconds:
                server.ask("POST", "/v1/topics/%s/events" % topic, body, "application/x-protobuf")
                total[0] += options.batch
            total[1] += time.monotonic() - start
            total[2] += server.processor_seconds() - processor
    return totals


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="annals-validation-") as work:
        server = Server(options.build, work)
        try:
            path = os.path.join(ROOT, "examples", "schemas", "quake3.proto")
            with open(path, "rb") as schema:
                server.ask("POST", "/v1/schemas/quake.Event/versions", schema.read(), "text/plain")
            for topic in ("off", "enforce"):
                server.ask("PUT", "/v1/topics/" + topic,
                           '{"validation":"%s","durability":"os"}' % topic)
            events = [event(i) for i in range(options.batch)]
            totals = measure(server, options, b"".join(one for one, _ in events))
        finally:
            server.stop()
    print("%d bytes of data an event, %d events a request" % (events[0][1], options.batch))
    for topic, (count, seconds, processor) in totals.items():
        print("%-8s %9.0f events/s  %6.0f ns of processor an event" % (topic, count / seconds, processor / count * 1e9))
    (off, off_s, off_cpu), (on, on_s, on_cpu) = totals["off"], totals["enforce"]
    print("enforce / off: rate %.2f, processor %.2f" % ((on / on_s) / (off / off_s), (on_cpu / on) / (off_cpu / off)))


if __name__ == "__main__":
    main()
