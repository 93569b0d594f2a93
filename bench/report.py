#!/usr/bin/env python3
"""One page of plots (SVG inside HTML, nothing fetched) from the JSON of bench/compare/compare.py, bench/goals or bench/sweep.py.

  bench/report.py RESULT.json [MORE.json ...] > report.html
"""
import html
import json
import math
import pathlib
import sys

TITLES = {
    "small": "64 connections, one event of 100 bytes in flight each",
    "batch": "one connection, 8 requests of 500 x 100 bytes in flight",
    "large": "8 connections, requests of 64 x 1 KiB",
    "replay-100": "replay to one consumer, 100 bytes an event",
    "replay-1k": "replay to one consumer, 1 KiB an event",
}
KINDS = {"ours": "#1f6f8b", "peer": "#9a8c7c", "limit": "#d9d2c7"}
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em}h2{font-size:1.15em;margin:2em 0 .3em}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#222}
.quiet{fill:#666}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25em .6em;border-bottom:1px solid #ddd}
.short{color:#a33}p,li{color:#444}"""


def escape(value):
    return html.escape(str(value))


def human(value):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def kind(system):
    return "ours" if system.startswith("Annals") else "limit" if system.startswith("limit") else "peer"


def bars(rows):
    """Throughput, one bar a system, with its durability and its range over the rounds."""
    rows = sorted(rows, key=lambda row: -row["median"].get("events_per_second", 0))
    most = max(max(row["median"].get("highest", 0), row["median"].get("events_per_second", 0)) for row in rows) or 1
    out = [f'<svg viewBox="0 0 960 {len(rows) * 40 + 8}" role="img">']
    for i, row in enumerate(rows):
        rate, y = row["median"].get("events_per_second", 0), i * 40 + 6
        left = 330

        def x(value):
            return left + value / most * 510

        out.append(f'<text x="0" y="{y + 13}">{escape(row["system"])}</text>'
                   f'<text x="0" y="{y + 27}" class="quiet">{escape(row["durability"])}</text>'
                   f'<rect x="{left}" y="{y + 3}" width="{max(x(rate) - left, 1):.1f}" height="22" fill="{KINDS[kind(row["system"])]}"/>')
        if row["median"].get("highest", 0) > row["median"].get("lowest", 0):
            out.append(f'<path d="M{x(row["median"]["lowest"]):.1f},{y + 14}H{x(row["median"]["highest"]):.1f}" stroke="#222"/>')
        end = max(x(rate), x(row["median"].get("highest", 0)))
        out.append(f'<text x="{end + 6:.1f}" y="{y + 18}">{human(rate)}/s</text>')
    return "".join(out) + "</svg>"


def axis_log(values):
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values)))
    return low, high if high > low else low * 10


def latencies(rows):
    """p50, p99 and p99.9 of each system on one logarithmic line."""
    names = [("p50_ms", "#1f6f8b"), ("p99_ms", "#d08c2e"), ("p999_ms", "#a33")]
    rows = [row for row in rows if row["median"].get("p50_ms", 0) > 0]
    values = [row["median"][name] for row in rows for name, _ in names if row["median"].get(name, 0) > 0]
    if not values:
        return ""
    low, high = axis_log(values)

    def x(value):
        return 330 + (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low)) * 580

    height = len(rows) * 26 + 46
    out = [f'<svg viewBox="0 0 960 {height}" role="img">']
    tick = low
    while tick <= high * 1.001:
        out.append(f'<path d="M{x(tick):.1f},0V{height - 40}" stroke="#e5e0d8"/>'
                   f'<text x="{x(tick) - 12:.1f}" y="{height - 26}" class="quiet">{tick:g} ms</text>')
        tick *= 10
    for i, row in enumerate(rows):
        y = i * 26 + 14
        out.append(f'<text x="0" y="{y + 4}">{escape(row["system"])}</text>')
        for name, colour in names:
            value = row["median"].get(name, 0)
            if value > 0:
                out.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" fill="{colour}"><title>{name} {value:g}</title></circle>')
    for i, (name, colour) in enumerate(names):
        label = {"p50_ms": "p50", "p99_ms": "p99", "p999_ms": "p99.9"}[name]
        out.append(f'<circle cx="{336 + i * 70}" cy="{height - 9}" r="5" fill="{colour}"/><text x="{346 + i * 70}" y="{height - 5}">'
                   f'{label}</text>')
    return "".join(out) + "</svg>"


