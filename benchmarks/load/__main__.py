"""``python -m benchmarks.load``: measure, print the table, exit with 1 when a row falls short."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load.environment import environment
from benchmarks.load.machine import Machine
from benchmarks.load.row import Row
from benchmarks.load.rows import (
    create,
    dispatch,
    expiry,
    follow,
    growth,
    heartbeats,
    lists,
    peer_rows,
    publish,
    tls,
)
from benchmarks.load.scale import FULL, SHORT

MEASUREMENTS = {
    "create": create.measure,
    "dispatch": dispatch.measure,
    "publish": publish.measure,
    "follow": follow.measure,
    "lists": lists.measure,
    "heartbeats": heartbeats.measure,
    "expiry": expiry.measure,
    "peers": peer_rows.measure,
    "tls": tls.measure,
}

USUAL = tuple(name for name in MEASUREMENTS if name != "tls")
"""What is measured unless told otherwise; `make bench-tls` measures the rest."""

GUARDED = ("create", "dispatch", "publish", "lists")
"""What the short version measures unless told otherwise: all that is held against a ratio."""


def main() -> int:
    """Measure what the arguments say; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two minutes, generous bars")
    parser.add_argument("--watch", type=float, help="seconds to watch CPU and memory for")
    parser.add_argument("--plot", type=Path, help="draw how costs grow into this file (SVG)")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="only this one")
    arguments = parser.parse_args()
    scale = SHORT if arguments.short else FULL
    if arguments.watch:
        scale = dataclasses.replace(scale, watch_seconds=arguments.watch)
    rows: list[Row] = []
    with Machine() as machine:
        for name in arguments.only or (GUARDED if arguments.short else USUAL):
            started = time.monotonic()
            measured = MEASUREMENTS[name](machine, scale)
            for row in measured:
                print(_line(row), flush=True)
            print(f"  {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
            rows += measured
        if arguments.plot:
            curves = growth.measure(machine, scale)
            growth.plot(curves, arguments.plot)
            print("\n".join(growth.table(part) for part in curves))
    print(_table(rows))
    return 0 if all(row.holds for row in rows) else 1


def _line(row: Row) -> str:
    checks = ", ".join(check.text for check in row.checks)
    beside = f" beside {row.yardstick}" if row.yardstick else ""
    return f"{row.verdict:5}  {row.what} · {row.backend}: {row.figure}{beside}; {checks}"


def _table(rows: list[Row]) -> str:
    """The rows as a Markdown table, with what they were measured on."""
    head = f"\n{datetime.now(UTC):%Y-%m-%d}, {environment()}\n\n"
    head += "| what | on | figure | yardstick | bar | |\n|---|---|---|---|---|---|\n"
    lines = [
        f"| {row.what} | {row.backend} | {row.figure} | {row.yardstick} | "
        f"{'; '.join(check.text for check in row.checks)} | {row.verdict} |\n"
        for row in rows
    ]
    return head + "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
