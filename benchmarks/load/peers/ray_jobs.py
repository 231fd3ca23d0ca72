"""Ray Jobs: ``ray_jobs.py SAMPLES FOLDER PORT``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ray.job_submission import JobSubmissionClient

STAMP = Path(__file__).with_name("stamp.py")


def main(samples: int, folder: Path, port: str) -> None:
    """Start a cluster of one node, submit jobs one after the other, stop it."""
    # fmt: off
    ray = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port", "0",
         "--dashboard-port", port, "--num-cpus", "2", "--disable-usage-stats",
         "--temp-dir", str(folder / "ray")],
        stdout=sys.stderr, start_new_session=True,
    )
    # fmt: on
    try:
        client = _client(f"http://127.0.0.1:{port}", patience=60)
        seconds = []
        for number in range(samples + 1):
            answer = folder / str(number)
            sent = time.time()
            client.submit_job(entrypoint=f"{sys.executable} {STAMP} {answer}")
            while not answer.exists() or not answer.read_text():
                time.sleep(0.05)
            seconds.append(float(answer.read_text()) - sent)
        print(json.dumps(seconds[1:]))
    finally:
        ray.terminate()
        ray.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ray.pid, signal.SIGKILL)


def _client(address: str, patience: float) -> JobSubmissionClient:
    """A client, once the dashboard answers."""
    end = time.monotonic() + patience
    while True:
        try:
            return JobSubmissionClient(address)
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
