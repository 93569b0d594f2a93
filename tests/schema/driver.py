"""Talks to schema_driver."""
import struct
import subprocess


class Driver:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, verb, *parts):
        parts = list(parts) + [b""] * (3 - len(parts))
        out = verb.encode()
        for part in parts:
            part = part.encode() if isinstance(part, str) else part
            out += struct.pack("<I", len(part)) + part
        self.process.stdin.write(out)
        self.process.stdin.flush()
        status, size = struct.unpack("<iI", self.read(8))
        return status, self.read(size)

    def read(self, size):
        data = self.process.stdout.read(size)
        if len(data) != size:
            raise SystemExit("the driver ended: %s" % self.process.wait())
        return data

    def close(self):
        self.process.stdin.close()
        status = self.process.wait()
        if status != 0:
            raise SystemExit("the driver ended with %d" % status)
