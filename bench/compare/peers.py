"""Peers on loopback: start one with stated settings, make its topic anew, stop it.

Each class has `label`, `durability` (what an acknowledgement means), `port` and the methods start(), reset(), stop(). A peer whose
programs are missing raises Missing with the reason; the caller names it and goes on.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class Missing(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Missing(f"ended with {process.returncode} while starting")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Missing("did not listen in time")


def program(name, *places):
    for place in (os.environ.get(name.upper().replace("-", "_")), shutil.which(name), *places):
        if place and os.path.exists(place):
            return place
    raise Missing(f"'{name}' is not installed")


class Peer:
    protocol = ""  # of peer-load
    slow_to_fill = False

    def __init__(self):
        self.process = None
        self.directory = None

    def spawn(self, command, **more):
        self.log = open(os.path.join(self.directory, "log"), "w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True, **more)
        wait_for_port(self.port, self.process)

    def make_directory(self):
        self.directory = tempfile.mkdtemp(prefix="annals-bench-peer-", dir=os.environ.get("TMPDIR"))
        self.port = free_port()

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process = None
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


class Redis(Peer):
    protocol = "redis"

    def __init__(self, fsync):
        super().__init__()
        self.fsync = fsync
        self.slow_to_fill = fsync == "always"
        self.label = f"Redis Streams, appendfsync {fsync}"
        self.durability = "fsync before the answer" if fsync == "always" else "fsync every second: one second is lost"

    def start(self):
        command = program("redis-server")
        self.make_directory()
        self.spawn([command, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.directory, "--save", "", "--appendonly",
                    "yes", "--appendfsync", self.fsync, "--auto-aof-rewrite-percentage", "0"])
        self.version = subprocess.run([command, "-v"], capture_output=True, text=True).stdout.split("v=")[1].split()[0]

    def command(self, *words):
        text = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(text.encode())
            return s.recv(4096)

    def reset(self):
        self.command("DEL", "bench")

    def fill(self, events, size):
        data = "x" * size
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            for first in range(0, events, 10000):
                count = min(10000, events - first)
                s.sendall("".join(f"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n${len(str(i))}\r\n{i}\r\n$1\r\nd\r\n${size}\r\n{data}\r\n"
                                  for i in range(first + 1, first + count + 1)).encode())
                lines = 0
                while lines < 2 * count:
                    lines += s.recv(1 << 20).count(b"\n")


class Nats(Peer):
    protocol = "nats"

    def __init__(self, always, command=None):
        super().__init__()
        self.always = self.slow_to_fill = always
        self.given = command
        self.label = "NATS JetStream, " + ("sync_interval always" if always else "default sync_interval")
        self.durability = "fsync before the answer" if always else "no fsync: up to two minutes are lost"

    def start(self):
        command = self.given or program("nats-server")
        self.version = subprocess.run([command, "-v"], capture_output=True, text=True).stdout.split()[-1].lstrip("v")
        if self.always and tuple(int(x) for x in self.version.split(".")[:2]) < (2, 10):
            raise Missing(f"release {self.version} has no sync_interval: always")
        self.make_directory()
        config = pathlib.Path(self.directory, "conf")
        config.write_text(f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.directory}"\n max_file: 20G\n'
                          + ("sync_interval: always\n" if self.always else "") + "}\n")
        self.spawn([command, "-c", str(config)])
        self.label = f"NATS JetStream {self.version}, " + ("sync_interval always" if self.always else "default sync_interval")

    def request(self, subject, body):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.settimeout(10)
            s.sendall(f"CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.py 1\r\nPUB {subject} _INBOX.py {len(body)}\r\n{body}\r\n".encode())
            got = b""
            while b"MSG _INBOX.py" not in got or not got.endswith(b"}\r\n"):
                got += s.recv(65536)
            return got

    def reset(self):
        self.request("$JS.API.STREAM.DELETE.bench", "{}")
        got = self.request("$JS.API.STREAM.CREATE.bench", '{"name":"bench","subjects":["bench"],"storage":"file","retention":"limits",'
                           '"num_replicas":1,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"discard":"old","max_age":0}')
        if b'"error"' in got:
            raise Missing(f"the stream cannot be made: {got[-200:]}")

    def fill(self, events, size):
        # With answers: what is published without them may be dropped above 10,000 waiting.
        line = f"PUB bench _INBOX.fill {size}\r\n{'x' * size}\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.settimeout(20)
            s.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.fill 1\r\n')
            for first in range(0, events, 5000):
                count = min(5000, events - first)
                s.sendall(line * count)
                answers, rest = 0, b""
                while answers < count:
                    got = rest + s.recv(1 << 20)
                    answers += got.count(b"MSG _INBOX.fill")
                    rest = got[got.rfind(b"\n") + 1:]


class Postgres(Peer):
    protocol = "postgres"
    label = "PostgreSQL, one table"
    durability = "fsync before the answer"

    def start(self):
        initdb = program("initdb", *map(str, sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))))
        server = os.path.join(os.path.dirname(os.path.realpath(initdb)), "postgres")
        self.make_directory()
        self.version = subprocess.run([server, "--version"], capture_output=True, text=True).stdout.split()[2]
        user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}  # it refuses to run as root
        if user:
            shutil.chown(self.directory, "nobody", "nogroup")
        data = os.path.join(self.directory, "data")
        done = subprocess.run([initdb, "-D", data, "-U", "bench", "-A", "trust", "--locale=C", "-E", "UTF8"], capture_output=True,
                              text=True, cwd="/", **user)
        if done.returncode != 0:
            raise Missing("initdb: " + done.stderr[-200:])
        self.spawn([server, "-D", data, "-p", str(self.port), "-h", "127.0.0.1", "-k", self.directory, "-c", "fsync=on", "-c",
                    "synchronous_commit=on", "-c", "shared_buffers=512MB", "-c", "max_connections=200", "-c", "max_wal_size=4GB",
                    "-c", "wal_compression=off"], cwd="/", **user)
        psql = os.path.join(os.path.dirname(server), "psql")
        self.psql = psql if os.path.exists(psql) else program("psql")
        for _ in range(100):
            if self.sql("select 1").returncode == 0:
                return
            time.sleep(0.1)
        raise Missing("it does not answer")

    def sql(self, text):
        return subprocess.run([self.psql, "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", "postgres", "-c", text],
                              capture_output=True, text=True)

    def reset(self):
        self.sql("drop table if exists bench")
        done = self.sql("create table bench (id bigint generated always as identity primary key, "
                        "at timestamptz not null default now(), data bytea not null)")
        if done.returncode != 0:
            raise Missing(done.stderr[-200:])

    def fill(self, events, size):
        self.sql(f"insert into bench (data) select repeat('x', {size})::bytea from generate_series(1, {events})")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # fast shutdown; the postmaster ends its children
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        super().stop()


class Kafka(Peer):
    """From a directory of jars (KAFKA_LIBS), as `mvn dependency:copy-dependencies` of org.apache.kafka:kafka_2.13 and kafka-tools lays
    them. Its own producer and consumer performance tools are the load: speaking its protocol anew would measure our client."""

    def __init__(self, flush):
        super().__init__()
        self.flush = flush
        self.label = "Apache Kafka, " + ("flush.messages=1" if flush else "default flushing")
        self.durability = "fsync before the answer" if flush else "no fsync: the page cache only"

    def java(self, main, *arguments, **more):
        return [self.java_program, "-Xmx1g", "-cp", self.libs + "/*", main, *arguments]

    def start(self):
        self.libs = os.environ.get("KAFKA_LIBS", "")
        jars = list(pathlib.Path(self.libs).glob("kafka_2.13-*.jar")) if self.libs else []
        if not jars:
            raise Missing("KAFKA_LIBS names no directory with Kafka's jars")
        self.java_program = program("java")
        self.version = jars[0].stem.split("-")[1]
        self.make_directory()
        controller = free_port()
        config = os.path.join(self.directory, "server.properties")
        pathlib.Path(config).write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}", "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", f"log.dirs={self.directory}/logs",
            "offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
            "num.partitions=1"]) + ("\nlog.flush.interval.messages=1\n" if self.flush else "\n"))
        done = subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", config),
                              capture_output=True, text=True)
        if done.returncode != 0:
            done = subprocess.run(self.java("kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c",
                                            config), capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing("it cannot be formatted: " + (done.stderr + done.stdout)[-200:])
        self.spawn(self.java("kafka.Kafka", config))
        self.run("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", f"127.0.0.1:{self.port}", "--create", "--topic", "bench",
                 "--partitions", "1", "--replication-factor", "1")

    def run(self, main, *arguments):
        done = subprocess.run(self.java(main, *arguments), capture_output=True, text=True, timeout=240)
        if done.returncode != 0:
            raise Missing(f"{main}: " + (done.stderr + done.stdout)[-300:])
        return done.stdout

    def reset(self):
        pass

    def produce(self, events, size, batch):
        out = self.run("org.apache.kafka.tools.ProducerPerformance", "--topic", "bench", "--num-records", str(events), "--record-size",
                       str(size), "--throughput", "-1", "--producer-props", f"bootstrap.servers=127.0.0.1:{self.port}", "acks=all",
                       f"batch.size={batch * (size + 20)}", "linger.ms=5", "buffer.memory=134217728",
                       "max.in.flight.requests.per.connection=5")
        line = [part.strip() for part in out.strip().splitlines()[-1].split(",")]
        rate = float(line[1].split()[0])  # the tool starts a JVM and does not warm up
        values = {"events_per_second": rate, "megabytes_per_second": rate * size / 1e6}
        for part in line:
            for name, word in (("p50_ms", "50th"), ("p99_ms", "99th"), ("p999_ms", "99.9th")):
                if part.endswith(f" {word}.") or part.endswith(f" {word}"):
                    values[name] = float(part.split()[0])
        return values

    def consume(self, events, size):
        out = self.run("org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", f"127.0.0.1:{self.port}", "--topic", "bench",
                       "--messages", str(events), "--timeout", "60000")
        rows = [line.split(", ") for line in out.strip().splitlines() if "," in line]
        row = dict(zip((name.strip() for name in rows[0]), rows[-1]))
        rate = float(row["fetch.nMsg.sec"].strip())  # without joining its group
        return {"events_per_second": rate, "megabytes_per_second": rate * size / 1e6}
