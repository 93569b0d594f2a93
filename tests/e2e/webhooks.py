"""Webhooks from outside: a receiver that behaves as each test says, and a server that is killed in between.

Run by test_webhooks.sh: webhooks.py ANNALSD DIRECTORY."""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

ANNALSD, WORK = sys.argv[1], sys.argv[2]
checks = 0


def check(condition, *what):
    global checks
    checks += 1
    if not condition:
        raise AssertionError(*what)


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError("in vain: " + what)


class Server:
    """annalsd on a free port."""

    def __init__(self, private="allow"):
        self.private, self.process, self.more = private, None, []

    def start(self):
        log = os.path.join(WORK, "log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [ANNALSD, "--data-dir", os.path.join(WORK, "data"), "--http", "127.0.0.1:0", "--binary", "off",
                 "--webhook-private-addresses", self.private, "--webhook-origin", "events.example"] + self.more, stderr=out)
        match = until(lambda: re.search(r"protocol=http.*address=127\.0\.0\.1:(\d+)", open(log).read()), "listening")
        self.port = int(match.group(1))
        until(lambda: self.ask("GET", "/readyz", raw=True)[0] == 200, "ready")

    def stop(self, how):
        self.process.send_signal(how)
        code = self.process.wait(30)
        self.process = None
        return code

    def ask(self, method, path, body=None, raw=False):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            if raw:
                return 0, b""
            raise
        finally:
            connection.close()
        return (answer.status, data) if raw else (answer.status, json.loads(data or b"null"))

    def want(self, status, method, path, body=None):
        got, document = self.ask(method, path, body)
        check(got == status, method, path, got, document)
        return document

    def append(self, topic, events):
        batch = [dict({"specversion": "1.0", "source": "/e2e", "type": "order"}, **event) for event in events]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", "/v1/topics/%s/events" % topic, json.dumps(batch),
                           {"Content-Type": "application/cloudevents-batch+json"})
        check(connection.getresponse().status == 200, "append")
        connection.close()

    def hook(self, name):
        return self.want(200, "GET", "/v1/webhooks/" + name)


class Delivery:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body, self.at = path, headers, body, time.monotonic()
        self.done = False

    def data(self):
        if self.headers.get("Content-Type", "").startswith("application/cloudevents+json"):
            return json.loads(self.body)["data"]
        return json.loads(self.body)


class Receiver:
    """Answers by path: rules[path](delivery, how many there were) gives (status, headers)."""

    def __init__(self, ssl_files=None):
        self.lock = threading.Lock()
        self.deliveries, self.rules, self.asked = {}, {}, []
        self.consent = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, headers, body=b""):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                delivery = Delivery(self.path, self.headers, body)
                with outer.lock:
                    seen = outer.deliveries.setdefault(self.path, [])
                    seen.append(delivery)
                    number = len(seen)
                try:
                    rule = outer.rules.get(self.path, lambda delivery, number: (204, {}))
                    answer = rule(delivery, number)
                    self.answer(*answer)
                    delivery.done = 200 <= answer[0] < 300
                except OSError:
                    pass

            def do_OPTIONS(self):
                outer.asked.append((self.path, dict(self.headers)))
                self.answer(200, outer.consent.get(self.path, {}))

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda request, address: None  # connections of a server that was killed
        if ssl_files is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*ssl_files)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, path):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def got(self, path):
        with self.lock:
            return list(self.deliveries.get(path, []))


receiver, server = Receiver(), Server()


def put(name, **settings):
    body = {"url": receiver.url("/" + name), "topics": [name], "handshake": "off", "backoffMs": 10, "backoffMaxMs": 50}
    body.update(settings)
    return server.want(201, "PUT", "/v1/webhooks/" + name, body)


def topic(name, count=0, keys=5, first=0):
    if first == 0:
        server.want(201, "PUT", "/v1/topics/" + name, {"partitions": 2})
    if count > 0:
        server.append(name, [{"id": str(i), "partitionkey": "k%d" % (i % keys), "data": i}
                             for i in range(first, first + count)])


def first_done(path):
    """Numbers in the order in which the receiver first took them."""
    order = []
    for delivery in receiver.got(path):
        if delivery.done and delivery.data() not in order:
            order.append(delivery.data())
    return order


def in_order(numbers, keys=5):
    for key in range(keys):
        mine = [n for n in numbers if n % keys == key]
        check(mine == sorted(mine), "order of a key", mine)


