"""`tailrace demo` as a newcomer runs it, with fewer steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.stack import session_folder


def test_the_demo_runs_the_main_job_and_leaves_nothing_running(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # What other tests have compiled is compiled, as in anyone's second demo.
    (tmp_path / "data").mkdir()
    shared = session_folder(tmp_path_factory.getbasetemp()) / "cache"
    shared.mkdir(exist_ok=True)
    (tmp_path / "data/cache").symlink_to(shared)
    argv = [sys.executable, "-m", "tailrace.cli.main", "demo", "--json"]
    argv += ["--data-dir", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    argv += ["--set", "train.max_steps=60", "--set", "train.save_every_steps=50"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("TAILRACE_")}
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=150, check=False, cwd=tmp_path, env=env
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["state"] == "succeeded"
    scores = run["stages"][2]["result"]["judge"]["scores"]
    assert {score["eval_set"] for score in scores} == {"dataset:train", "dataset:held_out"}
    assert (tmp_path / "out/final_model/model.safetensors").is_file()
    assert (tmp_path / "out/predictions.jsonl").is_file()
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]
    assert left == []
