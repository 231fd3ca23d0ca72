"""Accept → first training step of the nano preset, cold and warm: ``python -m benchmarks.start``.

One embedded stack, three workers in turn: ``cold`` has neither a prewarmed process nor compiled
programs, ``cached`` has the programs, ``warm`` has both. The time ends when the loss of the first
step arrives at the client. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

import tailrace
from benchmarks.bars import Bar, exit_status
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import spec_to_proto
from tailrace.v1 import run_pb2, run_spec_pb2
from tests.servers.node import Process, wait_until
from tests.servers.valkey import Valkey
from tests.stack import Stack

WAYS = {"cold": "false", "cached": "false", "warm": "true"}
"""Workers by the name of their pool, with their setting for warm starts."""

_DEADLINE = 300.0


class Bench:
    """Stack with its workers."""

    def __init__(self, folder: Path) -> None:
        self._valkey = Valkey(folder)
        database = f"sqlite+aiosqlite:///{folder}/tailrace.db"
        self._stack = Stack(folder, database, self._valkey.url)
        self._caches = {way: folder / f"cache-{way}" for way in WAYS}
        self._stack.start_server()
        self._workers = {way: self._worker(way) for way in WAYS}
        with self._stack.client() as client:
            client.seed_dataset("golden-v2")

    def stop(self) -> None:
        """End every process."""
        self._stack.stop()
        self._valkey.stop()

    def seconds(self, way: str) -> float:
        """Return the seconds from CreateRun to the first step's loss at the client."""
        if way == "cold":
            shutil.rmtree(self._caches[way] / "xla", ignore_errors=True)
        if way == "warm":
            _wait_loaded(self._workers[way])
        with self._stack.client() as client:
            began = time.perf_counter()
            name = client.create_run(_spec(way)).name
            for _ in client.stream_metrics(name, follow=True, metric_names=["loss"]):
                break
            seconds = time.perf_counter() - began
            wait_until(lambda: _succeeded(client, name), f"the end of {name}", _DEADLINE)
        return seconds

    def _worker(self, way: str) -> Process:
        cache = str(self._caches[way])
        return self._stack.start_worker(pools=way, warm_start=WAYS[way], cache_dir=cache)


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is measured")
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="tailrace-start-"))
    bench = Bench(folder)
    try:
        for way in WAYS:  # fill input caches and the disk cache
            bench.seconds(way)
        timings: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS:
                timings[way].append(bench.seconds(way))
                print(f"{number + 1}/{rounds}  {way:<7} {timings[way][-1]:6.2f} s", flush=True)
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)
    cold, cached, warm = (median(timings[way]) for way in WAYS)
    bars = [
        Bar("accept → first step, warm, of 2.5 s", warm / 2.5, 1.0, f"{warm:.2f} s", at_most=True),
        Bar("cold / warm", cold / warm, 3.0, f"{cold:.2f} s / {warm:.2f} s"),
    ]
    print(*bars, sep="\n")
    print(f"       of the start, cached programs alone save {cold - cached:.2f} s")
    return exit_status(bars)


def _spec(pool: str) -> run_spec_pb2.RunSpec:
    spec = {
        "dataset": "golden-v2",
        "model": {"preset": "gpt2-nano"},
        "train": {"max_steps": 20, "batch_size": 8},
        "execution": {"train": {"pool": pool}},
        "cache": False,
    }
    return spec_to_proto(parse(RunSpec, spec))


def _succeeded(client: tailrace.Client, name: str) -> bool:
    state = client.get_run(name).state
    if state in (run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED):
        raise RuntimeError(f"{name} did not succeed")
    return state == run_pb2.RUN_STATE_SUCCEEDED


def _wait_loaded(worker: Process) -> None:
    """Wait until the prewarmed process has finished its imports and uses no CPU time."""

    def used() -> float:
        for child in psutil.Process(worker.pid).children(recursive=True):
            if "--threads" in child.cmdline():
                times = child.cpu_times()
                return float(times.user + times.system)
        return 0.0

    def idle() -> bool:
        before = used()
        time.sleep(1.0)
        return used() == before > 1.0

    wait_until(idle, "a stage process in waiting", _DEADLINE)


if __name__ == "__main__":
    sys.exit(main())
