"""Commands that run an imported model on the user's machine: the preview and the chat."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, session_folder
from tests.unit.training.chat_folder import write_chat_folder

ROLES = {"user": "What is 1 + 2?", "assistant": "Answer: 3"}
LINE = json.dumps({"messages": [{"role": r, "content": c} for r, c in ROLES.items()]})
RUN = {"dataset": "sums", "model": {"source": "models/chat"}, "train": {"max_steps": 1}}


def tailrace(
    stack: Stack, place: Path, *arguments: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tailrace.cli.main", *arguments]
    env = {**stack.env, "XDG_CACHE_HOME": str(session_folder(stack.folder.parent) / "user-cache")}
    return subprocess.run(
        argv, env=env, cwd=place, input=text, check=False, capture_output=True, text=True
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_the_preview_shows_text_and_mask_and_a_run_is_checked(stack: Stack, tmp_path: Path) -> None:
    write_chat_folder(tmp_path / "folder")
    with stack.client() as client:
        client.import_model(tmp_path / "folder", "chat")
        client.import_dataset("sums", f"{LINE}\n".encode() * 2)
    command = ("datasets", "preview", "sums", "--model", "models/chat", "--max-seq-length", "64")
    document: Any = json.loads(tailrace(stack, tmp_path, *command, "--json").stdout)
    assert document["dataset"] == {"kind": "messages", "read": 2, "complete": True, "name": "sums"}
    first = document["examples"][0]
    expected = "<|im_start|>user\nWhat is 1 + 2?<|im_end|>\n<|im_start|>assistant\nAnswer: 3"
    assert first["text"].startswith(expected)
    assert 0 < document["totals"]["trained_tokens"] < document["totals"]["tokens"]

    (tmp_path / "run.json").write_text(json.dumps(RUN))
    create = ("runs", "create", "-f", "run.json", "--preview", "--validate-only")
    checked = tailrace(stack, tmp_path, *create)
    assert checked.returncode == 0, checked.stderr
    assert "What is 1 + 2?" in checked.stdout
    assert "is a valid run of 1 stages" in checked.stdout

    chat = (
        "models",
        "chat",
        "models/chat",
        "--max-new-tokens",
        "8",
        "--temperature",
        "0",
        "--json",
    )
    answered = tailrace(stack, tmp_path, *chat, text="What is 1 + 2?\nAnd 3?\n")
    assert answered.returncode == 0, answered.stderr
    first, second = map(json.loads, answered.stdout.splitlines())
    assert first["question"] == "What is 1 + 2?"
    assert 0 < first["completion_tokens"] <= 8
    assert second["prompt_tokens"] > first["prompt_tokens"]
    assert "fetching models/chat" in answered.stderr