def test_order_and_retries():
    topic("orders", 60)
    receiver.rules["/orders"] = lambda delivery, number: (500, {}) if number % 3 == 0 else (200, {})
    server.process.send_signal(signal.SIGHUP)  # the options are others then
    time.sleep(0.1)
    put("orders", concurrency=8)
    until(lambda: len(first_done("/orders")) == 60, "60 events, each third refused once")
    in_order(first_done("/orders"))
    hook = server.hook("orders")
    check(hook["group"] == "webhook.orders" and hook["state"] == "enabled", hook)
    until(lambda: server.hook("orders")["delivery"]["delivered"] == 60, "delivered")
    check(server.hook("orders")["delivery"]["lastFailure"] == "HTTP 500", hook)
    until(lambda: server.want(200, "GET", "/v1/groups/webhook.orders")["lag"] == 0, "no lag")
    one = receiver.got("/orders")[0]
    check(one.headers["WebHook-Request-Origin"] == "events.example")
    event = json.loads(one.body)
    check(event["specversion"] == "1.0" and event["source"] == "/e2e" and "annalsoffset" in event, event)
    ids = [d.headers["webhook-id"] for d in receiver.got("/orders")]
    check(len(set(ids)) == 60, "an event keeps its webhook-id")
    metrics = server.ask("GET", "/metrics", raw=True)[1].decode()
    check('annals_webhook_deliveries_total{webhook="orders",outcome="delivered"} 60' in metrics)
    check("annals_webhook_duration_seconds_count" in metrics)


def test_parked():
    topic("poison", 3, keys=1)
    receiver.rules["/poison"] = lambda delivery, number: (422, {}) if delivery.data() == 1 else (200, {})
    put("poison", attemptsMax=3)
    parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.poison/parked")["parked"], "parked")
    check(parked[0]["reason"] == "HTTP 422" and parked[0]["deliveries"] == 3, parked)
    check(first_done("/poison") == [0], "what follows in the key waits")
    receiver.rules["/poison"] = lambda delivery, number: (200, {})
    server.want(200, "POST", "/v1/groups/webhook.poison/parked/replay", {})
    until(lambda: first_done("/poison") == [0, 1, 2], "replayed in order")


def test_gone_and_resume():
    topic("gone", 4, keys=1)
    receiver.rules["/gone"] = lambda delivery, number: (410, {}) if number == 2 else (200, {})
    put("gone")
    hook = until(lambda: server.hook("gone")["state"] == "disabled" and server.hook("gone"), "disabled")
    check("410" in hook["reason"], hook)
    time.sleep(0.3)
    check(len(receiver.got("/gone")) == 2, "nothing is sent to who is gone")
    server.stop(signal.SIGKILL)
    server.start()
    check(server.hook("gone")["state"] == "disabled", "for good")
    time.sleep(0.3)
    check(len(receiver.got("/gone")) == 2)
    check(server.want(200, "POST", "/v1/webhooks/gone/resume")["state"] == "enabled")
    until(lambda: first_done("/gone") == [0, 1, 2, 3], "resumed")


def test_throttled():
    topic("throttled", 6, keys=6)
    receiver.rules["/throttled"] = lambda delivery, number: (429, {"Retry-After": "2"}) if number == 1 else (200, {})
    put("throttled", concurrency=1, attemptsMax=1)  # a 429 is no attempt: nothing is parked
    until(lambda: len(first_done("/throttled")) == 6, "all after the pause")
    got = receiver.got("/throttled")
    check(got[1].at - got[0].at > 1.9, "Retry-After", got[1].at - got[0].at)
    check(server.hook("throttled")["delivery"]["throttled"] == 1)


def test_redirect_and_timeout():
    topic("redirect", 1)
    receiver.rules["/redirect"] = lambda delivery, number: (302, {"Location": receiver.url("/elsewhere")})
    put("redirect", attemptsMax=2)
    parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.redirect/parked")["parked"], "parked")
    check("redirects are not followed" in parked[0]["reason"], parked)
    check(receiver.got("/elsewhere") == [], "a redirect was followed")
    topic("slow", 1)
    receiver.rules["/slow"] = lambda delivery, number: (time.sleep(1), (200, {}))[1]
    put("slow", attemptsMax=1, timeoutMs=150)
    parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.slow/parked")["parked"], "parked")
    check("no answer within 150 ms" in parked[0]["reason"], parked)


