"""Maker of the frozen store: ``python -m tests.contract.make_store ARCHIVE``.

``tests/contract/store/data.tar.xz`` is a ``.tailrace/`` folder as ``tailrace up`` leaves it. The
commit before the reorganisation of the code wrote it (71a31a3, with this script on top). It stays
as it is: a store made by later code would not show that the later code reads the earlier one's.
Caches, logs and work folders are left out.

Its runs, on an imported model of 30 KB:

- ``baseline`` SUCCEEDED and is the baseline ``main``; ``candidate`` has gates against it.
- ``rejudged`` judges the predictions of ``candidate`` again.
- ``failed`` trained, then its INFER stage crashed: nothing but a retry is missing.
- ``stopped`` was cancelled while it trained, with checkpoints.
- ``waiting`` was cancelled before it began; its spec has the keys that the others lack.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import tailrace
from tailrace.formats.model.tensors import expected_shapes
from tailrace.v1 import run_pb2

EOS = "<|endoftext|>"
DATABASE, BLOBS = "tailrace.db", "blobs"
"""The parts of the folder that the archive has."""

CONFIG: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 257,
    "n_positions": 128,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 2,
    "eos_token_id": 256,
}

TRAIN: dict[str, Any] = {
    "sft": {
        "max_steps": 20,
        "batch_size": 8,
        "max_seq_length": 128,
        "overlong": "truncate",
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "schedule": "cosine",
        "min_learning_rate_ratio": 0.1,
        "weight_decay": 0.01,
    },
    "eval_fraction": 0.2,
    "eval_every_steps": 10,
    "save_every_steps": 10,
    "log_every_steps": 5,
}

SPEC: dict[str, Any] = {
    "dataset": "golden-v2",
    "model": {"source": "models/tiny"},
    "train": TRAIN,
    "infer": {
        "max_new_tokens": 8,
        "eval_sets": ["dataset:held_out", "sums@1"],
        "include_base": True,
        "stop": ["Question:"],
        "logprobs": True,
    },
    "judges": [
        {"name": "answer_correctness", "markers": ["Antwort:"]},
        {"name": "contains", "contains": {"values": ["a", "e"], "all": False}},
        {"name": "token_f1", "token_f1": {"threshold": 0.4}},
    ],
    "labels": {"purpose": "store"},
    "retry": {"max_attempts": 1},
}

GATES: list[dict[str, Any]] = [
    {
        "name": "no-worse",
        "metric": "score",
        "judge": "contains",
        "eval_set": "dataset:held_out",
        "model_role": "trained",
        "baseline": "baselines/main",
        "not_significantly_worse": {"alpha": 0.05},
    },
    {
        "name": "little-drop",
        "metric": "score",
        "judge": "contains",
        "eval_set": "sums@1",
        "baseline": "runs/baseline",
        "max_drop": 1.0,
    },
    {
        "name": "lift",
        "metric": "lift",
        "judge": "answer_correctness",
        "eval_set": "sums@1",
        "minimum": 0.5,
    },
    {"name": "loss", "metric": "eval_loss", "direction": "lower", "maximum": 100.0},
    {
        "name": "last-loss",
        "metric": "last_loss",
        "baseline": "baselines/main",
        "max_relative_drop": 0.9,
    },
]

ENDPOINT = {
    "url": "https://judge.example.com/v1",
    "model": "judge",
    "api_key_env": "TAILRACE_JUDGE_KEY_EXAMPLE",
}

WAITING: dict[str, Any] = {
    "dataset": "golden-v2@1",
    "model": {"preset": "gpt2-nano"},
    "train": {
        "sft": {"epochs": 2.5, "micro_batch_size": 4, "packing": True},
        "adapter": {"lora": {"rank": 4, "target_modules": ["c_attn"]}},
        "mesh": {"data": 1},
    },
    "infer": {
        "eval_sets": ["eval_v2"],
        "n_samples": 2,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "include_base": True,
    },
    "judges": [
        {"name": "regex", "regex": {"pattern": "[0-9]+", "full_match": True}},
        {"name": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        {"name": "rouge_l", "rouge_l": {"threshold": 0.3}},
        {
            "name": "llm_rubric",
            "llm_rubric": {"backend": {"endpoint": ENDPOINT}, "rubric": "The sum is right."},
        },
        {
            "name": "pairwise",
            "pairwise": {"backend": {"model": "models/tiny"}, "criteria": "The shorter one."},
        },
    ],
    "execution": {"train": {"pool": "elsewhere", "timeout": "1h30m", "threads": 2}},
    "template_date": "2026-01-31",
    "cache": False,
}

SUMS = [(17, 25), (40, 2), (8, 9), (30, 12)]

ENDS = {run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}

State = Callable[[run_pb2.Run], bool]


def main() -> None:
    """Write the archive that the command line names."""
    with tempfile.TemporaryDirectory(prefix="store-") as name:
        folder = Path(name)
        data_dir = folder / ".tailrace"
        with _up(data_dir) as client:
            _import_inputs(client, folder)
            _create_runs(client)
        broken = {
            "TAILRACE_POOLS": "spare",
            "TAILRACE_STAGE_COMMAND": "false",
            "TAILRACE_WARM_START": "false",
        }
        with _up(data_dir, broken) as client:
            _until(client, "failed", _has_ended)
            _show(client)
        _pack(data_dir, Path(sys.argv[1]))


@contextlib.contextmanager
def _up(data_dir: Path, settings: dict[str, str] | None = None) -> Iterator[tailrace.Client]:
    """Run ``tailrace up`` and connect a client."""
    command = [str(Path(sys.executable).with_name("tailrace")), "up", "--listen", "127.0.0.1:0"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | (settings or {})
    stack = subprocess.Popen([*command, "--data-dir", str(data_dir)], env=environment)
    try:
        info = data_dir / "stack.json"
        while not (info.exists() and info.read_text()):
            if stack.poll() is not None:
                raise RuntimeError(f"tailrace up ended with {stack.returncode}")
            time.sleep(0.2)
        with tailrace.Client(json.loads(info.read_text())["server"]) as client:
            yield client
    finally:
        stack.send_signal(signal.SIGTERM)
        stack.wait(120)


def _import_inputs(client: tailrace.Client, folder: Path) -> None:
    """Import a dataset, a model and an eval set."""
    client.seed_dataset("golden-v2")
    model = folder / "tiny"
    write_model(model)
    # The command line, as users do: it uploads the files as well.
    tool = str(Path(sys.executable).with_name("tailrace"))
    server = ["--server", json.loads((folder / ".tailrace/stack.json").read_text())["server"]]
    subprocess.run([tool, "models", "import", str(model), *server], check=True)
    lines = folder / "sums.jsonl"
    lines.write_text(
        "".join(
            json.dumps({"id": f"sum-{a}", "prompt": f"{a} + {b}?", "expected_answer": str(a + b)})
            + "\n"
            for a, b in SUMS
        )
    )
    subprocess.run([tool, "evalsets", "import", str(lines), "--name", "sums", *server], check=True)


def write_model(folder: Path) -> None:
    """Write a GPT-2 of some thousand random numbers with a tokenizer of bytes."""
    folder.mkdir()
    generator = np.random.default_rng(7)
    weights = {
        name: (generator.standard_normal(shape) * 0.1).astype(np.float32)
        for name, shape in expected_shapes(CONFIG).items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([EOS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "GPT2TokenizerFast", "eos_token": EOS, "bos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _create_runs(client: tailrace.Client) -> None:
    """Create every run, and bring each to its end but for the one that will fail."""
    waiting = client.create_run(WAITING, run_id="waiting")
    client.cancel_run(waiting.name)

    client.create_run(SPEC, run_id="baseline")
    _until(client, "baseline", _has_succeeded)
    client.set_baseline("main", "runs/baseline", description="The first run.")

    client.create_run(SPEC | {"train": TRAIN | {"seed": 7}, "gates": GATES}, run_id="candidate")
    _until(client, "candidate", _has_succeeded)

    judges = [{"name": "regex", "regex": {"pattern": "[a-z]"}}, {"name": "rouge_l"}]
    client.create_run({"predictions": "runs/candidate", "judges": judges}, run_id="rejudged")
    _until(client, "rejudged", _has_succeeded)

    elsewhere = {"execution": {"infer": {"pool": "spare"}}, "cache": False, "gates": GATES[3:4]}
    client.create_run(SPEC | elsewhere, run_id="failed")
    trained = run_pb2.STAGE_STATE_SUCCEEDED
    _until(client, "failed", lambda run: run.stages[0].state == trained)

    steps = {"sft": TRAIN["sft"] | {"max_steps": 3000}, "save_every_steps": 100}
    spec = {name: value for name, value in SPEC.items() if name not in ("infer", "judges")}
    client.create_run(
        spec | {"train": TRAIN | steps | {"eval_every_steps": 500, "log_every_steps": 100}},
        run_id="stopped",
    )
    _until(client, "stopped", lambda run: _step(run) >= 100)
    client.cancel_run("runs/stopped")
    _until(client, "stopped", _has_ended)


def _step(run: run_pb2.Run) -> int:
    return max((attempt.checkpoint_step for attempt in run.stages[0].attempts), default=0)


def _has_ended(run: run_pb2.Run) -> bool:
    return run.state in ENDS


def _has_succeeded(run: run_pb2.Run) -> bool:
    if run.state in (run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED):
        raise RuntimeError(f"{run.name} did not succeed:\n{run}")
    return bool(run.state == run_pb2.RUN_STATE_SUCCEEDED)


def _until(client: tailrace.Client, run_id: str, reached: State, seconds: float = 180) -> None:
    """Poll a run until it has reached a state."""
    deadline = time.monotonic() + seconds
    while not reached(client.get_run(run_id)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run_id}:\n{client.get_run(run_id)}")
        time.sleep(0.05)


def _show(client: tailrace.Client) -> None:
    for run in client.list_runs():
        sys.stdout.write(f"{run.name} {run_pb2.RunState.Name(run.state)}\n")


def _pack(data_dir: Path, archive: Path) -> None:
    """Pack what listing, comparing, retrying and judging need, without a trace of the machine."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    with contextlib.closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as rows:
        rows.execute("UPDATE workers SET hostname = 'host'")
        rows.execute("PRAGMA journal_mode = DELETE")
        rows.execute("VACUUM")
    with tarfile.open(archive, "w:xz") as packed:
        for name in (BLOBS, DATABASE):
            packed.add(data_dir / name, name, filter=anonymous)


if __name__ == "__main__":
    main()
