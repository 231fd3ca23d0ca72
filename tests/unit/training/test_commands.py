"""The commands as a user runs them: as files, in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.golden import write_golden_v2
from training.loop.final_model import save_folder
from training.models.family import Model, Params

ROOT = Path(__file__).parents[3]
CONFIG = """
model: {preset: gpt2-nano}
train:
  eval_fraction: 0.2
  save_every_steps: 2
  steps_per_dispatch: 2
  log_every_steps: 1
  max_steps: 4
  batch_size: 4
  max_seq_length: 64
  learning_rate: 1e-3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    write_golden_v2(folder)
    (folder / "nano.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def trained(place: Path, compilation_cache: Path) -> Path:
    output = place / "run"
    done = train(place, output, "--eval_after_train", "--cache_dir", str(compilation_cache))
    assert done.returncode == 0, done.stderr
    assert "answer_correctness on eval_v1: " in done.stdout
    return output


def call(
    *arguments: object, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # A source tree without an installation: only the file's own place leads to the packages.
    bare = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
        env={**bare, **(environment or {})},
        check=False,
    )


def train(place: Path, output: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    dataset = place / "golden-v2"
    common = ("--config", place / "nano.yaml", "--dataset", dataset, "--output", output)
    return call("training/train_jax.py", *common, *flags)


def test_everything_lies_where_the_guide_says(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [
        "certificates.jsonl",
        "checkpoints",
        "eval_results.jsonl",
        "final_model",
        "metrics.jsonl",
        "predictions.jsonl",
        "provenance.json",
        "split.json",
        "verdicts.jsonl",
    ]
    names = {path.name for path in (trained / "final_model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    points = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [1, 2, 3, 4]
    assert len((trained / "eval_results.jsonl").read_text().splitlines()) == 25
    provenance = json.loads((trained / "provenance.json").read_text())
    assert provenance["result"]["steps"] == 4
    assert provenance["train"]["schedule"] == "constant"


def test_resuming_a_smoke_run_equals_the_whole_one(
    place: Path, trained: Path, compilation_cache: Path
) -> None:
    output = place / "smoke"
    cache = ("--cache_dir", compilation_cache)
    short = train(place, output, "--smoke_steps", 2, *cache)
    assert short.returncode == 0, short.stderr
    again = train(place, output, *cache)
    assert again.returncode == 1
    assert "has an earlier training" in again.stderr
    assert "Traceback" not in again.stderr
    resumed = train(place, output, "--resume_from", "latest", *cache)
    assert resumed.returncode == 0, resumed.stderr
    assert "continuing from step 2, that of the checkpoint" in resumed.stdout
    assert "steps 3 to 4 in " in resumed.stdout
    assert "2 steps in " in short.stdout
    assert "continuing" not in short.stdout
    weights = ("final_model/model.safetensors", "split.json")
    for name in weights:
        assert (output / name).read_bytes() == (trained / name).read_bytes()
    points = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [1, 2, 3, 4]


def test_generate_and_judge(place: Path, trained: Path, compilation_cache: Path) -> None:
    output = place / "manual.jsonl"
    sets = ("--eval-set", "dataset:held_out", "--dataset", place / "golden-v2")
    sets = (*sets, "--split", trained / "split.json")
    done = call(
        *("-m", "training.eval_generate", "--model", trained / "final_model", *sets),
        *("--output", output, "--max_new_tokens", 8, "--cache_dir", compilation_cache),
    )
    assert done.returncode == 0, done.stderr
    assert len(output.read_text().splitlines()) == 13
    predictions = place / "manual.predictions.jsonl"
    verdicts = place / "verdicts.jsonl"
    judging = ("--predictions", predictions, *sets, "--output", verdicts)
    done = call("training/judge.py", *judging)
    assert done.returncode == 0, done.stderr
    as_module = call("-m", "training.judge", *judging)
    assert (as_module.returncode, as_module.stdout) == (0, done.stdout), as_module.stderr
    assert "answer_correctness on dataset:held_out: " in done.stdout
    assert len(verdicts.read_text().splitlines()) == 13


def test_the_guides_configuration_on_a_local_model(
    place: Path, compilation_cache: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(place / "base", model, params, tokenizer)
    command = (
        *("training/train_jax.py", "--config", "training/configs/train_golden_v2.yaml"),
        *("--dataset", place / "golden-v2", "--output", place / "guide", "--overwrite"),
    )
    done = call(*command, environment={"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(place / "hub")})
    assert done.returncode == 1
    assert done.stderr.startswith("error: the model 'distilgpt2' is not cached on this machine")
    assert "train_golden_v2_nano.yaml" in done.stderr
    # The tiny model's context is 64 tokens, the guide's configuration wants 128.
    done = call(*command, "--model", place / "base")
    assert "max_seq_length 128 is more than the model's context of 64" in done.stderr
    shorter = (ROOT / "training/configs/train_golden_v2.yaml").read_text()
    (place / "short.yaml").write_text(shorter.replace("128", "64"))
    cache = ("--smoke_steps", 2, "--cache_dir", compilation_cache)
    command = (command[0], "--config", place / "short.yaml", *command[3:])
    done = call(*command, "--model", place / "base", *cache)
    assert done.returncode == 0, done.stderr
    assert "2500 steps, 25 per epoch" in done.stdout
    assert (place / "guide" / "final_model" / "model.safetensors").exists()


def test_errors_are_one_message(place: Path) -> None:
    done = call(
        *("training/train_jax.py", "--config", place / "nano.yaml"),
        *("--dataset", "golden-v9", "--output", place / "none"),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no dataset 'golden-v9'")
    assert "Traceback" not in done.stderr
    assert not (place / "none").exists()


def test_a_reader_that_ends_early_ends_a_command_without_a_message() -> None:
    program = (
        "from training.commands import run_command\n"
        "raise SystemExit(run_command(lambda: print('x' * 1_000_000)))"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stdout.read(1) == b"x"
    command.stdout.close()
    assert command.stderr is not None
    with command.stderr as errors:
        assert errors.read() == b""
    assert command.wait(timeout=60) == 1