def test_handshake():
    topic("asked", 3)
    put("asked", handshake="required", ratePerMinute=600)
    hook = until(lambda: "lastFailure" in server.hook("asked")["delivery"] and server.hook("asked"), "refused")
    check(hook["state"] == "waiting" and "WebHook-Allowed-Origin" in hook["delivery"]["lastFailure"], hook)
    path, headers = receiver.asked[0]
    check(path == "/asked" and headers["WebHook-Request-Origin"] == "events.example", headers)
    check(headers["WebHook-Request-Rate"] == "600", headers)
    receiver.consent["/asked"] = {"WebHook-Allowed-Origin": "other.example"}
    server.want(200, "POST", "/v1/webhooks/asked/resume")
    until(lambda: "another origin" in server.hook("asked")["delivery"]["lastFailure"], "another's consent")
    check(receiver.got("/asked") == [], "sent without consent")
    receiver.consent["/asked"] = {"WebHook-Allowed-Origin": "events.example", "WebHook-Allowed-Rate": "120"}
    server.want(200, "POST", "/v1/webhooks/asked/resume")
    until(lambda: len(first_done("/asked")) == 3, "consent")
    hook = server.hook("asked")
    check(hook["state"] == "enabled" and hook["allowedRatePerMinute"] == 120, hook)
    got = receiver.got("/asked")
    check(got[2].at - got[0].at > 0.9, "two a second", got[2].at - got[0].at)


def test_signatures():
    old, new = (base64.b64encode(os.urandom(24)).decode() for _ in range(2))

    def signed(delivery, secret):
        content = b".".join([delivery.headers["webhook-id"].encode(), delivery.headers["webhook-timestamp"].encode(),
                             delivery.body])
        digest = hmac.new(base64.b64decode(secret), content, hashlib.sha256).digest()
        return "v1," + base64.b64encode(digest).decode() in delivery.headers["webhook-signature"].split(" ")

    topic("signed", 1)
    hook = put("signed", secrets=["whsec_" + old])
    check("secrets" not in hook and hook["signatures"] == 1, hook)
    until(lambda: len(first_done("/signed")) == 1, "the first")
    settings = {"url": receiver.url("/signed"), "topics": ["signed"], "handshake": "off"}
    server.want(200, "PUT", "/v1/webhooks/signed", dict(settings, secrets=["whsec_" + new, "whsec_" + old]))
    topic("signed", 1, first=1)
    until(lambda: len(first_done("/signed")) == 2, "the second")
    server.want(200, "PUT", "/v1/webhooks/signed", dict(settings, secrets=["whsec_" + new], mode="binary"))
    topic("signed", 1, first=2)
    until(lambda: len(first_done("/signed")) == 3, "the third")
    one, two, three = receiver.got("/signed")
    check(signed(one, old) and not signed(one, new))
    check(signed(two, old) and signed(two, new), "both while they are exchanged")
    check(signed(three, new) and not signed(three, old))
    check(abs(int(one.headers["webhook-timestamp"]) - time.time()) < 60)
    check(three.headers["ce-id"] == "2" and three.headers["ce-partitionkey"] == "k2" and three.body == b"2",
          dict(three.headers))
    check(three.headers["Content-Type"] == "application/json" and "ce-datacontenttype" not in three.headers)
    # What GET shows can be put back, and the secrets stay.
    shown = server.hook("signed")
    check(old not in json.dumps(shown) and new not in json.dumps(shown), "a secret is shown")
    check(new not in json.dumps(server.want(200, "GET", "/v1/webhooks")), "a secret is shown")
    server.want(200, "PUT", "/v1/webhooks/signed", shown)
    check(server.hook("signed")["signatures"] == 1)


