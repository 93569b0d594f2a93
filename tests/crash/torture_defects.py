#!/usr/bin/env python3
"""Seeds defects into a copy of the tree, one at a time, and lets annals torture look for each.

usage: torture_defects.py SOURCE_DIR WORK_DIR [--rounds N] [--seeds N] [--only NAME]

Each defect replaces pieces of source text, each of which must be there exactly once: a defect that
no longer applies fails the run, like one that is not found. Exit status 0: all were found, and the
unchanged tree passed.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

# name, what it stands for, what it should break, ((file, text, replacement), ...)
DEFECTS = [
    ("fenced_may_write", "a fenced producer's batches are taken", "I4", (
        ("storage/admit_known.c", "	if (part->producer_epoch < state->epoch) {\n",
         "	if (part->producer_epoch < state->epoch) {\n		return 0;\n	}\n	if (part->producer_epoch < state->epoch) {\n"),
        ("storage/admit_known.c", "found == 1 && (row.size < 2 || load_u16(row.data) != part->producer_epoch)",
         "found == 1 && row.size < 2"))),
    ("sequences_forgotten", "a producer's repeated batch is stored again", "I5", (
        ("storage/admit_known.c", "state->last[i].first_sequence == part->first_sequence &&",
         "state->last[i].first_sequence == UINT32_MAX &&"),
        ("storage/admit_known.c", "	if (part->first_sequence != next) {", "	if (part->first_sequence > next) {"))),
    ("transaction_without_rows", "a transaction's acknowledgements are not in its commit", "I13, I14", (
        ("storage/delivery/transact.c", "	for (size_t i = 0; i < request->entry_count && status == 0; i++) {\n		const struct settle_entry *entry = &request->entries[i];\n		struct slice_writer",
         "	for (size_t i = 0; i < 0 * request->entry_count && status == 0; i++) {\n		const struct settle_entry *entry = &request->entries[i];\n		struct slice_writer"),)),
    ("due_too_early", "delayed events are appended up to a second before they are due", "I8", (
        ("storage/delivery/schedule_due.c", "	if (due_us > scan->now_us || due->count", "	if (due_us > scan->now_us + 1000000 || due->count"),)),
    ("due_forgotten", "delayed events leave their rows and are not appended", "I1", (
        ("storage/delivery/schedule_due.c", ": submit_rows(schedule, schedule->due.append_count > 0);",
         ": submit_rows(schedule, false);"),)),
    ("filter_loses_events", "a filter by type loses one event in sixteen", "a filtered page against a whole one", (
        ("schemas/filter.c", "	if ((filter->type.data != NULL && !bytes_equal(record->type, filter->type)) ||",
         "	if ((filter->type.data != NULL && (!bytes_equal(record->type, filter->type) ||\n		(record->data.size > 0 && ((const uint8_t *)record->data.data)[0] < 16))) ||"),)),
    ("backwards_skips", "a page backwards begins one batch too early", "a page backwards", (
        ("storage/log.c", "		page->offset = stop - 1;\n", "		page->offset = stop > 2 ? stop - 2 : stop - 1;\n"),
        ("storage/log.c", "	status = status != 0 ? status : read_between(page, begin, stop, may_block);",
         "	status = status != 0 ? status : read_between(page, begin, stop > begin + 1 ? stop - 1 : stop, may_block);"))),
    ("retention_without_limit", "retention removes from topics that have none", "I12", (
        ("storage/retention_plan.c", "	return limit > 0 && total >= piece", "	return (limit > 0 || total > 300) && total >= piece"),
        ("storage/retention.c", "	return config->retention_age_us > 0 ||", "	return true || config->retention_age_us > 0 ||"))),
    ("last_block_ignored", "recovery leaves out the newest block of the journal", "I1", (
        ("storage/recovery.c", "status = publish_block(shard, number,", "status = number == shard->journal->last_block ? 0 : publish_block(shard, number,"),)),
    ("keys_forgotten", "an Idempotency-Key is not looked up", "I5", (
        ("storage/admit_known.c", "	if (request->receipt_key.size == 0) {", "	if (request->receipt_key.size != 1) {"),)),
]


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **options)


def copy_tree(source, target):
    listed = run("git", "-C", source, "ls-files", "-z")
    for name in listed.stdout.split("\0"):
        if name and os.path.isfile(os.path.join(source, name)):
            os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
            shutil.copy2(os.path.join(source, name), os.path.join(target, name))


def build(tree):
    done = run("ninja", "-C", os.path.join(tree, "build"), "-j2", "client/annals", "server/annalsd")
    return "" if done.returncode == 0 else done.stdout[-2000:]


def torture(tree, work, rounds, seed):
    """What it found, or "" when it found nothing."""
    scratch = tempfile.mkdtemp(prefix="annals-defects-run-", dir=work)
    done = run(os.path.join(tree, "build/client/annals"), "torture", "--annalsd",
               os.path.join(tree, "build/server/annalsd"), "--dir", scratch, "--rounds", str(rounds),
               "--seed", str(seed), env=dict(os.environ, ANNALS_MAP_BYTES="4GiB"))
    shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode == 0:
        return ""
    found = re.search(r"^PROBLEM +(.*)", done.stdout, re.M)
    counted = re.search(r", (\d+) rounds in", done.stdout)
    return "round %s: %s" % (counted.group(1) if counted else "?",
                             (found.group(1) if found else done.stdout.strip().split("\n")[-1])[:110])


def change(tree, pieces):
    """Applies a defect; returns what to write back, or None if it does not apply."""
    before = {}
    for name, text, replacement in pieces:
        path = os.path.join(tree, name)
        with open(path, encoding="utf-8") as file:
            source = file.read()
        before.setdefault(path, source)
        if source.count(text) != 1:
            restore(before)
            return None
        with open(path, "w", encoding="utf-8") as file:
            file.write(source.replace(text, replacement))
    return before


def restore(before):
    for path, source in before.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)


def try_defect(tree, work, defect, options):
    name, _, expected, pieces = defect
    before = change(tree, pieces)
    if before is None:
        return "FAIL: the text to replace is not there exactly once"
    errors = build(tree)
    result = "FAIL: it does not build: " + errors if errors else ""
    for seed in range(1, options.seeds + 1):
        if result:
            break
        found = torture(tree, work, options.rounds, seed)
        if found:
            result = "seed %d, %s (%s)" % (seed, found, expected)
    restore(before)
    return result or "FAIL: not found in %d rounds of %d seeds" % (options.rounds, options.seeds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("work")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    work = tempfile.mkdtemp(prefix="annals-defects-", dir=options.work)
    tree = os.path.join(work, "tree")
    failed = 0
    try:
        copy_tree(options.source, tree)
        done = run("meson", "setup", os.path.join(tree, "build"), tree, "-Dbenchmarks=false")
        if done.returncode != 0:
            sys.exit(done.stdout)
        errors = build(tree) or torture(tree, work, 10, 1)
        print("%-28s %s" % ("(none)", errors or "nothing found"), flush=True)
        failed += errors != ""
        for defect in DEFECTS:
            if options.only not in defect[0]:
                continue
            began = time.monotonic()
            result = try_defect(tree, work, defect, options)
            failed += result.startswith("FAIL")
            print("%-28s %3.0f s  %s" % (defect[0], time.monotonic() - began, result), flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
