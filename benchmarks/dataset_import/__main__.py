"""Imports of 100,000 and 1,000,000 conversations: ``python -m benchmarks.dataset_import``.

Each import has a fresh control plane (SQLite, no workers) and runs the command line. Beside it,
``datasets.load_dataset`` reads the same file. During each import another client calls GetRun.
Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

import tailrace
from benchmarks.bars import Bar, exit_status
from benchmarks.dataset_import.conversations import write_conversations
from benchmarks.dataset_import.peers import Usage, import_dataset, load_dataset, peak_bytes
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import spec_to_proto
from tests.servers.valkey import Valkey
from tests.stack import Stack

FORMS = {"messages": "canonical, stored byte for byte", "conversations": "ShareGPT, converted"}
"""Forms of the lines."""

GROWTH = 1.2
"""Maximum ratio of the peak memory of the larger import to that of the smaller."""

DELAY = 0.1
"""Maximum increase of GetRun's 99th percentile by an import, in seconds."""

_PAUSE = 0.01
_IDLE_SECONDS = 3.0
_SPEC = {"dataset": "golden-v2", "model": {"preset": "gpt2-nano"}, "train": {"max_steps": 1}}


@dataclass(frozen=True)
class Import:
    """Figures of one import."""

    client: Usage
    server_peak: int
    server_cpu: float
    p99: float
    """99th percentile of GetRun meanwhile, in seconds."""
    idle_p99: float
    """The same before the import."""


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=100_000, help="lines of the smaller file")
    parser.add_argument("--large", type=int, default=1_000_000, help="lines of the larger file")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tailrace-import-bench-"))
    bars: list[Bar] = []
    try:
        for form in options.forms:
            imports = {}
            for count in (options.small, options.large):
                imports[count] = _measure(folder, form, count)
            bars += _bars(form, imports[options.small], imports[options.large])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(*bars, sep="\n")
    return exit_status(bars)


def _measure(folder: Path, form: str, count: int) -> Import:
    """Measure an import beside the library, and print both."""
    path = folder / f"{form}.jsonl"
    write_conversations(path, count, form)
    peer = load_dataset(path, folder / "peer", count)
    shutil.rmtree(folder / "peer")
    figures = _import(folder / f"{form}-{count}", path)
    _print(f"{form} {count:,} ({path.stat().st_size >> 20} MiB)", count, figures, peer)
    path.unlink()
    return figures


def _import(folder: Path, path: Path) -> Import:
    folder.mkdir()
    valkey = Valkey(folder)
    stack = Stack(folder, f"sqlite+aiosqlite:///{folder}/tailrace.db", valkey.url)
    try:
        server = stack.start_server()
        with stack.client() as client:
            client.seed_dataset("golden-v2")
            run = client.create_run(spec_to_proto(parse(RunSpec, _SPEC))).name
            with _latencies(client, run) as idle:
                time.sleep(_IDLE_SECONDS)
            before = sum(psutil.Process(server.pid).cpu_times()[:2])
            with _latencies(client, run) as latencies:
                usage = import_dataset(path, "bench", stack.address)
            cpu = sum(psutil.Process(server.pid).cpu_times()[:2]) - before
        return Import(usage, peak_bytes(server.pid), cpu, _p99(latencies), _p99(idle))
    finally:
        stack.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


@contextmanager
def _latencies(client: tailrace.Client, run: str) -> Iterator[list[float]]:
    """Yield a list of the seconds of calls, which another thread makes meanwhile."""
    seconds: list[float] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            client.get_run(run)
            seconds.append(time.perf_counter() - began)
            time.sleep(_PAUSE)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def _print(title: str, count: int, figures: Import, peer: Usage) -> None:
    client = figures.client
    print(
        f"{title}\n"
        f"  import        {count / client.seconds:9,.0f} lines/s  {client.seconds:7.1f} s; "
        f"CPU: client {client.cpu_seconds:.1f} s, control plane {figures.server_cpu:.1f} s; "
        f"peak: client {client.peak_bytes / 2**20:.0f} MiB, "
        f"control plane {figures.server_peak / 2**20:.0f} MiB; "
        f"GetRun p99 {figures.p99 * 1e3:.1f} ms (idle {figures.idle_p99 * 1e3:.1f} ms)\n"
        f"  load_dataset  {count / peer.seconds:9,.0f} lines/s  {peer.seconds:7.1f} s; "
        f"CPU {peer.cpu_seconds:.1f} s; peak {peer.peak_bytes / 2**20:.0f} MiB",
        flush=True,
    )


def _bars(form: str, small: Import, large: Import) -> list[Bar]:
    pairs = {
        "client": (small.client.peak_bytes, large.client.peak_bytes),
        "control plane": (small.server_peak, large.server_peak),
    }
    memory = [
        Bar(
            f"{form}: peak memory, {side}, large / small",
            more / less,
            GROWTH,
            f"{more / 2**20:.0f} / {less / 2**20:.0f} MiB",
            at_most=True,
        )
        for side, (less, more) in pairs.items()
    ]
    detail = f"{large.p99 * 1e3:.1f} ms (idle {large.idle_p99 * 1e3:.1f} ms)"
    delay = Bar(
        f"{form}: delay of GetRun (p99), of {DELAY * 1e3:.0f} ms",
        (large.p99 - large.idle_p99) / DELAY,
        1.0,
        detail,
        at_most=True,
    )
    return [*memory, delay]


if __name__ == "__main__":
    sys.exit(main())