def test_trial_and_authorization():
    topic("tried")
    hook = put("tried", authorization="Bearer s3cret", secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    check(hook["authorized"] and "s3cret" not in json.dumps(hook), hook)
    answer = server.want(200, "POST", "/v1/webhooks/tried/test")
    check(answer["delivered"] and answer["httpStatus"] == 204 and answer["answer"] == "HTTP 204", answer)
    event = receiver.got("/tried")[0]
    check(json.loads(event.body)["type"] == "annals.webhook.test" and json.loads(event.body)["subject"] == "tried")
    check(event.headers["Authorization"] == "Bearer s3cret" and "webhook-signature" in event.headers)
    receiver.rules["/tried"] = lambda delivery, number: (403, {})
    server.want(200, "PUT", "/v1/webhooks/tried", server.hook("tried"))
    answer = server.want(200, "POST", "/v1/webhooks/tried/test")
    check(not answer["delivered"] and answer["httpStatus"] == 403, answer)
    check(receiver.got("/tried")[1].headers["Authorization"] == "Bearer s3cret", "it stays")
    server.want(200, "PUT", "/v1/webhooks/tried", dict(server.hook("tried"), authorization="", url="http://127.0.0.1:9/"))
    answer = server.want(200, "POST", "/v1/webhooks/tried/test")
    check(not answer["delivered"] and answer["httpStatus"] == 0 and "no answer" in answer["answer"], answer)
    check(not server.hook("tried")["authorized"])
    server.want(200, "PUT", "/v1/webhooks/tried", dict(server.hook("tried"), handshake="required"))
    check(server.want(409, "POST", "/v1/webhooks/tried/test")["type"] == "urn:annals:problem:conflict")


def test_hostile_answers():
    """Answers that are no HTTP, never end, or drip: each is a reason, none takes the server along."""
    cases = {
        "long-body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 200000, None),
        "long-head": (b"HTTP/1.1 200 OK\r\n" + b"X-Filler: %s\r\n" % (b"y" * 1000) * 200, "no answer"),
        "no-http": (b"SSH-2.0-OpenSSH\r\n" * 20, "no answer"),
        "drip": (b"HTTP/1.1 200 OK\r\nContent-Le", "within 1500 ms"),
        "nothing": (b"", "within 1500 ms"),
        "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, None),
        "status": (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "means nothing"),
    }
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        try:
            data = connection.recv(65536)
            connection.sendall(cases[re.match(rb"POST /([a-z-]+)", data).group(1).decode()][0])
            time.sleep(4)
        except OSError:
            pass
        connection.close()

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    topic("hostile", 1)
    for name in cases:
        server.want(201, "PUT", "/v1/webhooks/h-" + name, {
            "url": "http://127.0.0.1:%d/%s" % (listener.getsockname()[1], name), "topics": ["hostile"],
            "handshake": "off", "attemptsMax": 1, "timeoutMs": 1500})
    for name, (_, reason) in cases.items():
        if reason is None:
            continue
        parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.h-%s/parked" % name)["parked"], name)
        check(reason in parked[0]["reason"], name, parked)
    until(lambda: server.hook("h-long-body")["delivery"]["delivered"] == 1, "a 200 whose body is cut")
    check(server.hook("h-continue")["delivery"]["delivered"] == 0)
    for name in cases:
        check(server.ask("DELETE", "/v1/webhooks/h-" + name, raw=True)[0] == 204)


def test_filter():
    topic("mixed")
    server.append("mixed", [{"id": str(i), "type": "a.b" if i % 10 == 0 else "c", "partitionkey": str(i), "data": i}
                            for i in range(100)])
    put("mixed", filter={"typePrefix": "a."})
    until(lambda: len(first_done("/mixed")) == 10, "those of the type")
    until(lambda: server.want(200, "GET", "/v1/groups/webhook.mixed")["lag"] == 0, "no lag")
    check(server.hook("mixed")["delivery"]["filtered"] == 90)
    server.want(201, "PUT", "/v1/groups/shared", {"topics": ["mixed"]})
    server.want(201, "PUT", "/v1/webhooks/named", {"url": receiver.url("/named"), "group": "shared", "handshake": "off"})
    until(lambda: len(first_done("/named")) == 100, "a named group")
    check(server.ask("DELETE", "/v1/webhooks/named", raw=True)[0] == 204)
    server.want(200, "GET", "/v1/groups/shared")


def test_pause_and_delete():
    topic("paused", 1)
    put("paused")
    until(lambda: len(first_done("/paused")) == 1, "the first")
    check(server.want(200, "POST", "/v1/webhooks/paused/pause")["state"] == "disabled")
    topic("paused", 3, first=1)
    time.sleep(0.4)
    check(len(receiver.got("/paused")) == 1, "sent while paused")
    server.want(200, "POST", "/v1/webhooks/paused/resume")
    until(lambda: len(first_done("/paused")) == 4, "resumed")
    check(server.ask("DELETE", "/v1/webhooks/paused", raw=True)[0] == 204)
    server.want(404, "GET", "/v1/webhooks/paused")
    server.want(404, "GET", "/v1/groups/webhook.paused")
    topic("paused", 1, first=4)
    time.sleep(0.3)
    check(len(receiver.got("/paused")) == 4, "sent after it was deleted")


def test_kill():
    wanted = int(os.environ.get("ANNALS_TEST_KILLS", "4"))
    total = 100 * wanted
    topic("killed", 0)
    for first in range(0, total, 50):
        server.append("killed", [{"id": str(i), "partitionkey": "k%d" % (i % 5), "data": i}
                                 for i in range(first, first + 50)])

    def rule(delivery, number):
        time.sleep(0.002)
        return (503, {}) if number % 50 == 0 else (200, {})

    receiver.rules["/killed"] = rule
    put("killed", concurrency=5)
    kills = 0
    for kill in range(1, wanted + 1):
        until(lambda: len(receiver.got("/killed")) >= kill * 60, "progress")
        busy = len(first_done("/killed")) < total
        server.stop(signal.SIGKILL)
        server.start()
        kills += busy
    check(kills >= wanted * 3 // 4, "the kills came too late", kills)
    until(lambda: len(first_done("/killed")) == total, "nothing is lost", 60)
    in_order(first_done("/killed"))
    until(lambda: server.want(200, "GET", "/v1/groups/webhook.killed")["lag"] == 0, "no lag")
    print("%d events, %d deliveries, %d kills" % (total, len(receiver.got("/killed")), kills))


def test_drain():
    topic("drained", 1)
    receiver.rules["/drained"] = lambda delivery, number: (time.sleep(0.5), (200, {}))[1]
    put("drained")
    until(lambda: receiver.got("/drained"), "under way")
    check(server.stop(signal.SIGTERM) == 0, "the end")
    until(lambda: receiver.got("/drained")[0].done, "a delivery was cut off", 2)
    server.start()
    until(lambda: server.want(200, "GET", "/v1/groups/webhook.drained")["lag"] == 0, "no lag", 3)
    time.sleep(0.3)
    check(len(receiver.got("/drained")) == 1, "delivered again after a clean end")


def test_tls():
    if shutil.which("openssl") is None:
        return
    key, certificate = os.path.join(WORK, "key.pem"), os.path.join(WORK, "certificate.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=receiver",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, stderr=subprocess.DEVNULL)
    secure = Receiver(ssl_files=(certificate, key))
    topic("secure", 1)
    settings = {"url": secure.url("/secure").replace("http:", "https:"), "topics": ["secure"], "handshake": "off",
                "attemptsMax": 1}
    server.want(201, "PUT", "/v1/webhooks/secure", settings)
    parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.secure/parked")["parked"], "parked")
    check("certificate" in parked[0]["reason"] and secure.got("/secure") == [], parked)
    server.stop(signal.SIGTERM)
    server.more = ["--webhook-ca-file", certificate]
    server.start()
    server.want(200, "POST", "/v1/groups/webhook.secure/parked/replay", {})
    until(lambda: len(secure.got("/secure")) == 1, "over TLS")


def test_private_refused():
    server.stop(signal.SIGTERM)
    server.private = "refuse"
    server.start()
    before = len(receiver.got("/orders"))
    topic("private", 1)
    put("private", attemptsMax=1)
    parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.private/parked")["parked"], "parked")
    check("webhook-private-addresses" in parked[0]["reason"], parked)
    # Judged after the name was resolved.
    server.want(201, "PUT", "/v1/webhooks/named", {"url": "http://localhost:%d/x" % receiver.port, "topics": ["private"],
                                                   "handshake": "off", "attemptsMax": 1})
    parked = until(lambda: server.want(200, "GET", "/v1/groups/webhook.named/parked")["parked"], "parked")
    check("webhook-private-addresses" in parked[0]["reason"], parked)
    # However it is written.
    for number, host in enumerate(("2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0", "127.1", "[::1]")):
        server.want(201, "PUT", "/v1/webhooks/odd%d" % number, {
            "url": "http://%s:%d/x" % (host, receiver.port), "topics": ["private"], "handshake": "off", "attemptsMax": 1})
        path = "/v1/groups/webhook.odd%d/parked" % number
        parked = until(lambda: server.want(200, "GET", path)["parked"], "parked")
        check("webhook-private-addresses" in parked[0]["reason"], host, parked)
    check(receiver.got("/private") == [] and receiver.got("/x") == [] and len(receiver.got("/orders")) == before)


try:
    server.start()
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            began = time.monotonic()
            test()
            print("%s %.1f s" % (name, time.monotonic() - began), flush=True)
    check(server.stop(signal.SIGTERM) == 0, "the end")
    print("%d checks passed" % checks)
except BaseException:
    sys.stderr.write(open(os.path.join(WORK, "log")).read()[-3000:])
    raise
finally:
    if server.process is not None:
        server.process.kill()
        server.process.wait()
