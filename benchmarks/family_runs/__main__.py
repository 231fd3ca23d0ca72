"""A LoRA run of each family on golden-v2 over a worker: ``python -m benchmarks.family_runs``.

Each family's small model folder is imported into one embedded stack, as of ``tailrace up``; its
run trains an adapter, answers the held-out prompts, and is judged. Exit status 1 when a run
does not succeed or its loss does not fall.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.family_runs.spec import lora_spec
from tailrace import Client
from tailrace.cli.embedded.stack import Stack
from tailrace.formats.data import golden
from tailrace.formats.model.families import FAMILIES
from tailrace.protomap import enum_word
from tailrace.v1 import run_pb2

_SEED = 42


def main() -> int:
    """Run the families that the command line names and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family_runs", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="model_type; default: all")
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: 100)")
    options = parser.parse_args()
    strangers = sorted(set(options.families) - set(FAMILIES))
    if strangers:
        parser.error(f"unknown: {', '.join(strangers)}; known: {', '.join(FAMILIES)}")
    with (
        tempfile.TemporaryDirectory(prefix="tailrace-families-") as name,
        Stack(Path(name) / "stack", listen="127.0.0.1:0") as stack,
        Client(stack.server) as client,
    ):
        client.seed_dataset(golden.NAME)
        print("| family | state | loss, first → last step | held-out prompts passed |")
        print("|---|---|---|---|")
        outcomes = [
            _report(family, _run(client, family, Path(name) / family, options.steps))
            for family in options.families or FAMILIES
        ]
    return 0 if all(outcomes) else 1


def _run(client: Client, family: str, folder: Path, steps: int) -> run_pb2.Run:
    # Imports PyTorch.
    from benchmarks.family_runs.folders import save_random

    save_random(family, folder, _SEED)
    model = client.import_model(folder, family.replace("_", "-"))
    return client.run(client.create_run(lora_spec(model.name, steps))).wait()


def _report(family: str, run: run_pb2.Run) -> bool:
    """Print the run's row; returns true if it succeeded and its loss fell."""
    train, _, judge = (stage.result for stage in run.stages)
    first, last = train.train.first_loss, train.train.last_loss
    scores = [f"{score.passed} of {score.total}" for score in judge.judge.scores]
    cells = [
        f"`{family}`",
        enum_word(run_pb2.RunState.DESCRIPTOR, run.state),
        f"{first:.3f} → {last:.3f}",
        ", ".join(scores) or run.error.message,
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
    return run.state == run_pb2.RUN_STATE_SUCCEEDED and last < first


if __name__ == "__main__":
    sys.exit(main())
