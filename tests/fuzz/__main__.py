"""``make fuzz``: 100,000 random calls over all methods, and the parsers; counts."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import grpc

from tests.fuzz.calls import METHODS, Fuzzer
from tests.fuzz.parsers import fuzz, parsers
from tests.fuzz.server import served

WARM = 0.2
"""Part of the calls after which memory is measured first: caches are filled then."""

MAX_GROWTH_MIB = 64.0
"""Largest growth of the control plane's memory after that."""


def main() -> int:
    """Fuzz what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--inputs", type=int, default=2_000, help="inputs of each parser")
    arguments = parser.parse_args()
    _write(f"SEED={arguments.seed}, {len(METHODS)} methods")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for parser_name, subject in parsers(folder).items():
            count, slowest = fuzz(subject, arguments.seed, arguments.inputs)
            _write(f"{parser_name}: {count} inputs, at most {slowest:.2f} s")
        return _calls(folder, arguments.seed, arguments.calls)


def _calls(folder: Path, number: int, calls: int) -> int:
    with served(folder) as server, grpc.insecure_channel(server.address) as channel:
        fuzzer = Fuzzer(channel)
        warm = int(calls * WARM)
        fuzzer.run(number, warm)
        before = server.memory_mib()
        fuzzer.run(number + 1, calls - warm)
        growth = server.memory_mib() - before
    codes = ", ".join(f"{code} {count}" for code, count in fuzzer.codes.most_common())
    _write(f"{sum(fuzzer.codes.values())} calls: {codes}")
    seconds, method = fuzzer.slowest
    _write(f"slowest: {method} {seconds:.2f} s; memory {before:.0f} MiB, then {growth:+.0f} MiB")
    return 1 if growth > MAX_GROWTH_MIB else 0


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
