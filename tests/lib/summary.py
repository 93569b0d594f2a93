"""Prints how many checks passed and failed in Meson's test logs: the sum over check's own closing lines, and one for every
test without such a line. Usage: summary.py TESTLOG.json ...; exits 1 if anything failed or nothing ran."""

import json
import re
import sys

CLOSING = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.M)


def count(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            output = (test.get("stdout") or "") + (test.get("stderr") or "")
            bad_result = test["result"] not in ("OK", "EXPECTEDFAIL", "SKIP")
            closings = CLOSING.findall(output)
            good = sum(int(c) - int(f) - int(e) for c, f, e in closings)
            bad = sum(int(f) + int(e) for _, f, e in closings)
            if test["result"] == "SKIP":
                skipped += 1
            elif not closings:
                good, bad = (0, 1) if bad_result else (1, 0)
            elif bad_result and bad == 0:
                bad = 1
            passed += good
            failed += bad
    return passed, failed, skipped


totals = [count(path) for path in sys.argv[1:]]
passed, failed, skipped = (sum(column) for column in zip(*totals))
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed or not passed else 0)
