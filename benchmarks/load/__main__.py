"""``python -m benchmarks.load``: measure, print the table, exit with 1 when a row falls short."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.load import create, dispatch, expiry, follow, heartbeats, lists, publish
from benchmarks.load.machine import Machine
from benchmarks.load.row import Row
from benchmarks.load.scale import FULL, SHORT

MEASUREMENTS = {
    "create": create.measure,
    "dispatch": dispatch.measure,
    "publish": publish.measure,
    "follow": follow.measure,
    "lists": lists.measure,
    "heartbeats": heartbeats.measure,
    "expiry": expiry.measure,
}


def main() -> int:
    """Measure what the arguments say; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two minutes, generous bars")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="only this one")
    arguments = parser.parse_args()
    scale = SHORT if arguments.short else FULL
    rows: list[Row] = []
    with Machine() as machine:
        for name in arguments.only or MEASUREMENTS:
            started = time.monotonic()
            measured = MEASUREMENTS[name](machine, scale)
            for row in measured:
                print(_line(row), flush=True)
            print(f"  {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
            rows += measured
    return 0 if all(row.holds for row in rows) else 1


def _line(row: Row) -> str:
    checks = ", ".join(check.text for check in row.checks)
    beside = f" beside {row.yardstick}" if row.yardstick else ""
    return f"{row.verdict:5}  {row.what} · {row.backend}: {row.figure}{beside}; {checks}"


if __name__ == "__main__":
    sys.exit(main())
