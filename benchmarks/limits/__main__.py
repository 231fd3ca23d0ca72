"""``python -m benchmarks.limits``: send the largest request of every method, over and over.

Meanwhile another client asks for a run: its slowest call shows how long the event loop was silent.
Exits with 1 where that takes longer than 250 ms and 50 times the idle median.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.load.machine import EMBEDDED, Machine
from tailrace.channel import connect
from tests.largest import cases, prepare, waits


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="calls meanwhile (default: 100)")
    options = parser.parse_args()
    with Machine() as machine, machine.stack(EMBEDDED) as stack:
        return _measure(stack.address, options.calls)


def _measure(address: str, calls: int) -> int:
    short = False
    print("| request | bytes | the request | slowest GetRun meanwhile | idle median |")
    print("|---|---|---|---|---|")
    with connect(address) as channel:
        for case in cases(prepare(channel), 1.0):
            seen = waits(address, channel, case, calls)
            short |= not seen.prompt
            print(
                f"| {case.name} | {sum(map(len, case.requests)):,} | {seen.request * 1000:.0f} ms "
                f"| {seen.slowest * 1000:.0f} ms{'' if seen.prompt else ' SHORT'} "
                f"| {seen.idle * 1000:.1f} ms |",
                flush=True,
            )
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
