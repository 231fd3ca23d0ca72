"""Prefect: ``prefect_flow.py SAMPLES FOLDER``, with its server on the port in PREFECT_API_URL."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from prefect import flow
from prefect.deployments import run_deployment


@flow(log_prints=False)  # type: ignore[untyped-decorator]
def stamp(path: str) -> None:
    """User code."""
    Path(path).write_text(repr(time.time()))


def main(samples: int, folder: Path) -> None:
    """Serve the flow from another process and run its deployment, one run after the other."""
    serving = subprocess.Popen([sys.executable, __file__, "serve"], stdout=sys.stderr)
    try:
        seconds = []
        for number in range(samples + 1):
            answer = folder / str(number)
            sent = _submit(answer, patience=60)
            while not answer.exists() or not answer.read_text():
                time.sleep(0.05)
            seconds.append(float(answer.read_text()) - sent)
        print(json.dumps(seconds[1:]))
    finally:
        serving.kill()
        serving.wait()


def _submit(answer: Path, patience: float) -> float:
    """Submit; when. The deployment is there once the serving process has begun."""
    end = time.monotonic() + patience
    while True:
        sent = time.time()
        try:
            run_deployment("stamp/peer", parameters={"path": str(answer)}, timeout=0)
        except Exception:  # raised again when patience ends
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return sent


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        stamp.serve(name="peer")
    else:
        main(int(sys.argv[1]), Path(sys.argv[2]))