def lines(sweep):
    """Throughput over a logarithmic x: size of the log, partitions or connections."""
    points = [point for point in sweep["points"] if point["x"] > 0]
    if not points:
        return ""
    low, high = axis_log([point["x"] for point in points])
    most = max(point["highest"] for point in points) or 1

    def place(x, rate):
        share = (math.log10(x) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return 90 + share * 820, 210 - rate / most * 190

    out = ['<svg viewBox="0 0 960 250" role="img"><path d="M90,10V210H920" stroke="#999" fill="none"/>']
    for share in (0.5, 1):
        out.append(f'<text x="4" y="{214 - share * 190:.0f}" class="quiet">{human(most * share)}/s</text>')
    path = []
    for point in points:
        x, y = place(point["x"], point["events_per_second"])
        path.append(f"{x:.1f},{y:.1f}")
        out.append(f'<path d="M{x:.1f},{place(point["x"], point["lowest"])[1]:.1f}V{place(point["x"], point["highest"])[1]:.1f}" '
                   f'stroke="#9a8c7c"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{KINDS["ours"]}"/>'
                   f'<text x="{x - 14:.1f}" y="228" class="quiet">{human(point["x"])}</text>')
    out.append(f'<polyline points="{" ".join(path)}" fill="none" stroke="{KINDS["ours"]}" stroke-width="2"/>'
               f'<text x="420" y="246">{escape(sweep["x_name"])}</text>')
    return "".join(out) + "</svg>"


def goals(rows):
    cells = []
    for row in rows:
        met = {None: "not measured", True: "met", False: "short"}[row["met"]]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells.append(f'<tr class="{met}"><td>{escape(row["row"])}</td><td>{escape(row["goal"])}</td><td>{escape(row["measured"])}</td>'
                     f"<td>{ratio}</td><td>{met}</td></tr>")
    return ("<h2>Goals</h2><table><tr><th></th><th>goal</th><th>measured</th><th>ratio</th><th></th></tr>" + "".join(cells)
            + "</table>")


def comparison(document):
    machine = document["machine"]
    out = [f'<p>{escape(document["date"])}, {machine["cores"]} cores, {escape(machine["system"])}, load {machine["load"]:.1f} at the end. '
           f'{document["rounds"]} rounds of {document["seconds"]} s, interleaved; bars are medians, the black line the range. '
           f'<code>{escape(document["command"])}</code></p><p>Each line says what its acknowledgement means: only lines with the same '
           'words are alike.</p>']
    for work, title in TITLES.items():
        rows = [row for row in document["results"] if row["work"] == work]
        if rows:
            out.append(f"<h2>{escape(title)}</h2>{bars(rows)}")
            plot = latencies(rows)
            out.append(f"<h2>Latency: {escape(title)}</h2>{plot}" if plot else "")
    if document["left_out"]:
        out.append("<h2>Left out</h2><ul>" + "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in
                                                       document["left_out"].items()) + "</ul>")
    return "".join(out)


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 2
    parts = []
    for name in sys.argv[1:]:
        document = json.loads(pathlib.Path(name).read_text())
        if document.get("goals"):
            parts.append(goals(document["goals"]))
        found = document.get("compare") or (document if "results" in document else None)
        parts.append(comparison(found) if found else "")
        for sweep in document.get("sweeps", []):
            parts.append(f'<h2>{escape(sweep["title"])}</h2>{lines(sweep)}')
    print(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Annals measured</title><style>{STYLE}</style>'
          f'<h1>Annals measured</h1>{"".join(parts)}</html>')
    return 0


if __name__ == "__main__":
    sys.exit(main())
