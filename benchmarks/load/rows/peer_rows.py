"""Submit → user code starts, beside Celery, Ray Jobs and Prefect; for information."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tailrace
from benchmarks.load.celery_yardstick import empty_task
from benchmarks.load.machine import EMBEDDED, Machine
from benchmarks.load.row import Row
from benchmarks.load.rows.dispatch import STAGE_COMMAND, run_to_the_end
from benchmarks.load.scale import Scale
from tests.servers.node import Process, free_port, port_open, wait_until

SAMPLES = 20
VENV = Path("build/peers")
_SCRIPTS = Path(__file__).parents[1] / "peers"
_TIMEOUT = 900.0


def measure(machine: Machine, scale: Scale) -> list[Row]:
    """A row per system that could be installed."""
    samples = min(SAMPLES, scale.samples)
    rows = []
    with machine.stack(EMBEDDED) as stack:
        with empty_task(machine.folder(), stack.broker_url) as round_trip:
            rows.append(_row("Celery", "empty task", [round_trip() for _ in range(samples)]))
        stack.start_worker(stage_command=STAGE_COMMAND)
        with stack.client() as client:
            run_to_the_end(client, "warm")
            began = [_until_begun(client, f"r{i}") for i in range(samples)]
        rows.append(_row("Tailrace", "stage process of its own, pinned, supervised", began))
    peers: dict[str, Callable[[Path, int], list[float]]] = {
        "ray[default]": _ray,
        "prefect": _prefect,
    }
    for package, measured in peers.items():
        rows.append(_peer(machine.folder(), package, measured, samples))
    return rows


def _row(name: str, what: str, seconds: list[float]) -> Row:
    figure = f"p50 {statistics.median(seconds) * 1000:,.0f} ms of {len(seconds)}"
    return Row("Submit → user code starts", f"{name}: {what}", figure, "")


def _until_begun(client: tailrace.Client, run_id: str) -> float:
    sent = time.time()
    run_to_the_end(client, run_id)
    for batch in client.stream_logs(f"runs/{run_id}"):
        for line in batch.lines:
            if line.text.startswith("began "):
                return float(line.text.split()[1]) - sent
    raise RuntimeError(f"{run_id} did not say when it began")


def _peer(
    folder: Path, package: str, measured: Callable[[Path, int], list[float]], samples: int
) -> Row:
    try:
        _install(package)
        return _row(package, "job process of its own", measured(folder, samples))
    except subprocess.SubprocessError as error:
        return Row("Submit → user code starts", package, f"not measured: {error}", "")


def _install(package: str) -> None:
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    argv = [str(VENV / "bin/python"), "-m", "pip", "install", "-q", package]
    subprocess.run(argv, check=True, timeout=_TIMEOUT)


def _ray(folder: Path, samples: int) -> list[float]:
    return _script("ray_jobs.py", folder, samples, str(free_port()))


def _prefect(folder: Path, samples: int) -> list[float]:
    port = free_port()
    home = {"PREFECT_HOME": str(folder / "home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    # Its runner asks for work every ten seconds unless told otherwise; that is no start.
    home |= {"PREFECT_RUNNER_POLL_FREQUENCY": "1", "DO_NOT_TRACK": "1"}
    environment = os.environ | home | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    prefect = str(VENV / "bin/prefect")
    argv = [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = Process(argv, log=folder / "prefect.log", env=environment)
    with contextlib.ExitStack() as servers:
        servers.callback(server.stop)
        wait_until(lambda: port_open(port), "Prefect's server", 180)
        return _script("prefect_flow.py", folder, samples, environment=environment)


def _script(
    name: str, folder: Path, samples: int, *more: str, environment: dict[str, str] | None = None
) -> list[float]:
    argv = [str(VENV / "bin/python"), str(_SCRIPTS / name), str(samples), str(folder), *more]
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, check=True, timeout=_TIMEOUT, env=environment
    )
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds
